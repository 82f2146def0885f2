package dashboard

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// Internal: which front end is embedded depends on whether it was built, so both cases are made here.
func TestPlaceholder(t *testing.T) {
	for name, c := range map[string]struct {
		fsys fstest.MapFS
		want string
	}{
		"not built": {fstest.MapFS{"dist/.keep": {}}, "make web"},
		"built":     {fstest.MapFS{"dist/.keep": {}, "dist/index.html": {Data: []byte("the real one")}}, "the real one"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := filesOf(c.fsys)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			(&Handler{files: files}).static(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

// TestFavicon: the icon that browsers ask for by themselves is there under that name too.
func TestFavicon(t *testing.T) {
	files, err := filesOf(fstest.MapFS{"dist/index.html": {Data: []byte("page")}, "dist/favicon.svg": {Data: []byte("<svg/>")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/favicon.ico", "/favicon.svg"} {
		w := httptest.NewRecorder()
		(&Handler{files: files}).static(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK || w.Body.String() != "<svg/>" || w.Header().Get("Content-Type") != "image/svg+xml" {
			t.Errorf("%s: %d %s %q", path, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
}

// TestNothingInline holds the built front end to the Content-Security-Policy, and to itself: nothing from elsewhere.
func TestNothingInline(t *testing.T) {
	files, err := filesOf(dist)
	if err != nil {
		t.Fatal(err)
	}
	page := string(files[indexPath].body)
	for _, never := range []string{"<script>", "<style", " style=", "http://", "https://", "javascript:"} {
		if strings.Contains(page, never) {
			t.Errorf("index.html contains %q", never)
		}
	}
	for name, f := range files {
		if strings.HasSuffix(name, ".css") && (strings.Contains(string(f.body), "url(") || strings.Contains(string(f.body), "@import")) {
			t.Errorf("%s fetches something", name)
		}
	}
}
