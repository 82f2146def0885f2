package faces

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
)

const keyLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func randomKey() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = keyLetters[int(b[i])%len(keyLetters)]
	}
	return string(b)
}

// Keys are the attacks on ThingSpeak's face, over REST.
func Keys() []attack.Attack {
	return []attack.Attack{
		{ID: "key-guess", Threat: "read a channel without a key", Position: "any user of a workstation", Does: "300 random API keys, and a real one with each letter changed, for a patient's channel",
			Expected: "400 with -1 for each, as ThingSpeak refuses a key, and 429 once they come too fast", Right: attack.Reads("400 -1").Or(attack.Answers(http.StatusTooManyRequests)), Control: weaken.OwnKeys, Run: guessKeys},
		{ID: "key-other-channel", Threat: "read another patient with a key for one", Position: "a holder of a read key", Does: "the doctor's key for one channel is used on another",
			Expected: "400 with -1, as ThingSpeak refuses a key", Right: attack.Reads("400 -1"), Control: weaken.Policy, Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
				return askByKey(ctx, t, attack.Request{Method: "GET", Path: fmt.Sprintf("/channels/%d/feeds.json?results=2&api_key=%s", t.Ward.Patients[1].Channel, t.Ward.ReadKey)})
			}},
		{ID: "key-read-writes", Threat: "put invented values at a patient's bed", Position: "a holder of a read key", Does: "the read key writes heart rate 30 to the patient's channel",
			Expected: "403", Right: attack.Answers(http.StatusForbidden), Control: weaken.Policy, Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
				return askByKey(ctx, t, attack.Request{Method: "GET", Path: "/update.json?field1=30&api_key=" + t.Ward.ReadKey})
			}},
		{ID: "key-make-write", Threat: "put invented values at a patient's bed", Position: "a signed-in doctor", Does: "a write key for a patient's monitor is asked for",
			Expected: "403", Right: attack.Answers(http.StatusForbidden), Control: weaken.Policy, Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
				return oneAsk(ctx, t, "doctor", attack.Request{Method: "POST", Path: "/api/account/keys", Body: map[string]any{"channel": t.Ward.Patients[0].Channel, "write": true}})
			}},
		{ID: "key-as-session", Threat: "use a key as a person", Position: "a holder of a read key", Does: "the key is shown as a bearer token and as a cookie to the dashboard",
			Expected: "401", Right: attack.Answers(http.StatusUnauthorized), Control: weaken.OwnKeys, Run: keyAsSession},
	}
}

// askByKey sends a request that shows a key, and judges by how a key is refused.
func askByKey(ctx context.Context, t *attack.Target, r attack.Request) (attack.Result, error) {
	a, err := t.Front().Send(ctx, r)
	if err != nil {
		return attack.Result{}, err
	}
	path, _, _ := strings.Cut(r.Path, "api_key")
	return attack.Judge(a.OK(), byKey(a), "answered", "refused", "%s: %s", path, a)
}

// byKey is how ThingSpeak's face refuses a key: with a status that other mistakes have, too, and
// "-1".
func byKey(a attack.Answer) []attack.Seen {
	if text := strings.TrimSpace(string(a.Body)); a.Status == http.StatusBadRequest && (text == "-1" || text == `"-1"`) {
		return attack.Word("400 -1")
	}
	return attack.Status(a)
}

func guessKeys(ctx context.Context, t *attack.Target) (attack.Result, error) {
	thief, err := t.Mine(ctx) // its own allowance: no other client is slowed down
	if err != nil {
		return attack.Result{}, err
	}
	var guesses []string
	for range 300 {
		guesses = append(guesses, randomKey())
	}
	for i := range t.Ward.ReadKey {
		b := []byte(t.Ward.ReadKey)
		b[i] = keyLetters[(strings.IndexByte(keyLetters, b[i])+1)%len(keyLetters)]
		guesses = append(guesses, string(b))
	}
	statuses := map[int]int{}
	var seen []attack.Seen
	for _, k := range guesses {
		a, err := thief.Send(ctx, attack.Request{Method: "GET", Path: fmt.Sprintf("/channels/%d/feeds/last.json?api_key=%s", t.Ward.Patients[0].Channel, k)})
		if err != nil {
			return attack.Result{}, err
		}
		if statuses[a.Status]++; a.Status == http.StatusOK {
			return attack.Through("a guessed key opened the channel", "after %d guesses", len(seen))
		}
		seen = append(seen, byKey(a)...)
	}
	return attack.RefusedWith(seen, "none was taken", "answers by status: %v", statuses)
}

func keyAsSession(ctx context.Context, t *attack.Target) (attack.Result, error) {
	// Dressed up as a token, too, of the person who made the key.
	dressed, err := office.SignToken(map[string]any{"alg": "none", "typ": "at+jwt"}, map[string]any{"sub": "doctor", "key": t.Ward.ReadKey}, func(string) ([]byte, error) { return nil, nil })
	if err != nil {
		return attack.Result{}, err
	}
	var seen []attack.Seen
	for _, token := range []string{t.Ward.ReadKey, dressed} {
		for _, r := range []attack.Request{{Method: "GET", Path: "/api/session", Bearer: token}, {Method: "GET", Path: "/api/session", Header: map[string]string{"Cookie": "vitalseal_session=" + token}}} {
			a, err := t.Front().Send(ctx, r)
			if err != nil {
				return attack.Result{}, err
			}
			if a.OK() {
				return attack.Through("taken for a session", "%s", a)
			}
			seen = append(seen, attack.Status(a)...)
		}
	}
	return attack.RefusedWith(seen, "worth nothing there", "as bearer and as cookie, bare and dressed up as a token")
}
