package yamlfile

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// nearest proposes the known key nearest to an unknown one, on a line of its own; empty for another
// error.
func nearest(err error, into any) string {
	var unknown *yaml.UnknownFieldError
	if !errors.As(err, &unknown) || unknown.Token == nil {
		return ""
	}
	wrong := unknown.Token.Value
	known := keys(reflect.TypeOf(into), nil, nil)
	best, least := "", len(wrong)/2+2
	for _, k := range known {
		if d := distance(wrong, k); d < least {
			best, least = k, d
		}
	}
	switch {
	case best == "":
		return "\nhint: known keys are " + strings.Join(known, ", ")
	case best == wrong:
		return fmt.Sprintf("\nhint: the key %q belongs to another place in the file: look at the indentation", wrong)
	}
	return fmt.Sprintf("\nhint: did you mean %q?", best)
}

// keys are all keys of a file of type t, each once, from the struct tags. inside holds the types
// that t is part of.
func keys(t reflect.Type, inside []reflect.Type, found []string) []string {
	if t == nil {
		return found
	}
	if slices.Contains(inside, t) {
		return found
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return keys(t.Elem(), append(inside, t), found)
	case reflect.Struct:
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if !f.IsExported() || name == "-" {
				continue
			}
			if name != "" && !slices.Contains(found, name) {
				found = append(found, name)
			}
			found = keys(f.Type, append(inside, t), found)
		}
	}
	return found
}

// distance is Levenshtein's: how many letters must change. Only the first 64 letters count.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
