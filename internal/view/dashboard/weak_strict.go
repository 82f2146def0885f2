//go:build !weaken

package dashboard

import (
	"net/http"

	"vitalseal/internal/access"
)

// What these are for is in the test build alone.

// kept is whether the session that the browser came with was kept: never.
func (h *Handler) kept(*http.Request, access.Subject) bool { return false }

// anyFile is whether something else than the front end was served: never.
func anyFile(http.ResponseWriter, *http.Request) bool { return false }
