package main

import (
	"errors"
	"net/http"

	"vitalseal/internal/overlay"
	"vitalseal/internal/view/client"
)

// isDenied reports whether somebody refused, as opposed to something having failed.
func isDenied(err error) bool {
	var status *client.StatusError
	if errors.As(err, &status) {
		return status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden
	}
	return errors.Is(err, client.ErrSignIn) || errors.Is(err, overlay.ErrRefused) || errors.Is(err, overlay.ErrTicketUsed) ||
		errors.Is(err, overlay.ErrTicketExpired) || errors.Is(err, overlay.ErrTicketInvalid) || errors.Is(err, overlay.ErrPeer)
}

// hintFor says what to do about an error from below.
func hintFor(err error) string {
	var status *client.StatusError
	switch {
	case errors.Is(err, client.ErrSignIn):
		return "check --login, the password and the code; after many tries wait a minute"
	case errors.Is(err, client.ErrStepUp):
		return "this needs a proof of identity from the last minutes: run the command again"
	case errors.As(err, &status) && status.Status == http.StatusForbidden:
		return "your role may not do this; the refusal is in the audit log"
	case errors.As(err, &status) && status.Status == http.StatusBadGateway:
		return "the workstation cannot reach the hub; is `vitalseal hub` running?"
	}
	return overlay.Hint(err)
}
