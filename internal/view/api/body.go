package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"vitalseal/internal/shared/form"
)

// BadRequest is a request that is wrong in itself. It never repeats a value of the request, which
// may be secret.
type BadRequest struct {
	Fault Fault
	Text  string // for the client
}

func (b *BadRequest) Error() string { return "api: bad request: " + b.Text }

// Fault is what kind of mistake a BadRequest is, for faces that have a text of their own for it.
type Fault int

// The zero Fault is a mistake that the face itself has found; the others are ReadJSON's.
const (
	FaultField     Fault = iota // Text names the field
	FaultNotJSON                // the Content-Type is another
	FaultCutOff                 // the body could not be read to its end
	FaultTwice                  // a field is there twice
	FaultMalformed              // no JSON, a field that is not known, or a type that is wrong
	FaultTrailing               // something behind the JSON
)

// Invalid is a mistake in a field: what is allowed.
func Invalid(field, format string, args ...any) error {
	return &BadRequest{FaultField, fmt.Sprintf("field %q: ", field) + fmt.Sprintf(format, args...)}
}

// Bound gives a request's body a limit in bytes: reading beyond it is an *http.MaxBytesError.
func Bound(w http.ResponseWriter, r *http.Request, most int64) {
	//defence:body-bound bodies are bounded
	r.Body = http.MaxBytesReader(w, r.Body, most)
}

// ReadJSON reads the body of a request, which has been Bound, into v: one JSON value with known
// fields, each once, of the right types, and nothing after it. The error is a *BadRequest or an
// *http.MaxBytesError.
//
//defence:no-inflating bodies are never decompressed
func ReadJSON(r *http.Request, v any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &BadRequest{FaultNotJSON, "Content-Type must be application/json"}
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return explain(err, FaultCutOff)
	}
	//defence:strict-json a field that is given twice is refused
	if twice := form.Twice(b); twice != "" {
		return &BadRequest{FaultTwice, twice}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	//defence:strict-json unknown fields are refused
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return explain(err, FaultMalformed)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &BadRequest{FaultTrailing, "the body has something after the JSON object"}
	}
	return nil
}

// explain says what is wrong with a body.
func explain(err error, fault Fault) error {
	var big *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	text := "the body cannot be read"
	switch {
	case errors.As(err, &big):
		return err
	case errors.As(err, &kind) && kind.Field == "":
		text = "the body must be a JSON object"
	case errors.As(err, &kind):
		text = fmt.Sprintf("field %q: must be %s, not a JSON %s", kind.Field, jsonName(kind.Type.Kind().String()), strings.Fields(kind.Value + " ?")[0])
	case errors.As(err, &syntax):
		text = fmt.Sprintf("the body is not JSON (at byte %d)", syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = "the body is empty or cut off"
	default:
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			text = "unknown field " + name[:min(len(name), 80)]
		}
	}
	return &BadRequest{fault, text}
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
