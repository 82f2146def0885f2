// Package sessions are the attacks on sign-ins, passwords, second factors and session tokens
// (session-).
//
// Those on tokens go through the faces of a running deployment. Those that would have to wait for
// the clock of a real hub, and those that need the hub's own signing key, run in a hub's inside of
// their own.
package sessions

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/pquerna/otp/totp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
)

// forging is an attack with an access token that the attacker makes of a real one.
func forging(id, position, does string, control weaken.Defence, forge func(head, body map[string]any, token string, jwks []byte) (string, error)) attack.Attack {
	return attack.Attack{ID: id, Threat: "be another user without a password", Position: position, Does: does, Expected: "401", Right: attack.Answers(http.StatusUnauthorized), Control: control,
		Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
			s, err := t.As(ctx, "nurse")
			if err != nil {
				return attack.Result{}, err
			}
			keys, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/.well-known/jwks.json"})
			if err != nil {
				return attack.Result{}, err
			}
			head, body, err := office.OpenToken(s.Access)
			if err != nil {
				return attack.Result{}, err
			}
			token, err := forge(head, body, s.Access, keys.Body)
			if err != nil {
				return attack.Result{}, err
			}
			a, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Bearer: token})
			if err != nil {
				return attack.Result{}, err
			}
			return attack.Judge(a.OK(), attack.Status(a), "taken for a session", "refused", "%s", a)
		}}
}

// es256 signs with a key of the attacker's own.
func es256(text string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

// Tokens are the attacks on sign-ins and sessions over the hub's faces.
func Tokens() []attack.Attack {
	return []attack.Attack{
		forging("session-jwt-none", "an attacker who has seen a token", `a token with "alg": "none" and no signature`, weaken.TokenSignature,
			func(head, body map[string]any, _ string, _ []byte) (string, error) {
				head["alg"] = "none"
				return office.SignToken(head, body, func(string) ([]byte, error) { return nil, nil })
			}),
		forging("session-jwt-confusion", "an attacker who has seen a token and the public keys", "a token signed with HMAC, with the public key set as the secret", weaken.TokenSignature,
			func(head, body map[string]any, _ string, jwks []byte) (string, error) {
				head["alg"] = "HS256"
				return office.SignToken(head, body, func(text string) ([]byte, error) {
					m := hmac.New(sha256.New, jwks)
					m.Write([]byte(text))
					return m.Sum(nil), nil
				})
			}),
		forging("session-jwt-own-key", "an attacker who has seen a token", "a token with the right key id, signed with the attacker's key, which its header brings along", weaken.TokenSignature,
			func(head, body map[string]any, _ string, _ []byte) (string, error) {
				head["jku"] = "http://127.0.0.1:1/jwks.json"
				return office.SignToken(head, body, es256)
			}),
		forging("session-jwt-other-person", "a signed-in nurse", "the nurse's own token with another person in it", weaken.TokenSignature,
			func(head, body map[string]any, token string, _ []byte) (string, error) {
				body = maps.Clone(body)
				body["admin"], body["role"] = true, "admin"
				sum := token[strings.LastIndexByte(token, '.')+1:]
				return office.SignToken(head, body, func(string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(sum) })
			}),
		{ID: "session-jwt-claims", Threat: "use a token of elsewhere or of another time", Position: "a stolen signing key's older or foreign tokens",
			Does:     "tokens signed with the hub's real key: another audience, another issuer, expired, of the future, with a day to live, without a session",
			Expected: "each is refused", Right: attack.Fails(access.ErrNoSession), Control: weaken.TokenClaims, Fast: true, Run: office.In(foreignClaims)},
		{ID: "session-stolen-access", Threat: "use a stolen session", Position: "another enrolled workstation with a stolen access token",
			Does: "a doctor's live access token is shown by another workstation", Expected: "401, and the session ends everywhere", Right: attack.Answers(http.StatusUnauthorized), Control: weaken.TokenStation, Run: stolenAccess},
		{ID: "session-stolen-refresh", Threat: "use a stolen session", Position: "another enrolled workstation with a stolen refresh token",
			Does: "a doctor's refresh token is shown by another workstation", Expected: "401, and the session ends", Right: attack.Answers(http.StatusUnauthorized), Control: weaken.TokenStation, Run: stolenRefresh},
		{ID: "session-refresh-reuse", Threat: "stay in with a copied refresh token", Position: "malware on the same workstation, with a copy",
			Does: "a refresh token that was used twice since is shown again", Expected: "401, and the whole family ends", Right: attack.Answers(http.StatusUnauthorized), Control: weaken.RefreshOnce, Run: refreshReuse},
		{ID: "session-fixation", Threat: "get into the session of the next user who signs in", Position: "a colleague who was at the browser before",
			Does: "the attacker's session is planted in the browser; the victim signs in there; the planted token is used", Expected: "401: the planted token does not become the victim's, and is worth nothing", Right: attack.Answers(http.StatusUnauthorized), Control: weaken.FreshSession, Run: fixation},
		{ID: "session-after-sign-out", Threat: "use a session that was ended", Position: "an attacker who copied a token before", Does: "a token is used after its owner has signed out",
			Expected: "401", Right: attack.Answers(http.StatusUnauthorized), Control: weaken.SignOutEnds, Run: afterSignOut},
		{ID: "session-brute-force", Threat: "guess a password", Position: "another enrolled workstation", Does: "25 passwords for one login, the right one last",
			Expected: "401 for the first ones, then 429; the right one is not even looked at", Right: attack.Answers(http.StatusUnauthorized, http.StatusTooManyRequests), Control: weaken.Throttle, Run: bruteForce},
		{ID: "session-enumeration", Threat: "find out who works here", Position: "another enrolled workstation", Does: "sign-ins of logins that exist and that do not, three times each",
			Expected: "401 and the same words, each", Right: attack.Answers(http.StatusUnauthorized), Control: weaken.SameAnswer, Run: enumeration},
		{ID: "session-otp-replay", Threat: "use a one-time code that was looked at", Position: "a colleague who saw the password and the code",
			Does: "the same TOTP code is used for a second sign-in", Expected: "401", Right: attack.Answers(http.StatusUnauthorized), Control: weaken.ProofOnce, Run: otpReplay},
		{ID: "session-without-second", Threat: "get in with a stolen password", Position: "an attacker who knows the password of a user with a second factor",
			Does: "a sign-in without the second factor, and with a made-up pending id", Expected: "no tokens: the second step is asked for, and 401 without it", Right: attack.Answers(http.StatusUnauthorized).Or(attack.Reads("second factor asked for")), Control: weaken.SecondFactor, Run: withoutSecond},
		{ID: "session-live-after-end", Threat: "go on watching", Position: "a nurse who is let go while a live view is open",
			Does: "a live view is open while an administrator disables its person", Expected: "it ends within a few seconds, and says why", Right: attack.Reads("ended"), Control: weaken.LiveRecheck, Run: liveAfterEnd},
	}
}

func stolenAccess(ctx context.Context, t *attack.Target) (attack.Result, error) {
	thief, err := t.Mine(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	s, err := t.As(ctx, "doctor")
	if err != nil {
		return attack.Result{}, err
	}
	a, err := thief.Send(ctx, attack.Request{Method: "GET", Path: "/api/patients/" + t.Ward.Patients[0].ID, Bearer: s.Access})
	if err != nil {
		return attack.Result{}, err
	}
	own, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Bearer: s.Access})
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(a.OK() || own.OK(), attack.Status(a, own), "it works there", "refused, and ended", "there: %s; at its own workstation afterwards: %d", a, own.Status)
}

