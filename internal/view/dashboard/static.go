package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
)

// dist is the built front end; a fresh clone has only dist/.keep.
//
//go:embed all:dist
var dist embed.FS

//go:embed placeholder/index.html
var placeholder []byte

// file is one file of the front end, kept whole: they are few and small.
type file struct {
	body        []byte
	contentType string
	etag        string
	fixed       bool // its name contains a hash of its content: may be cached for ever
}

const indexPath = "/index.html"

// pages are the front end's addresses, besides /patient/ID.
var pages = []string{"/", "/account", "/display", "/people", "/sensors", "/approvals", "/quotas", "/devices", "/reviews", "/explain"}

// types is all that the front end may consist of: what is not here is not served.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".png":  "image/png",
}

// embedded is the embedded front end.
func embedded() (map[string]file, error) { return filesOf(dist) }

// filesOf is the front end below dist by path, or the placeholder alone.
func filesOf(dist fs.FS) (map[string]file, error) {
	files := map[string]file{}
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		contentType, ok := types[path.Ext(name)]
		if !ok {
			return nil
		}
		body, err := fs.ReadFile(dist, name)
		if err != nil {
			return err
		}
		at := strings.TrimPrefix(name, "dist")
		files[at] = newFile(body, contentType, strings.HasPrefix(at, "/assets/"))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dashboard: embedded files: %w", err)
	}
	if _, built := files[indexPath]; !built {
		return map[string]file{indexPath: newFile(placeholder, types[".html"], false)}, nil
	}
	return files, nil
}

func newFile(body []byte, contentType string, fixed bool) file {
	sum := sha256.Sum256(body)
	return file{body, contentType, `"` + hex.EncodeToString(sum[:8]) + `"`, fixed}
}

// static serves the front end. Only exact paths of known files exist, so there is nothing to traverse; the addresses
// of its pages all give the same document.
func (h *Handler) static(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	at := r.URL.Path
	if id, ok := strings.CutPrefix(at, "/patient/"); slices.Contains(pages, at) || ok && id != "" && !strings.Contains(id, "/") {
		at = indexPath
	}
	if at == "/favicon.ico" { // what browsers ask for where a page is no document of ours
		at = "/favicon.svg"
	}
	f, ok := h.files[at]
	if !ok {
		http.Error(w, "there is no such page", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", f.contentType)
	w.Header().Set("ETag", f.etag)
	if f.fixed {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	if r.Header.Get("If-None-Match") == f.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(f.body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(f.body) // the client has gone
	}
}
