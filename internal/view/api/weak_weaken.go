//go:build weaken

package api

import (
	"compress/gzip"
	"io"
	"net/http"

	"vitalseal/internal/lab/weaken"
)

// body inflates what says that it is compressed, however much comes of it.
func body(r *http.Request) io.Reader {
	if weaken.Skip(weaken.NoInflating) && r.Header.Get("Content-Encoding") == "gzip" {
		if z, err := gzip.NewReader(r.Body); err == nil {
			return z
		}
	}
	return r.Body
}

// asPage sends an answer as a page, without what keeps scripts from running in it.
func asPage(w http.ResponseWriter) bool {
	if !weaken.Skip(weaken.SafeMarkup) {
		return false
	}
	w.Header().Del("Content-Security-Policy")
	w.Header().Del("X-Content-Type-Options")
	w.Header().Set("Content-Type", "text/html")
	return true
}