// refresh asks for the next pair of tokens.
func refreshAt(ctx context.Context, s attack.Site, token string) (attack.Session, attack.Answer, error) {
	var out attack.Session
	a, err := s.Send(ctx, attack.Request{Method: "POST", Path: "/api/session/refresh", Body: map[string]string{"refresh_token": token}})
	if err == nil && a.OK() {
		err = json.Unmarshal(a.Body, &out)
	}
	return out, a, err
}

func stolenRefresh(ctx context.Context, t *attack.Target) (attack.Result, error) {
	thief, err := t.Mine(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	s, err := t.As(ctx, "doctor")
	if err != nil {
		return attack.Result{}, err
	}
	_, a, err := refreshAt(ctx, thief.Site, s.Refresh)
	if err != nil {
		return attack.Result{}, err
	}
	own, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Bearer: s.Access})
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(a.OK() || own.OK(), attack.Status(a, own), "new tokens, or a session that goes on", "refused, and ended", "%s; its own workstation afterwards: %d", a, own.Status)
}

func refreshReuse(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.As(ctx, "doctor")
	if err != nil {
		return attack.Result{}, err
	}
	newest := s
	for range 2 {
		var a attack.Answer
		if newest, a, err = refreshAt(ctx, t.Front(), newest.Refresh); err != nil {
			return attack.Result{}, err
		}
		if !a.OK() {
			return attack.Result{}, fmt.Errorf("the owner's own refresh: %s", a)
		}
	}
	_, a, err := refreshAt(ctx, t.Front(), s.Refresh)
	if err != nil {
		return attack.Result{}, err
	}
	own, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Bearer: newest.Access})
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(a.OK() || own.OK(), attack.Status(a, own), "the copy still works", "refused, and its family has ended", "the copy: %s; the newest token afterwards: %d", a, own.Status)
}

