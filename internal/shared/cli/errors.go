package cli

import (
	"errors"
	"net/http"
	"strings"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/workstation/client"
)

// isDenied reports whether the hub or the overlay refused, as opposed to a failure.
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
		return "check --login, the password and the code; after five wrong ones each try waits longer, from 2 seconds to 15 minutes; the hub's log says when (event guessing)"
	case errors.Is(err, client.ErrStepUp):
		return "this needs a proof of identity from the last minutes: run the command again"
	case errors.As(err, &status) && status.Status == http.StatusForbidden && strings.Contains(status.Error(), "is paused"):
		return "the message says for how long; `vitalseal user password` changes the password"
	case errors.As(err, &status) && status.Status == http.StatusForbidden:
		return "your role may not do this, it takes another person than you, or what it is about does not exist; the refusal is in the audit log"
	case errors.As(err, &status) && status.Status == http.StatusBadGateway:
		return "the workstation cannot reach the hub: is `vitalseal hub` running? What `vitalseal connect` logs here names the address that was not reached"
	case errors.As(err, &status) && status.Status == http.StatusBadRequest:
		for what, command := range map[string]string{": no ward ": "ward", ": no bed ": "bed"} {
			if strings.Contains(status.Message, what) {
				return "`vitalseal " + command + " list` shows them"
			}
		}
	}
	return overlay.Hint(err)
}

// layers are the names that packages put in front of their errors.
var layers = map[string]bool{"access": true, "audit": true, "connect": true, "gateway": true, "hub": true, "ingest": true, "mgmt": true, "node": true,
	"openziti": true, "outbox": true, "overlay": true, "seal": true, "signin": true, "sink": true, "store": true}

// OnceNamed takes a layer's name out of an error's text where the same name stands before it: an error that passed through one
// layer twice reads "store: open: store: in use" otherwise.
func OnceNamed(text string) string {
	seen, parts := map[string]bool{}, strings.Split(text, ": ")
	kept := parts[:0]
	for i, p := range parts {
		if layers[p] && i < len(parts)-1 {
			if seen[p] {
				continue
			}
			seen[p] = true
		}
		kept = append(kept, p)
	}
	return strings.Join(kept, ": ")
}
