package form_test

import (
	"encoding/json"
	"testing"

	"vitalseal/internal/shared/form"
)

func TestTwice(t *testing.T) {
	for body, want := range map[string]string{
		`{"login":"a","password":"b"}`:                            "",
		`{"login":"a","password":"b","password":"c"}`:             `field "password" is given twice`,
		`{"password":"b","Password":"c"}`:                         `field "password" is given twice`,
		`{"pa\u017fsword":"b","password":"c"}`:                    `field "password" is given twice`,
		`{"a":{"b":1,"b":2}}`:                                     `field "b" is given twice`,
		`{"a":[{"b":1},{"b":2}],"b":3}`:                           "",
		`{"a":{"b":1},"c":{"b":2}}`:                               "",
		`{"a":[1,[2,{"x":1,"x":1}]]}`:                             `field "x" is given twice`,
		`{"hunter2 is my password":1,"hunter2 is my password":2}`: "a field is given twice",
		`[1,1]`: "", ``: "", `{"a":1,"a"`: `field "a" is given twice`, `]`: "", `{"a":1}}`: "",
	} {
		if got := form.Twice([]byte(body)); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// FuzzTwice: whatever comes, the search ends; and what has no field twice says the same to a
// decoder that keeps the first and one that keeps the last.
func FuzzTwice(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1,"b":2}}`))
	f.Add([]byte(`[{"a":1},{"a":[{}]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		found := form.Twice(b)
		var m map[string]json.RawMessage
		if json.Unmarshal(b, &m) != nil || found != "" {
			return
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var n map[string]json.RawMessage
		if err := json.Unmarshal(again, &n); err != nil || len(n) != len(m) {
			t.Errorf("%d fields, %d again, %v", len(m), len(n), err)
		}
	})
}