func fixation(ctx context.Context, t *attack.Target) (attack.Result, error) {
	planted, err := t.As(ctx, "nurse")
	if err != nil {
		return attack.Result{}, err
	}
	doctor := t.Who("doctor")
	a, err := t.Front().Send(ctx, attack.Request{Method: "POST", Path: "/api/session", Body: map[string]string{"login": doctor.Login, "password": doctor.Password},
		Header: map[string]string{"Cookie": "vitalseal_session=" + planted.Access}})
	if err != nil {
		return attack.Result{}, err
	}
	if !a.OK() {
		return attack.Result{}, fmt.Errorf("the victim's sign-in: %s", a)
	}
	now, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Bearer: planted.Access})
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(now.OK() && strings.Contains(string(now.Body), `"role":"doctor"`), attack.Status(now), "the planted token is the victim's now", "the planted token is worth nothing", "%s", now)
}

func afterSignOut(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.As(ctx, "doctor")
	if err != nil {
		return attack.Result{}, err
	}
	if _, err := t.Front().Send(ctx, attack.Request{Method: "DELETE", Path: "/api/session", Bearer: s.Access}); err != nil {
		return attack.Result{}, err
	}
	a, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Bearer: s.Access})
	if err != nil {
		return attack.Result{}, err
	}
	_, r, err := refreshAt(ctx, t.Front(), s.Refresh)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(a.OK() || r.OK(), attack.Status(a, r), "it still works", "refused", "access: %d, refresh: %d", a.Status, r.Status)
}

