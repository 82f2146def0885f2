//go:build !weaken

package dashboard

import (
	"io"
	"net/http"

	"vitalseal/internal/access"
)

// What these are for is in the test build alone.

// kept is whether the session that the browser came with was kept: never.
func (h *Handler) kept(*http.Request, access.Subject) bool { return false }

// body is a request's body as it came.
func body(r *http.Request) io.Reader { return r.Body }

// anyFile is whether something else than the front end was served: never.
func anyFile(http.ResponseWriter, *http.Request) bool { return false }

// asPage is whether an answer was sent as a page: never.
func asPage(http.ResponseWriter) bool { return false }
