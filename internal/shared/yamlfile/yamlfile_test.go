package yamlfile_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/shared/yamlfile"
)

type settings struct {
	Data   string        `yaml:"data"`
	Drain  time.Duration `yaml:"drain"`
	Legacy struct {
		Listen string        `yaml:"listen"`
		MaxAge time.Duration `yaml:"max_age"`
	} `yaml:"legacy"`
	Rate float64 `yaml:"rate"`
}

func TestDecode(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"fine":                   {"data: gw\ndrain: 3s\nlegacy:\n  max_age: 24h\n", ""},
		"a byte-order mark":      {"\ufeffdata: gw\ndrain: 3s\nlegacy:\n  max_age: 24h\n", ""},
		"a mark of the document": {"---\ndata: gw\ndrain: 3s\nlegacy: {max_age: 24h}\n", ""},
		"windows line ends":      {"data: gw\r\ndrain: 3s\r\nlegacy:\r\n  max_age: 24h\r\n", ""},
		"a second document":      {"data: gw\nlegacy:\n  listen: x\n---\ndata: other\n", "line 4: something follows after the first document"},
		"a duration in days":     {"data: gw\nlegacy:\n  listen: x\n  max_age: 1d\n", `line 4: max_age: "1d" is not a duration such as`},
		"a bare number":          {"data: gw\ndrain: 3\n", `line 2: drain: "3" is not a duration`},
		"an unknown key":         {"data: gw\nnonsense: 1\n", "[2:1]"},
		"a key misspelt":         {"data: gw\ndrian: 3s\n", `did you mean "drain"?`},
		"one below misspelt":     {"data: gw\nlegacy:\n  lisen: x\n", `did you mean "listen"?`},
		"like no key":            {"data: gw\nthermodynamics: 1\n", "known keys are data, drain, legacy, listen, max_age, rate"},
		"a key of another place": {"data: gw\nlegacy:\n  drain: 3s\n", "look at the indentation"},
		"a wrong type":           {"data: gw\nrate: high\n", "[2:7]"},
	} {
		var s settings
		err := yamlfile.Decode([]byte(c.text), &s)
		if c.want == "" && (err != nil || s.Data != "gw" || s.Drain != 3*time.Second || s.Legacy.MaxAge != 24*time.Hour) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := yamlfile.Decode([]byte("# nothing\n"), &settings{}); !errors.Is(err, io.EOF) {
		t.Errorf("an empty file: %v", err)
	}
	if err := yamlfile.Decode([]byte("a: 1\n---\nb: 1\n"), &map[string]int{}); !errors.Is(err, yamlfile.ErrSecond) {
		t.Errorf("a second document: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\ufeffdata: gw\nlegacy:\n  max_age: 1d\n---\nx"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = yamlfile.Decode(b, &settings{}) // it ends, whatever it says
	})
}
