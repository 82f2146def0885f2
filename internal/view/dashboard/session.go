package dashboard

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// The cookies of a sign-in beside api.CookieName.
const (
	// RefreshCookieName carries the refresh token, to sessionPath only.
	RefreshCookieName = "vitalseal_refresh"

	oidcCookieName = "vitalseal_oidc"
	sessionPath    = "/api/session"
	oidcPath       = sessionPath + "/oidc" // signin.CallbackPath is below it
	oidcPatience   = 10 * time.Minute
)

// sessionAnswer is who is signed in, for the page's header and its choice of a first page.
type sessionAnswer struct {
	Login              string      `json:"login"`
	DisplayName        string      `json:"display_name"`
	Role               access.Role `json:"role"`
	SelfPatient        string      `json:"self_patient,omitempty"`
	Workstation        string      `json:"workstation"`
	SecondFactor       bool        `json:"second_factor"`
	MustChangePassword bool        `json:"must_change_password,omitempty"`
	ServerTime         time.Time   `json:"server_time"`
	// FailedSignIns are those with this login between this sign-in and the one before it, the newest first.
	FailedSignIns []failedSignIn `json:"failed_sign_ins,omitempty"`
	// SessionsEnded is how many older sessions this sign-in ended, of which there were too many; only in the answer to signing in.
	SessionsEnded int `json:"sessions_ended,omitempty"`
}

// failedSignIn is what failed at one workstation.
type failedSignIn struct {
	Workstation string    `json:"workstation"` // SPIFFE id; empty: several others
	Count       int       `json:"count"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
}

// tokensAnswer is for programs that asked for tokens instead of cookies.
type tokensAnswer struct {
	AccessToken  string        `json:"access_token"`
	RefreshToken string        `json:"refresh_token"`
	ExpiresIn    int           `json:"expires_in"` // seconds
	Session      sessionAnswer `json:"session"`
}

// pendingAnswer says what is still asked for.
type pendingAnswer struct {
	ID             string          `json:"id"`
	Methods        []string        `json:"methods"`
	PasskeyOptions json.RawMessage `json:"passkey_options,omitempty"`
}

func pending(p signin.Pending) pendingAnswer { return pendingAnswer{p.ID, p.Methods, p.PasskeyOptions} }

// proofIn is a proof of identity, as a client sends one.
type proofIn struct {
	ID       string          `json:"id"`
	Password string          `json:"password"`
	TOTP     string          `json:"totp"`
	Recovery string          `json:"recovery"`
	Passkey  json.RawMessage `json:"passkey"`
	Tokens   bool            `json:"tokens"`
}

// proof is what was sent, for the page that it was sent from.
func (p proofIn) proof(page string) signin.Proof {
	return signin.Proof{Page: page, Password: p.Password, TOTP: p.TOTP, Recovery: p.Recovery, Passkey: p.Passkey, Pending: p.ID}
}

// ways answers how a user may sign in here, for the page that asks for it. No user is signed in yet.
func (h *Handler) ways(w http.ResponseWriter, r *http.Request) error {
	wards, err := h.displayWards(r)
	if err != nil && !errors.Is(err, access.ErrNoSession) {
		return err
	}
	h.write(w, http.StatusOK, struct {
		PasskeyHost string `json:"passkey_host"` // the only host name at which passkeys work; empty: nowhere
		Hospital    bool   `json:"hospital"`     // the hospital has a sign-in of its own
		Display     bool   `json:"display"`      // this workstation is a wall screen
		IdleSeconds int    `json:"idle_seconds"` // without use, a session ends after this
	}{h.cfg.PasskeyHost, h.cfg.SignIn.HasOIDC(), len(wards) > 0, int(h.cfg.SignIn.IdleLimit() / time.Second)})
	return nil
}

func (h *Handler) signIn(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Login    string `json:"login"`
		Password string `json:"password"`
		Tokens   bool   `json:"tokens"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	in2, err := h.cfg.SignIn.SignIn(r.Context(), in.Login, in.Password, h.cfg.Gate.Workstation(r))
	return h.signedIn(w, r, in2, err, in.Tokens)
}

