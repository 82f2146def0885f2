package admin

import (
	"errors"
	"regexp"
	"strings"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// afterSentinel is what an error says after its sentinel's text: the part that names the field.
func afterSentinel(err, sentinel error) string {
	_, bare, _ := strings.Cut(sentinel.Error(), ": ") // behind an action the package's name does not stand again
	_, text, ok := strings.Cut(err.Error(), bare)
	if !ok {
		return ""
	}
	return strings.TrimLeft(text, ": ")
}

// inWords is what an error says about what stands in the way, or the fixed text where it says nothing.
func inWords(err, sentinel error, fixed string) string {
	_, text, _ := strings.Cut(err.Error(), strings.TrimPrefix(sentinel.Error(), "store: ")) // the store says its name once, in front
	if text = strings.TrimLeft(text, ": "); text == "" {
		return fixed
	}
	return fixed + ": " + text
}

// name is a component's short name, the last part of its SPIFFE id.
var name = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// notFoundAs turns the absence of something that the body refers to into an error about that field.
func notFoundAs(err error, field, format string, args ...any) error {
	if errors.Is(err, store.ErrNotFound) {
		return api.Invalid(field, format, args...)
	}
	return err
}

func checkName(field, v string) error {
	if !name.MatchString(v) {
		return api.Invalid(field, "1 to 63 of a-z, 0-9, '.' and '-', starting and ending with a letter or digit")
	}
	return nil
}
