package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"

	"vitalseal/internal/form"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/store"
)

// badRequest is an error whose text the client gets.
type badRequest struct{ text string }

func (b *badRequest) Error() string { return "admin: bad request: " + b.text }

func invalid(field, format string, args ...any) error {
	return &badRequest{fmt.Sprintf("field %q: ", field) + fmt.Sprintf(format, args...)}
}

// decode reads a body strictly: one JSON object, known fields, the right types, nothing after it.
func decode[T any](rq *request) (T, error) {
	var out T
	if t, _, err := mime.ParseMediaType(rq.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return out, &badRequest{"Content-Type must be application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(rq.w, rq.Body, maxBody))
	if err != nil {
		return out, explain(err)
	}
	if twice := form.Twice(body); twice != "" && !weaken.Skip(weaken.StrictJSON) {
		return out, &badRequest{twice}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if !weaken.Skip(weaken.StrictJSON) {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(&out); err != nil {
		return out, explain(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return out, &badRequest{"the body has something after the JSON object"}
	}
	return out, nil
}

// explain says what is wrong with a body without repeating values from it, which may be secret.
func explain(err error) error {
	var big *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &big):
		return err
	case errors.As(err, &kind):
		if kind.Field == "" {
			return &badRequest{"the body must be a JSON object"}
		}
		return invalid(kind.Field, "must be %s, not a JSON %s", jsonName(kind.Type.Kind().String()), strings.Fields(kind.Value + " ?")[0])
	case errors.As(err, &syntax):
		return &badRequest{fmt.Sprintf("the body is not JSON (at byte %d)", syntax.Offset)}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &badRequest{"the body is empty or cut off"}
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return &badRequest{"unknown field " + name[:min(len(name), 80)]}
	}
	return &badRequest{"the body cannot be read"}
}

func jsonName(kind string) string {
	switch {
	case kind == "string":
		return "a string"
	case kind == "slice" || kind == "array":
		return "an array"
	case strings.HasPrefix(kind, "int") || strings.HasPrefix(kind, "uint"):
		return "a whole number"
	}
	return "an object"
}

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
		return invalid(field, format, args...)
	}
	return err
}

func checkName(field, v string) error {
	if !name.MatchString(v) {
		return invalid(field, "1 to 63 of a-z, 0-9, '.' and '-', starting and ending with a letter or digit")
	}
	return nil
}