func (h *Handler) secondFactor(w http.ResponseWriter, r *http.Request) error {
	var in proofIn
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.SignIn.SecondFactor(r.Context(), in.proof(h.origin(r)), h.cfg.Gate.Workstation(r))
	return h.signedIn(w, r, s, err, in.Tokens)
}

func (h *Handler) beginPasskeySignIn(w http.ResponseWriter, r *http.Request) error {
	p, err := h.cfg.SignIn.BeginPasskeySignIn(r.Context(), h.cfg.Gate.Workstation(r))
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, pending(p))
	return nil
}

func (h *Handler) finishPasskeySignIn(w http.ResponseWriter, r *http.Request) error {
	var in proofIn
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.SignIn.FinishPasskeySignIn(r.Context(), in.proof(h.origin(r)), h.cfg.Gate.Workstation(r))
	return h.signedIn(w, r, s, err, in.Tokens)
}

// signedIn answers a step of signing in: it is done, or a second factor is still asked for.
func (h *Handler) signedIn(w http.ResponseWriter, r *http.Request, s signin.SignedIn, err error, tokens bool) error {
	switch {
	case err != nil:
		return err
	case s.Pending != nil:
		h.write(w, http.StatusOK, struct {
			SecondFactor pendingAnswer `json:"second_factor"`
		}{pending(*s.Pending)})
		return nil
	case tokens:
		h.write(w, http.StatusOK, tokensAnswer{s.Tokens.Access, s.Tokens.Refresh, h.seconds(s.Tokens), h.describeNew(r.Context(), s)})
		return nil
	}
	return h.begin(w, r, s)
}

// begin gives the browser the session that a sign-in has made, and ends the one that it came with.
//
//defence:fresh-session signing in makes a new session
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, s signin.SignedIn) error {
	if err := h.replace(r, s.Subject.Session); err != nil {
		return err
	}
	h.setCookies(w, r, s.Tokens)
	h.write(w, http.StatusOK, h.describeNew(r.Context(), s))
	return nil
}

// describeNew is describe for a sign-in.
func (h *Handler) describeNew(ctx context.Context, s signin.SignedIn) sessionAnswer {
	out := h.describe(ctx, s.Subject)
	out.SessionsEnded = s.Ended
	return out
}

// replace ends the session that this browser had before: the user who was signed in here no longer is.
func (h *Handler) replace(r *http.Request, session string) error {
	old, err := h.lastSubject(r)
	if errors.Is(err, access.ErrNoSession) || err == nil && old.Session == session {
		return nil
	}
	if err != nil {
		return err
	}
	return h.end(r.Context(), old)
}

// lastSubject is who was signed in, also when the access token has expired meanwhile: the refresh token tells.
func (h *Handler) lastSubject(r *http.Request) (access.Subject, error) {
	workstation := h.cfg.Gate.Workstation(r)
	s, err := h.cfg.SignIn.Check(r.Context(), h.cfg.Gate.Token(r), workstation)
	if !errors.Is(err, access.ErrNoSession) {
		return s, err
	}
	refresh := h.cfg.Gate.Cookie(r, RefreshCookieName)
	if refresh == "" {
		return s, err
	}
	return h.cfg.SignIn.Holder(r.Context(), refresh, workstation)
}

// refresh changes the refresh token for new tokens. It is no use of the session.
func (h *Handler) refresh(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		RefreshToken string `json:"refresh_token"`
	}
	if r.ContentLength != 0 {
		if err := read(r, &in); err != nil {
			return err
		}
	}
	token, byBody := in.RefreshToken, in.RefreshToken != ""
	if !byBody {
		token = h.cfg.Gate.Cookie(r, RefreshCookieName)
	}
	if token == "" || len(token) > api.MaxToken {
		return access.ErrNoSession
	}
	t, err := h.cfg.SignIn.Refresh(r.Context(), token, h.cfg.Gate.Workstation(r))
	if err != nil {
		return err
	}
	answer := struct {
		AccessToken  string `json:"access_token,omitempty"`
		RefreshToken string `json:"refresh_token,omitempty"`
		ExpiresIn    int    `json:"expires_in"`
	}{ExpiresIn: h.seconds(t)}
	if byBody {
		answer.AccessToken, answer.RefreshToken = t.Access, t.Refresh
	} else {
		h.setCookies(w, r, t)
	}
	h.write(w, http.StatusOK, answer)
	return nil
}

