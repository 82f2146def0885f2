package signin

import (
	"encoding/json"
	"testing"

	"vitalseal/internal/shared/form"
)

// FuzzClaims: what is taken for a provider's claims says nothing twice, and is what a decoder of one
// value would read.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{`{"sub":"s","groups":["a"]}`, `{"groups":["a"],"Groups":["b"]}`, `{"a":{"b":1,"b":2}}`, `[]`, `null`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := claimsOf(func(to any) error { return json.Unmarshal(b, to) })
		if err == nil && (form.Twice(b) != "" || all == nil && string(b) == "{}") {
			t.Fatalf("%q: %v", b, all)
		}
	})
}
