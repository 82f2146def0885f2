package attack

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

	"vitalseal/internal/access"
	"vitalseal/internal/lab/weaken"
)

// forging is an attack with an access token that the attacker makes of a real one.
func forging(id, position, does string, control weaken.Defence, forge func(head, body map[string]any, token string, jwks []byte) (string, error)) Attack {
	return Attack{ID: id, Threat: "be another user without a password", Position: position, Does: does, Expected: "401", Right: answers(http.StatusUnauthorized), Control: control,
		Run: func(ctx context.Context, t *Target) (Result, error) {
			s, err := t.as(ctx, "nurse")
			if err != nil {
				return Result{}, err
			}
			keys, err := t.front().send(ctx, request{method: "GET", path: "/.well-known/jwks.json"})
			if err != nil {
				return Result{}, err
			}
			head, body, err := opened(s.Access)
			if err != nil {
				return Result{}, err
			}
			token, err := forge(head, body, s.Access, keys.Body)
			if err != nil {
				return Result{}, err
			}
			a, err := t.front().send(ctx, request{method: "GET", path: "/api/session", bearer: token})
			if err != nil {
				return Result{}, err
			}
			return judge(a.ok(), status(a), "taken for a session", "refused", "%s", a)
		}}
}

// opened are the header and the claims of a token, which anyone can read.
func opened(token string) (head, body map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, fmt.Errorf("a token of %d parts", len(parts))
	}
	for i, v := range []*map[string]any{&head, &body} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return head, body, nil
}