func (h *Handler) seconds(t signin.Tokens) int {
	return max(0, int(t.AccessExpires.Sub(h.cfg.Now())/time.Second))
}

func (h *Handler) session(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, h.describe(r.Context(), s))
	return nil
}

// beginProof says what a step-up may be proven with.
func (h *Handler) beginProof(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	p, err := h.cfg.SignIn.BeginProof(r.Context(), s)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, pending(p))
	return nil
}

func (h *Handler) stepUp(w http.ResponseWriter, r *http.Request) error {
	var in proofIn
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	if err := h.cfg.SignIn.StepUp(r.Context(), s, in.proof(h.origin(r))); err != nil {
		return err
	}
	h.write(w, http.StatusOK, h.describe(r.Context(), s))
	return nil
}

// signOut ends the session and its live views at once. Being signed out already is no error.
func (h *Handler) signOut(w http.ResponseWriter, r *http.Request) error {
	s, err := h.lastSubject(r)
	if err == nil {
		err = h.end(r.Context(), s)
	}
	if err != nil && !errors.Is(err, access.ErrNoSession) {
		return err
	}
	h.clearCookies(w, r)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// signOutEverywhere ends all sessions of the person, this one too.
func (h *Handler) signOutEverywhere(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	if err := h.cfg.SignIn.SignOutAll(r.Context(), s.Person.ID); err != nil {
		return err
	}
	h.endLive(s.Session, errSignedOut) // the other sessions' views find out within recheckEvery
	h.clearCookies(w, r)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) end(ctx context.Context, s access.Subject) error {
	if err := h.cfg.SignIn.SignOut(ctx, s); err != nil {
		return err
	}
	h.endLive(s.Session, errSignedOut)
	return nil
}

// startOIDC leads the browser to the hospital's own sign-in. What it sends back counts only in this browser: the state is in
// a cookie as well.
func (h *Handler) startOIDC(w http.ResponseWriter, r *http.Request) error {
	to, err := h.cfg.SignIn.StartOIDC(r.Context(), h.cfg.Gate.Workstation(r), h.origin(r))
	if err != nil {
		return err
	}
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{ // #nosec G124 -- Secure follows the way that the browser came
		Name: h.cfg.Gate.CookieName(r, oidcCookieName), Value: u.Query().Get("state"), Path: oidcPath, MaxAge: int(oidcPatience / time.Second),
		HttpOnly: true, Secure: h.cfg.Gate.Secure(r), SameSite: http.SameSiteLaxMode}) // the way back comes from another site
	http.Redirect(w, r, to, http.StatusSeeOther) // #nosec G710 -- the address is of the configured provider
	return nil
}