func bruteForce(ctx context.Context, t *attack.Target) (attack.Result, error) {
	thief, err := t.Mine(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	_, who, err := t.Person(ctx, "nurse", nil)
	if err != nil {
		return attack.Result{}, err
	}
	statuses := map[int]int{}
	var last attack.Answer
	var seen []attack.Seen
	for i := range 25 {
		guess := fmt.Sprintf("guess-number-%d", i)
		if i == 24 {
			guess = who.Password
		}
		if last, err = thief.Send(ctx, attack.Request{Method: "POST", Path: "/api/session", Body: map[string]string{"login": who.Login, "password": guess}}); err != nil {
			return attack.Result{}, err
		}
		statuses[last.Status]++
		seen = append(seen, attack.Status(last)...)
	}
	if !last.OK() && last.Status != http.StatusTooManyRequests {
		return attack.Result{}, fmt.Errorf("the right password was judged: %s", last)
	}
	return attack.Judge(last.OK(), seen, "every guess was tried, the right one worked", "slowed down", "answers by status: %v", statuses)
}

func enumeration(ctx context.Context, t *attack.Target) (attack.Result, error) {
	thief, err := t.Mine(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	var texts []string
	var seen []attack.Seen
	for range 3 {
		for _, login := range []string{t.Name("nobody-"), t.Who("patient").Login, "o'brien", t.Who("nurse").Login} {
			a, err := thief.Send(ctx, attack.Request{Method: "POST", Path: "/api/session", Body: map[string]string{"login": login, "password": "certainly-wrong"}})
			if err != nil {
				return attack.Result{}, err
			}
			seen = append(seen, attack.Status(a)...)
			if text := a.String(); !slices.Contains(texts, text) {
				texts = append(texts, text)
			}
		}
	}
	return attack.Judge(len(texts) != 1, seen, "the answers differ", "all the same", "%d different: %s", len(texts), strings.Join(texts, " / "))
}

// withTOTP is a person with an authenticator app: the login, the app's secret.
func withTOTP(ctx context.Context, t *attack.Target) (attack.Login, string, error) {
	_, who, err := t.Person(ctx, "nurse", nil)
	if err != nil {
		return who, "", err
	}
	c, err := t.Client(ctx, who)
	if err != nil {
		return who, "", err
	}
	var app struct {
		Secret string `json:"secret"`
	}
	if err := c.Do(ctx, http.MethodPost, "/api/account/totp", map[string]any{}, &app); err != nil {
		return who, "", err
	}
	// A code of the step before, so that the present one is still good.
	code, err := totp.GenerateCode(app.Secret, time.Now().Add(-30*time.Second))
	if err != nil {
		return who, "", err
	}
	return who, app.Secret, c.Do(ctx, http.MethodPost, "/api/account/totp/confirm", map[string]string{"code": code}, nil)
}

// pendingID begins a sign-in and gives the id that its second step wants.
func pendingID(ctx context.Context, s attack.Site, who attack.Login) (string, error) {
	a, err := s.Send(ctx, attack.Request{Method: "POST", Path: "/api/session", Body: map[string]any{"login": who.Login, "password": who.Password, "tokens": true}})
	if err != nil {
		return "", err
	}
	var out struct {
		Second struct {
			ID string `json:"id"`
		} `json:"second_factor"`
	}
	if err := json.Unmarshal(a.Body, &out); err != nil || out.Second.ID == "" {
		return "", fmt.Errorf("no second factor asked for: %s", a)
	}
	return out.Second.ID, nil
}

func otpReplay(ctx context.Context, t *attack.Target) (attack.Result, error) {
	who, secret, err := withTOTP(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		return attack.Result{}, err
	}
	var both [2]attack.Answer
	for i := range both {
		id, err := pendingID(ctx, t.Front(), who)
		if err != nil {
			return attack.Result{}, err
		}
		if both[i], err = t.Front().Send(ctx, attack.Request{Method: "POST", Path: "/api/session/second", Body: map[string]any{"id": id, "totp": code, "tokens": true}}); err != nil {
			return attack.Result{}, err
		}
	}
	if !both[0].OK() {
		return attack.Result{}, fmt.Errorf("the owner's own code: %s", both[0])
	}
	return attack.Judge(both[1].OK(), attack.Status(both[1]), "the code worked twice", "the second time refused", "%s", both[1])
}

func withoutSecond(ctx context.Context, t *attack.Target) (attack.Result, error) {
	who, _, err := withTOTP(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	var tokens attack.Session
	a, err := t.Front().Send(ctx, attack.Request{Method: "POST", Path: "/api/session", Body: map[string]any{"login": who.Login, "password": who.Password, "tokens": true}})
	if err != nil {
		return attack.Result{}, err
	}
	_ = json.Unmarshal(a.Body, &tokens) // no tokens is what is hoped for
	b, err := t.Front().Send(ctx, attack.Request{Method: "POST", Path: "/api/session/second", Body: map[string]any{"id": rand.Text(), "totp": "000000", "tokens": true}})
	if err != nil {
		return attack.Result{}, err
	}
	seen := attack.Status(b)
	if a.OK() && strings.Contains(string(a.Body), `"second_factor"`) {
		seen = append(seen, attack.Word("second factor asked for")...)
	} else {
		seen = append(seen, attack.Status(a)...)
	}
	return attack.Judge(tokens.Access != "" || b.OK(), seen, "tokens without the second factor", "none", "first step: %d, second: %d", a.Status, b.Status)
}

func liveAfterEnd(ctx context.Context, t *attack.Target) (attack.Result, error) {
	id, who, err := t.Person(ctx, "doctor", map[string]any{"patients": []string{t.Ward.Patients[0].ID}})
	if err != nil {
		return attack.Result{}, err
	}
	c, err := t.Client(ctx, who)
	if err != nil {
		return attack.Result{}, err
	}
	conn, res, err := websocket.Dial(ctx, t.Base+"/api/live?patient="+t.Ward.Patients[0].ID, &websocket.DialOptions{HTTPClient: c.HTTP(), HTTPHeader: c.Cookies()})
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = conn.CloseNow() }()
	if res != nil && res.Body != nil {
		defer res.Body.Close()
	}
	conn.SetReadLimit(1 << 20)
	if _, _, err := conn.Read(ctx); err != nil {
		return attack.Result{}, fmt.Errorf("the live view did not begin: %w", err)
	}
	admin, err := t.Admin(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/persons/"+id+"/disable", nil, nil); err != nil {
		return attack.Result{}, err
	}
	began := time.Now()
	watching, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		_, b, err := conn.Read(watching)
		switch {
		case err != nil && watching.Err() != nil && ctx.Err() == nil:
			return attack.Through("it went on", "still numbers after %v", time.Since(began).Round(time.Second))
		case err != nil:
			return attack.RefusedWith(attack.Failure(err), "it ended", "after %v: %v", time.Since(began).Round(10*time.Millisecond), err)
		case strings.Contains(string(b), `"ended"`):
			return attack.RefusedWith(attack.Word("ended"), "it ended", "after %v: %s", time.Since(began).Round(10*time.Millisecond), b)
		}
	}
}