func encoded(v any) (string, error) {
	b, err := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// signed makes a token of head and body with a signature over both.
func signed(head, body map[string]any, sign func(text string) ([]byte, error)) (string, error) {
	h, err := encoded(head)
	if err != nil {
		return "", err
	}
	b, err := encoded(body)
	if err != nil {
		return "", err
	}
	sum, err := sign(h + "." + b)
	return h + "." + b + "." + base64.RawURLEncoding.EncodeToString(sum), err
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

func sessionAttacks() []Attack {
	return []Attack{
		forging("session-jwt-none", "an attacker who has seen a token", `a token with "alg": "none" and no signature`, weaken.TokenSignature,
			func(head, body map[string]any, _ string, _ []byte) (string, error) {
				head["alg"] = "none"
				return signed(head, body, func(string) ([]byte, error) { return nil, nil })
			}),
		forging("session-jwt-confusion", "an attacker who has seen a token and the public keys", "a token signed with HMAC, with the public key set as the secret", weaken.TokenSignature,
			func(head, body map[string]any, _ string, jwks []byte) (string, error) {
				head["alg"] = "HS256"
				return signed(head, body, func(text string) ([]byte, error) {
					m := hmac.New(sha256.New, jwks)
					m.Write([]byte(text))
					return m.Sum(nil), nil
				})
			}),
		forging("session-jwt-own-key", "an attacker who has seen a token", "a token with the right key id, signed with the attacker's key, which its header brings along", weaken.TokenSignature,
			func(head, body map[string]any, _ string, _ []byte) (string, error) {
				head["jku"] = "http://127.0.0.1:1/jwks.json"
				return signed(head, body, es256)
			}),
		forging("session-jwt-other-person", "a signed-in nurse", "the nurse's own token with another person in it", weaken.TokenSignature,
			func(head, body map[string]any, token string, _ []byte) (string, error) {
				body = maps.Clone(body)
				body["admin"], body["role"] = true, "admin"
				sum := token[strings.LastIndexByte(token, '.')+1:]
				return signed(head, body, func(string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(sum) })
			}),
		{ID: "session-jwt-claims", Threat: "use a token of elsewhere or of another time", Position: "a stolen signing key's older or foreign tokens",
			Does:     "tokens signed with the hub's real key: another audience, another issuer, expired, of the future, with a day to live, without a session",
			Expected: "each is refused", Right: fails(access.ErrNoSession), Control: weaken.TokenClaims, Fast: true, Run: inOffice(foreignClaims)},
		{ID: "session-stolen-access", Threat: "use a stolen session", Position: "another enrolled workstation with a stolen access token",
			Does: "a doctor's live access token is shown by another workstation", Expected: "401, and the session ends everywhere", Right: answers(http.StatusUnauthorized), Control: weaken.TokenStation, Run: stolenAccess},
		{ID: "session-stolen-refresh", Threat: "use a stolen session", Position: "another enrolled workstation with a stolen refresh token",
			Does: "a doctor's refresh token is shown by another workstation", Expected: "401, and the session ends", Right: answers(http.StatusUnauthorized), Control: weaken.TokenStation, Run: stolenRefresh},
		{ID: "session-refresh-reuse", Threat: "stay in with a copied refresh token", Position: "malware on the same workstation, with a copy",
			Does: "a refresh token that was used twice since is shown again", Expected: "401, and the whole family ends", Right: answers(http.StatusUnauthorized), Control: weaken.RefreshOnce, Run: refreshReuse},
		{ID: "session-fixation", Threat: "get into the session of the next user who signs in", Position: "a colleague who was at the browser before",
			Does: "the attacker's session is planted in the browser; the victim signs in there; the planted token is used", Expected: "401: the planted token does not become the victim's, and is worth nothing", Right: answers(http.StatusUnauthorized), Control: weaken.FreshSession, Run: fixation},
		{ID: "session-after-sign-out", Threat: "use a session that was ended", Position: "an attacker who copied a token before", Does: "a token is used after its owner has signed out",
			Expected: "401", Right: answers(http.StatusUnauthorized), Control: weaken.SignOutEnds, Run: afterSignOut},
		{ID: "session-brute-force", Threat: "guess a password", Position: "another enrolled workstation", Does: "25 passwords for one login, the right one last",
			Expected: "401 for the first ones, then 429; the right one is not even looked at", Right: answers(http.StatusUnauthorized, http.StatusTooManyRequests), Control: weaken.Throttle, Run: bruteForce},
		{ID: "session-enumeration", Threat: "find out who works here", Position: "another enrolled workstation", Does: "sign-ins of logins that exist and that do not, three times each",
			Expected: "401 and the same words, each", Right: answers(http.StatusUnauthorized), Control: weaken.SameAnswer, Run: enumeration},
		{ID: "session-otp-replay", Threat: "use a one-time code that was looked at", Position: "a colleague who saw the password and the code",
			Does: "the same TOTP code is used for a second sign-in", Expected: "401", Right: answers(http.StatusUnauthorized), Control: weaken.ProofOnce, Run: otpReplay},
		{ID: "session-without-second", Threat: "get in with a stolen password", Position: "an attacker who knows the password of a user with a second factor",
			Does: "a sign-in without the second factor, and with a made-up pending id", Expected: "no tokens: the second step is asked for, and 401 without it", Right: answers(http.StatusUnauthorized).or(reads("second factor asked for")), Control: weaken.SecondFactor, Run: withoutSecond},
		{ID: "session-live-after-end", Threat: "go on watching", Position: "a nurse who is let go while a live view is open",
			Does: "a live view is open while an administrator disables its person", Expected: "it ends within a few seconds, and says why", Right: reads("ended"), Control: weaken.LiveRecheck, Run: liveAfterEnd},
	}
}

func stolenAccess(ctx context.Context, t *Target) (Result, error) {
	thief, err := t.mine(ctx)
	if err != nil {
		return Result{}, err
	}
	s, err := t.as(ctx, "doctor")
	if err != nil {
		return Result{}, err
	}
	a, err := thief.send(ctx, request{method: "GET", path: "/api/patients/" + t.ward.Patients[0].ID, bearer: s.Access})
	if err != nil {
		return Result{}, err
	}
	own, err := t.front().send(ctx, request{method: "GET", path: "/api/session", bearer: s.Access})
	if err != nil {
		return Result{}, err
	}
	return judge(a.ok() || own.ok(), status(a, own), "it works there", "refused, and ended", "there: %s; at its own workstation afterwards: %d", a, own.Status)
}

// refresh asks for the next pair of tokens.
func (s site) refresh(ctx context.Context, token string) (session, answer, error) {
	var out session
	a, err := s.send(ctx, request{method: "POST", path: "/api/session/refresh", body: map[string]string{"refresh_token": token}})
	if err == nil && a.ok() {
		err = json.Unmarshal(a.Body, &out)
	}
	return out, a, err
}

func stolenRefresh(ctx context.Context, t *Target) (Result, error) {
	thief, err := t.mine(ctx)
	if err != nil {
		return Result{}, err
	}
	s, err := t.as(ctx, "doctor")
	if err != nil {
		return Result{}, err
	}
	_, a, err := thief.refresh(ctx, s.Refresh)
	if err != nil {
		return Result{}, err
	}
	own, err := t.front().send(ctx, request{method: "GET", path: "/api/session", bearer: s.Access})
	if err != nil {
		return Result{}, err
	}
	return judge(a.ok() || own.ok(), status(a, own), "new tokens, or a session that goes on", "refused, and ended", "%s; its own workstation afterwards: %d", a, own.Status)
}

func refreshReuse(ctx context.Context, t *Target) (Result, error) {
	s, err := t.as(ctx, "doctor")
	if err != nil {
		return Result{}, err
	}
	newest := s
	for range 2 {
		var a answer
		if newest, a, err = t.front().refresh(ctx, newest.Refresh); err != nil {
			return Result{}, err
		}
		if !a.ok() {
			return Result{}, fmt.Errorf("the owner's own refresh: %s", a)
		}
	}
	_, a, err := t.front().refresh(ctx, s.Refresh)
	if err != nil {
		return Result{}, err
	}
	own, err := t.front().send(ctx, request{method: "GET", path: "/api/session", bearer: newest.Access})
	if err != nil {
		return Result{}, err
	}
	return judge(a.ok() || own.ok(), status(a, own), "the copy still works", "refused, and its family has ended", "the copy: %s; the newest token afterwards: %d", a, own.Status)
}

func fixation(ctx context.Context, t *Target) (Result, error) {
	planted, err := t.as(ctx, "nurse")
	if err != nil {
		return Result{}, err
	}
	doctor := t.who("doctor")
	a, err := t.front().send(ctx, request{method: "POST", path: "/api/session", body: map[string]string{"login": doctor.Login, "password": doctor.Password},
		header: map[string]string{"Cookie": "vitalseal_session=" + planted.Access}})
	if err != nil {
		return Result{}, err
	}
	if !a.ok() {
		return Result{}, fmt.Errorf("the victim's sign-in: %s", a)
	}
	now, err := t.front().send(ctx, request{method: "GET", path: "/api/session", bearer: planted.Access})
	if err != nil {
		return Result{}, err
	}
	return judge(now.ok() && strings.Contains(string(now.Body), `"role":"doctor"`), status(now), "the planted token is the victim's now", "the planted token is worth nothing", "%s", now)
}

func afterSignOut(ctx context.Context, t *Target) (Result, error) {
	s, err := t.as(ctx, "doctor")
	if err != nil {
		return Result{}, err
	}
	if _, err := t.front().send(ctx, request{method: "DELETE", path: "/api/session", bearer: s.Access}); err != nil {
		return Result{}, err
	}
	a, err := t.front().send(ctx, request{method: "GET", path: "/api/session", bearer: s.Access})
	if err != nil {
		return Result{}, err
	}
	_, r, err := t.front().refresh(ctx, s.Refresh)
	if err != nil {
		return Result{}, err
	}
	return judge(a.ok() || r.ok(), status(a, r), "it still works", "refused", "access: %d, refresh: %d", a.Status, r.Status)
}

func bruteForce(ctx context.Context, t *Target) (Result, error) {
	thief, err := t.mine(ctx)
	if err != nil {
		return Result{}, err
	}
	_, who, err := t.person(ctx, "nurse", nil)
	if err != nil {
		return Result{}, err
	}
	statuses := map[int]int{}
	var last answer
	var seen []Seen
	for i := range 25 {
		guess := fmt.Sprintf("guess-number-%d", i)
		if i == 24 {
			guess = who.Password
		}
		if last, err = thief.send(ctx, request{method: "POST", path: "/api/session", body: map[string]string{"login": who.Login, "password": guess}}); err != nil {
			return Result{}, err
		}
		statuses[last.Status]++
		seen = append(seen, status(last)...)
	}
	if !last.ok() && last.Status != http.StatusTooManyRequests {
		return Result{}, fmt.Errorf("the right password was judged: %s", last)
	}
	return judge(last.ok(), seen, "every guess was tried, the right one worked", "slowed down", "answers by status: %v", statuses)
}

func enumeration(ctx context.Context, t *Target) (Result, error) {
	thief, err := t.mine(ctx)
	if err != nil {
		return Result{}, err
	}
	var texts []string
	var seen []Seen
	for range 3 {
		for _, login := range []string{t.name("nobody-"), t.who("patient").Login, "o'brien", t.who("nurse").Login} {
			a, err := thief.send(ctx, request{method: "POST", path: "/api/session", body: map[string]string{"login": login, "password": "certainly-wrong"}})
			if err != nil {
				return Result{}, err
			}
			seen = append(seen, status(a)...)
			if text := a.String(); !slices.Contains(texts, text) {
				texts = append(texts, text)
			}
		}
	}
	return judge(len(texts) != 1, seen, "the answers differ", "all the same", "%d different: %s", len(texts), strings.Join(texts, " / "))
}

// withTOTP is a person with an authenticator app: the login, the app's secret.
func (t *Target) withTOTP(ctx context.Context) (login, string, error) {
	_, who, err := t.person(ctx, "nurse", nil)
	if err != nil {
		return who, "", err
	}
	c, err := t.client(ctx, who)
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
func (s site) pendingID(ctx context.Context, who login) (string, error) {
	a, err := s.send(ctx, request{method: "POST", path: "/api/session", body: map[string]any{"login": who.Login, "password": who.Password, "tokens": true}})
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

func otpReplay(ctx context.Context, t *Target) (Result, error) {
	who, secret, err := t.withTOTP(ctx)
	if err != nil {
		return Result{}, err
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		return Result{}, err
	}
	var both [2]answer
	for i := range both {
		id, err := t.front().pendingID(ctx, who)
		if err != nil {
			return Result{}, err
		}
		if both[i], err = t.front().send(ctx, request{method: "POST", path: "/api/session/second", body: map[string]any{"id": id, "totp": code, "tokens": true}}); err != nil {
			return Result{}, err
		}
	}
	if !both[0].ok() {
		return Result{}, fmt.Errorf("the owner's own code: %s", both[0])
	}
	return judge(both[1].ok(), status(both[1]), "the code worked twice", "the second time refused", "%s", both[1])
}

func withoutSecond(ctx context.Context, t *Target) (Result, error) {
	who, _, err := t.withTOTP(ctx)
	if err != nil {
		return Result{}, err
	}
	var tokens session
	a, err := t.front().send(ctx, request{method: "POST", path: "/api/session", body: map[string]any{"login": who.Login, "password": who.Password, "tokens": true}})
	if err != nil {
		return Result{}, err
	}
	_ = json.Unmarshal(a.Body, &tokens) // no tokens is what is hoped for
	b, err := t.front().send(ctx, request{method: "POST", path: "/api/session/second", body: map[string]any{"id": rand.Text(), "totp": "000000", "tokens": true}})
	if err != nil {
		return Result{}, err
	}
	seen := status(b)
	if a.ok() && strings.Contains(string(a.Body), `"second_factor"`) {
		seen = append(seen, word("second factor asked for")...)
	} else {
		seen = append(seen, status(a)...)
	}
	return judge(tokens.Access != "" || b.ok(), seen, "tokens without the second factor", "none", "first step: %d, second: %d", a.Status, b.Status)
}

func liveAfterEnd(ctx context.Context, t *Target) (Result, error) {
	id, who, err := t.person(ctx, "doctor", map[string]any{"patients": []string{t.ward.Patients[0].ID}})
	if err != nil {
		return Result{}, err
	}
	c, err := t.client(ctx, who)
	if err != nil {
		return Result{}, err
	}
	conn, res, err := websocket.Dial(ctx, t.base+"/api/live?patient="+t.ward.Patients[0].ID, &websocket.DialOptions{HTTPClient: c.HTTP(), HTTPHeader: c.Cookies()})
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = conn.CloseNow() }()
	if res != nil && res.Body != nil {
		defer res.Body.Close()
	}
	conn.SetReadLimit(1 << 20)
	if _, _, err := conn.Read(ctx); err != nil {
		return Result{}, fmt.Errorf("the live view did not begin: %w", err)
	}
	admin, err := t.admin(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/persons/"+id+"/disable", nil, nil); err != nil {
		return Result{}, err
	}
	began := time.Now()
	watching, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		_, b, err := conn.Read(watching)
		switch {
		case err != nil && watching.Err() != nil && ctx.Err() == nil:
			return through("it went on", "still numbers after %v", time.Since(began).Round(time.Second))
		case err != nil:
			return refused(failure(err), "it ended", "after %v: %v", time.Since(began).Round(10*time.Millisecond), err)
		case strings.Contains(string(b), `"ended"`):
			return refused(word("ended"), "it ended", "after %v: %s", time.Since(began).Round(10*time.Millisecond), b)
		}
	}
}
