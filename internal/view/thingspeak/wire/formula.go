package wire

import (
	"regexp"
	"strings"
)

// plainNumber is a number as things write them; one with a sign is no formula.
var plainNumber = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

// formulaStarts begin what spreadsheets compute, or may: what a thing wrote must not run at the
// desk of who opens the file. The wide ones are those of East Asian keyboards.
const formulaStarts = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"

// textCell is a value as a CSV cell: a text that a spreadsheet would take for a formula gets an
// apostrophe in front, which makes it a text there. A number stays as it is. So that the way back
// is sure, a text of apostrophes and such a beginning gets one more.
func textCell(v string) string {
	if rest := strings.TrimLeft(v, "'"); rest != "" && strings.ContainsRune(formulaStarts, []rune(rest)[0]) && !plainNumber.MatchString(v) {
		return "'" + v
	}
	return v
}
