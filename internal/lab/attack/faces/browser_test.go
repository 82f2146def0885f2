package faces

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"vitalseal/internal/lab/attack"
)

// TestBrowserNoticesMarkup: the real browser tells a page that shows markup as text from one in
// which it runs.
func TestBrowserNoticesMarkup(t *testing.T) {
	if err := browserPossible(); err != nil {
		t.Skip(err)
	}
	const mark = "ran1"
	pages := map[string]string{"/bad": "<body><p>loaded</p>" + active(mark), "/good": `<body><p>loaded</p><script>document.body.append('` + "<img src=x onerror=1>" + `')</script>`}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(pages[r.URL.Path]))
	}))
	defer s.Close()
	target := &attack.Target{Dir: t.TempDir()}
	defer func() {
		if err := target.Close(); err != nil {
			t.Error(err)
		}
	}()
	b, err := openBrowser(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"/bad": true, "/good": false} {
		if err := b.open(t.Context(), s.URL+path, `document.body.innerText.includes('loaded')`); err != nil {
			t.Fatal(err)
		}
		var ran bool
		if err := b.eval(t.Context(), `window.`+mark+` !== undefined`, &ran); err != nil {
			t.Fatal(err)
		}
		if ran != want {
			t.Errorf("%s: the markup ran: %v, want %v", path, ran, want)
		}
	}
}
