//go:build !weaken

package api

import (
	"io"
	"net/http"
)

// What these are for is in the test build alone.

// body is a request's body as it came.
func body(r *http.Request) io.Reader { return r.Body }

// asPage is whether an answer was sent as a page: never.
func asPage(http.ResponseWriter) bool { return false }
