// Package dashboard is the face for people: the web dashboard and the JSON and live (WebSocket) interface below /api
// that it uses: signing in and out, second factors, one's own account, beds and patients, emergencies and consent, and
// the wall screen. It is one http.Handler.
//
// It hides how a person's tokens (cookies that no script can read, or a bearer token) and the workstation's proven
// identity become an access.Subject, how an error becomes a status, and where the front end's files come from (web/, built
// into dist, embedded; without it a page says how to build it). It guarantees that nothing about a patient leaves without
// an access.Grant for that patient, that a refusal is 403 and in the audit log (and says when a fresh proof of identity
// is all that is missing), that every failed sign-in looks the same, that requests from other web pages are refused
// (header, Origin, Sec-Fetch-Site), that bodies, messages, connections and the requests of a workstation are bounded, and
// that a live view ends within two seconds of a sign-out, an expiry, a changed role or relationship, a withdrawn consent or
// the end of an emergency, and says which. A wall screen gets numbers by bed and nothing that names a patient. It is safe
// for concurrent use and owns no goroutine but those of its requests.
//
// It does not protect against someone at an unlocked, signed-in workstation, nor against a rebound host name: that
// the Host of a request is the workstation's own loopback address is checked by package connect.
package dashboard

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// Config is what a dashboard needs. Store, Access, SignIn, Gate and Log are required.
type Config struct {
	Store  *store.Store
	Access *access.Engine
	SignIn *signin.Service
	// Gate is that of all the hub's faces.
	Gate *api.Gate
	Log  *slog.Logger
	// MQTTRefused is how many messages of an MQTT client were refused, and why the last one was; nil if nothing counts them.
	MQTTRefused func(client string) (uint64, string)
	// Statement states the audit log's size and root to workstations; nil answers 500.
	Statement Statement
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Live bounds the live views; the zero value is the default.
	Live LiveBounds
	// PasskeyHost is the host name that passkeys are good for (the relying party's id); empty: the page offers none.
	PasskeyHost string
}

// Handler is the dashboard. Make it with New.
type Handler struct {
	cfg   Config
	files map[string]file
	mux   *http.ServeMux

	// mu guards watching: the live connections of each session, by its id, each with the function that ends it.
	mu       sync.Mutex
	watching map[string]map[*liveConn]context.CancelCauseFunc
	liveOf   map[string]int // how many a person and a workstation have

	screens screens
	known   inventory
	last    lastWords
	alerts  security
}

// New makes the dashboard.
func New(cfg Config) (*Handler, error) {
	if cfg.Store == nil || cfg.Access == nil || cfg.SignIn == nil || cfg.Gate == nil || cfg.Log == nil {
		return nil, errors.New("dashboard: new: Store, Access, SignIn, Gate and Log are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Live = cfg.Live.filled()
	files, err := embedded()
	if err != nil {
		return nil, err
	}
	h := &Handler{cfg: cfg, files: files, mux: http.NewServeMux(),
		watching: map[string]map[*liveConn]context.CancelCauseFunc{}, liveOf: map[string]int{}}
	for pattern, f := range map[string]func(http.ResponseWriter, *http.Request) error{
		// Signing in, going on, signing out.
		"GET /api/session/ways":            h.ways,
		"POST /api/session":                h.signIn,
		"POST /api/session/second":         h.secondFactor,
		"POST /api/session/passkey":        h.beginPasskeySignIn,
		"POST /api/session/passkey/finish": h.finishPasskeySignIn,
		"GET /api/session/oidc":            h.startOIDC,
		"POST /api/session/refresh":        h.refresh,
		"POST /api/session/step-up/begin":  h.beginProof,
		"POST /api/session/step-up":        h.stepUp,
		"GET /api/session":                 h.session,
		"DELETE /api/session":              h.signOut,
		"DELETE /api/session/all":          h.signOutEverywhere,
		"GET /.well-known/jwks.json":       h.jwks,

		// One's own account.
		"POST /api/account/password":        h.changePassword,
		"POST /api/account/totp":            h.beginTOTP,
		"POST /api/account/totp/confirm":    h.confirmTOTP,
		"POST /api/account/recovery":        h.newRecovery,
		"POST /api/account/passkeys":        h.beginPasskey,
		"POST /api/account/passkeys/finish": h.finishPasskey,
		"GET /api/account/factors":          h.factors,
		"DELETE /api/account/factors/{id}":  h.removeFactor,
		"GET /api/account/channels":         h.channels,
		"GET /api/account/keys":             h.keys,
		"POST /api/account/keys":            h.newKey,
		"DELETE /api/account/keys/{id}":     h.deleteKey,
		"GET /api/account/mqtt":             h.mqttDevices,
		"POST /api/account/mqtt":            h.newMQTTDevice,
		"DELETE /api/account/mqtt/{id}":     h.deleteMQTTDevice,
		"POST /api/account/qr":              h.qr,

		// Emergencies and consent.
		"GET /api/emergency":                  h.emergencies,
		"GET /api/emergency/beds":             h.emergencyBeds,
		"POST /api/patients/{id}/break-glass": h.breakGlass,
		"GET /api/patients/{id}/accesses":     h.accesses,
		"GET /api/patients/{id}/notices":      h.notices,
		"POST /api/patients/{id}/confirm":     h.confirm,
		"GET /api/patients/{id}/consent":      h.consent,
		"PUT /api/patients/{id}/consent":      h.setConsent,

		// What must be known at once about security.
		"GET /api/security":                   h.securityEvents,
		"POST /api/security/{id}/acknowledge": h.acknowledgeSecurity,

		// A wall screen, while no user is signed in.
		"GET /api/display": h.display,
	} {
		h.mux.Handle(pattern, h.api(f))
	}
	h.mux.HandleFunc("GET /api/session/oidc/callback", h.finishOIDC) // comes from another site by its nature
	h.mux.Handle("GET /api/audit/checkpoint", h.api(h.checkpoint))
	h.mux.Handle("POST /api/audit/checkpoint", h.api(h.checkpoint))
	h.mux.Handle("GET /api/audit/watch", h.api(h.watch))
	h.mux.Handle("POST /api/audit/watch", h.api(h.watch))
	h.mux.Handle("GET /api/beds", h.api(h.beds))
	h.mux.Handle("GET /api/patients/{id}", h.api(h.patient))
	h.mux.Handle("GET /api/patients/{id}/trends", h.api(h.trends))
	h.mux.Handle("GET /api/patients/{id}/waveform", h.api(h.waveform))
	h.mux.Handle("GET /api/live", h.api(h.liveView))
	h.mux.Handle("/api/", h.api(func(http.ResponseWriter, *http.Request) error { return errNoSuchPath }))
	h.mux.HandleFunc("/", h.static)
	return h, nil
}

// ServeHTTP serves the dashboard's pages and its interface below /api.
//
//defence:known-files only embedded files are served
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.mux.ServeHTTP(w, r)
}
