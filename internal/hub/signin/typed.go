package signin

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// plainCode is a code without what people and their programs put between its digits or letters: spaces of all kinds (also
// no-break and invisible ones) and dashes. It is the one place where codes are tidied; passwords never are.
func plainCode(typed string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.In(r, unicode.Zs, unicode.Cf, unicode.Pd), r == '\u2212': // the minus sign
			return -1
		case r >= '\uff10' && r <= '\uff19': // digits of East Asian keyboards
			return r - '\uff10' + '0'
		}
		return unicode.ToLower(r)
	}, typed)
}

const recoveryGroup = 5

// recoveryText is a recovery code as its hash is made of: three groups of five, with dashes.
func recoveryText(typed string) string {
	c := plainCode(typed)
	if len(c) != 3*recoveryGroup || utf8.RuneCountInString(c) != len(c) {
		return c // none of ours
	}
	return c[:recoveryGroup] + "-" + c[recoveryGroup:2*recoveryGroup] + "-" + c[2*recoveryGroup:]
}
