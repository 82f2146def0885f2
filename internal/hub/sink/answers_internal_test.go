package sink

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAnswers: what each of ThingSpeak's documented answers to a bulk update means, the first time
// and when the batch was sent before.
func TestAnswers(t *testing.T) {
	type meaning struct{ first, again outcome }
	want := map[string]meaning{
		"accepted": {took, took}, "too-many": {slower, slower}, "bad-key": {refused, refused}, "bad-request": {refused, refused}, "not-found": {refused, refused},
		"conflict": {refused, took}, "too-large": {tooLarge, tooLarge}, "payment": {refused, refused}, "no-action": {refused, refused},
		"zero": {failing, failing}, "minus-one": {refused, refused}, "gateway": {failing, failing},
	}
	files, err := filepath.Glob("testdata/answers/*.http")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d answers, want %d: %v", len(files), len(want), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".http")
		for attempts, w := range []outcome{want[name].first, want[name].again} {
			res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, after := judge(res, attempts)
			if got != w || (after == 15*time.Second) != (name == "too-many") {
				t.Errorf("%s, sent %d times before: %v after %v, want %v", name, attempts, got, after, w)
			}
			_ = res.Body.Close()
		}
	}
}
