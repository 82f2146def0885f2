package form

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// fieldName is what names of fields look like that an error may repeat.
var fieldName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// Twice says which field an object of b has twice, at whatever depth: "field \"password\" is given
// twice". Names that differ in the case of their letters only are one, because decoders take them
// for one. The first reader of such a body may see another value than the second, so that a check
// looks at one and the act takes the other. Empty: none, or b is no JSON.
func Twice(b []byte) string {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil: an array
		value bool            // the next token of an object is a value
	}
	var levels []level
	for {
		t, err := d.Token()
		if err != nil {
			return ""
		}
		var top *level
		if len(levels) > 0 {
			top = &levels[len(levels)-1]
		}
		if t == json.Delim('}') || t == json.Delim(']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if top != nil && top.names != nil {
			if !top.value {
				name, _ := t.(string)
				folded := strings.ToLower(strings.ToUpper(name)) // as encoding/json folds
				if top.names[folded] {
					if fieldName.MatchString(folded) {
						return fmt.Sprintf("field %q is given twice", folded)
					}
					return "a field is given twice"
				}
				top.names[folded], top.value = true, true
				continue
			}
			top.value = false
		}
		switch t {
		case json.Delim('{'):
			levels = append(levels, level{names: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		}
	}
}
