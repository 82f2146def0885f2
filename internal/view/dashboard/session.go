package dashboard

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"vitalseal/internal/access"
)

// sessionAnswer is who is signed in, for the page's header and its choice of a first page.
type sessionAnswer struct {
	Login       string      `json:"login"`
	DisplayName string      `json:"display_name"`
	Role        access.Role `json:"role"`
	SelfPatient string      `json:"self_patient,omitempty"`
	Workstation string      `json:"workstation"`
	ServerTime  time.Time   `json:"server_time"`
}

func (h *Handler) signIn(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Login    string `json:"login"`
		Password string `json:"password"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	workstation := h.cfg.Workstation(r)
	token, _, err := h.cfg.Access.SignIn(r.Context(), in.Login, in.Password, workstation)
	if err != nil {
		return err
	}
	s, err := h.cfg.Access.Authenticate(r.Context(), token, workstation)
	if err != nil {
		return err
	}
	// Whoever was signed in here before is no longer.
	if old, err := r.Cookie(CookieName); err == nil && old.Value != token && len(old.Value) <= maxTokenBytes {
		if err := h.end(r, old.Value); err != nil {
			return err
		}
	}
	http.SetCookie(w, h.cookie(token, 0))
	h.write(w, http.StatusOK, h.describe(s))
	return nil
}

func (h *Handler) session(w http.ResponseWriter, r *http.Request) error {
	s, err := h.Subject(r)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, h.describe(s))
	return nil
}

// signOut ends the session and its live views at once. Being signed out already is no error.
func (h *Handler) signOut(w http.ResponseWriter, r *http.Request) error {
	if cookie, err := r.Cookie(CookieName); err == nil && len(cookie.Value) <= maxTokenBytes {
		if err := h.end(r, cookie.Value); err != nil {
			return err
		}
	}
	http.SetCookie(w, h.cookie("", -1))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// end ends the session of a token, but only from the workstation that it is bound to.
func (h *Handler) end(r *http.Request, token string) error {
	_, err := h.cfg.Access.Check(r.Context(), token, h.cfg.Workstation(r))
	if errors.Is(err, access.ErrNoSession) {
		return nil
	}
	if err == nil {
		err = h.cfg.Access.SignOut(r.Context(), token)
	}
	if err != nil && !errors.Is(err, access.ErrNoSession) {
		return err
	}
	h.endLive(sha256.Sum256([]byte(token)), errSignedOut)
	return nil
}

func (h *Handler) cookie(token string, maxAge int) *http.Cookie {
	return &http.Cookie{ // #nosec G124 -- Secure follows the configuration: over plain loopback HTTP it would never be sent
		Name: CookieName, Value: token, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: h.cfg.SecureCookie, SameSite: http.SameSiteStrictMode}
}

func (h *Handler) describe(s access.Subject) sessionAnswer {
	return sessionAnswer{
		Login: s.Person.Login, DisplayName: s.Person.DisplayName, Role: s.Person.Role, SelfPatient: s.Person.Self,
		Workstation: s.Workstation, ServerTime: h.now(),
	}
}

// now is the time in answers: UTC, whole milliseconds.
func (h *Handler) now() time.Time { return h.cfg.Now().UTC().Truncate(time.Millisecond) }
