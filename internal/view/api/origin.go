package api

import (
	"errors"
	"net/http"
)

// RequestHeader must be "1" on every request that changes something. A form on another page cannot
// send it, and a script of another site may not.
const RequestHeader = "X-Vitalseal-Request"

// ErrForeign is a request that a page of another site has caused, or one that changes something
// without RequestHeader.
var ErrForeign = errors.New("api: request from another page")

// crossOrigin is Go's protection: it judges by Sec-Fetch-Site, or by Origin where there is none.
// Programs send neither.
var crossOrigin = http.NewCrossOriginProtection()

// SameOrigin refuses a request that another web page has caused, with ErrForeign: by the browser's
// own word, for reads as well, because a live view is one; and, where something is changed, by
// demanding RequestHeader. A page of a different port of the same machine is another page.
//
//defence:own-pages requests that another page caused are refused
func SameOrigin(r *http.Request) error {
	asChange := *r
	asChange.Method = http.MethodPost // Go's protection lets every read pass
	if err := crossOrigin.Check(&asChange); err != nil {
		return ErrForeign
	}
	// Also beside a Sec-Fetch-Site that says otherwise: a page that may be trusted contradicts
	// itself nowhere.
	if r.Header.Get("Origin") != "" && r.Header.Get("Sec-Fetch-Site") != "" {
		asChange.Header = http.Header{"Origin": r.Header["Origin"]}
		if err := crossOrigin.Check(&asChange); err != nil {
			return ErrForeign
		}
	}
	if read := r.Method == http.MethodGet || r.Method == http.MethodHead; !read && r.Header.Get(RequestHeader) != "1" {
		return ErrForeign
	}
	return nil
}