// finishOIDC is where the hospital's sign-in sends the browser back to: a page, so errors are shown by the front end, but for a sign-in
// that was not decided, which is answered 503 in plain text.
func (h *Handler) finishOIDC(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	s, err := h.returned(r)
	if err == nil && s.Pending == nil {
		err = h.replace(r, s.Subject.Session)
	}
	http.SetCookie(w, &http.Cookie{ // #nosec G124 -- as it was set
		Name: h.cfg.Gate.CookieName(r, oidcCookieName), Path: oidcPath, MaxAge: -1, HttpOnly: true, Secure: h.cfg.Gate.Secure(r), SameSite: http.SameSiteLaxMode})
	to := "/"
	switch {
	case errors.Is(err, access.ErrUndecided):
		status, text := statusOf(err)
		w.Header().Set("Retry-After", "10")
		http.Error(w, text, status)
		return
	case err != nil:
		if status, _ := statusOf(err); status == http.StatusInternalServerError {
			h.cfg.Log.ErrorContext(r.Context(), "sign-in by the hospital's provider failed", "err", err)
		}
		to = "/#hospital-sign-in-failed"
	case s.Pending != nil:
		b, err := json.Marshal(pending(*s.Pending))
		if err != nil {
			b = nil
		}
		to = "/#second-factor=" + url.PathEscape(string(b))
	default:
		h.setCookies(w, r, s.Tokens)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (h *Handler) returned(r *http.Request) (signin.SignedIn, error) {
	query := r.URL.Query()
	state := h.cfg.Gate.Cookie(r, oidcCookieName)
	if state == "" || subtle.ConstantTimeCompare([]byte(state), []byte(query.Get("state"))) != 1 {
		return signin.SignedIn{}, signin.ErrSignIn
	}
	return h.cfg.SignIn.FinishOIDC(r.Context(), query, h.cfg.Gate.Workstation(r), h.origin(r))
}

// jwks are the public keys of the access tokens.
func (h *Handler) jwks(w http.ResponseWriter, r *http.Request) error {
	b, err := h.cfg.SignIn.JWKS(r.Context())
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, json.RawMessage(b))
	return nil
}

func (h *Handler) origin(r *http.Request) string {
	if h.cfg.Gate.Secure(r) {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func (h *Handler) setCookies(w http.ResponseWriter, r *http.Request, t signin.Tokens) {
	http.SetCookie(w, h.cookie(r, api.CookieName, "/", t.Access, 0))
	http.SetCookie(w, h.cookie(r, RefreshCookieName, sessionPath, t.Refresh, 0))
}

func (h *Handler) clearCookies(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, h.cookie(r, api.CookieName, "/", "", -1))
	http.SetCookie(w, h.cookie(r, RefreshCookieName, sessionPath, "", -1))
}

func (h *Handler) cookie(r *http.Request, name, path, value string, maxAge int) *http.Cookie {
	return &http.Cookie{ // #nosec G124 -- Secure follows the way that the browser came: over plain loopback HTTP it would never be sent
		Name: h.cfg.Gate.CookieName(r, name), Value: value, Path: path, MaxAge: maxAge,
		HttpOnly: true, Secure: h.cfg.Gate.Secure(r), SameSite: http.SameSiteStrictMode}
}

func (h *Handler) describe(ctx context.Context, s access.Subject) sessionAnswer {
	failed, err := h.cfg.SignIn.FailedSignIns(ctx, s)
	if err != nil { // the session is there all the same, and the next answer tells
		h.cfg.Log.WarnContext(ctx, "a person was not told of failed sign-ins", "err", err)
	}
	var told []failedSignIn
	for _, f := range failed {
		told = append(told, failedSignIn{f.Workstation, f.Count, f.First.Truncate(time.Millisecond), f.Last.Truncate(time.Millisecond)})
	}
	return sessionAnswer{FailedSignIns: told,
		Login: s.Person.Login, DisplayName: s.Person.DisplayName, Role: s.Person.Role, SelfPatient: s.Person.Self,
		Workstation: s.Workstation, SecondFactor: s.SecondFactor, MustChangePassword: s.Person.MustChangePassword, ServerTime: h.now(),
	}
}

// displayWards are the wards that this workstation shows as a wall screen; none for any other workstation.
func (h *Handler) displayWards(r *http.Request) ([]string, error) {
	workstation := h.cfg.Gate.Workstation(r)
	if !access.IsWorkstation(workstation) {
		return nil, access.ErrNoSession
	}
	d, err := h.cfg.Store.Device(r.Context(), workstation)
	if errors.Is(err, store.ErrNotFound) || err == nil && (d.Mode != directory.ModeDisplay || d.State != directory.DeviceActive) {
		return nil, nil
	}
	return d.Wards, err
}

// now is the time in answers: UTC, whole milliseconds.
func (h *Handler) now() time.Time { return h.cfg.Now().UTC().Truncate(time.Millisecond) }
