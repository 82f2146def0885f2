package attack

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"

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

// keyAttacks are on ThingSpeak's face, over REST.
func keyAttacks() []Attack {
	return []Attack{
		{ID: "key-guess", Threat: "read a channel without a key", Position: "any user of a workstation", Does: "300 random API keys, and a real one with each letter changed, for a patient's channel",
			Expected: "400 with -1 for each, as ThingSpeak refuses a key, and 429 once they come too fast", Right: reads("400 -1").or(answers(http.StatusTooManyRequests)), Control: weaken.OwnKeys, Run: guessKeys},
		{ID: "key-other-channel", Threat: "read another patient with a key for one", Position: "a holder of a read key", Does: "the doctor's key for one channel is used on another",
			Expected: "400 with -1, as ThingSpeak refuses a key", Right: reads("400 -1"), Control: weaken.Policy, Run: func(ctx context.Context, t *Target) (Result, error) {
				return t.byKey(ctx, request{method: "GET", path: fmt.Sprintf("/channels/%d/feeds.json?results=2&api_key=%s", t.ward.Patients[1].Channel, t.ward.ReadKey)})
			}},
		{ID: "key-read-writes", Threat: "put invented values at a patient's bed", Position: "a holder of a read key", Does: "the read key writes heart rate 30 to the patient's channel",
			Expected: "403", Right: answers(http.StatusForbidden), Control: weaken.Policy, Run: func(ctx context.Context, t *Target) (Result, error) {
				return t.byKey(ctx, request{method: "GET", path: "/update.json?field1=30&api_key=" + t.ward.ReadKey})
			}},
		{ID: "key-make-write", Threat: "put invented values at a patient's bed", Position: "a signed-in doctor", Does: "a write key for a patient's monitor is asked for",
			Expected: "403", Right: answers(http.StatusForbidden), Control: weaken.Policy, Run: func(ctx context.Context, t *Target) (Result, error) {
				return oneAsk(ctx, t, "doctor", request{method: "POST", path: "/api/account/keys", body: map[string]any{"channel": t.ward.Patients[0].Channel, "write": true}})
			}},
		{ID: "key-as-session", Threat: "use a key as a person", Position: "a holder of a read key", Does: "the key is shown as a bearer token and as a cookie to the dashboard",
			Expected: "401", Right: answers(http.StatusUnauthorized), Control: weaken.OwnKeys, Run: keyAsSession},
	}
}

func (t *Target) byKey(ctx context.Context, r request) (Result, error) {
	a, err := t.front().send(ctx, r)
	if err != nil {
		return Result{}, err
	}
	path, _, _ := strings.Cut(r.path, "api_key")
	return judge(a.ok(), byKey(a), "answered", "refused", "%s: %s", path, a)
}

// byKey is how ThingSpeak's face refuses a key: with a status that other mistakes have, too, and "-1".
func byKey(a answer) []Seen {
	if text := strings.TrimSpace(string(a.Body)); a.Status == http.StatusBadRequest && (text == "-1" || text == `"-1"`) {
		return word("400 -1")
	}
	return status(a)
}

func guessKeys(ctx context.Context, t *Target) (Result, error) {
	thief, err := t.mine(ctx) // its own allowance: no other client is slowed down
	if err != nil {
		return Result{}, err
	}
	var guesses []string
	for range 300 {
		guesses = append(guesses, randomKey())
	}
	for i := range t.ward.ReadKey {
		b := []byte(t.ward.ReadKey)
		b[i] = keyLetters[(strings.IndexByte(keyLetters, b[i])+1)%len(keyLetters)]
		guesses = append(guesses, string(b))
	}
	statuses := map[int]int{}
	var seen []Seen
	for _, k := range guesses {
		a, err := thief.send(ctx, request{method: "GET", path: fmt.Sprintf("/channels/%d/feeds/last.json?api_key=%s", t.ward.Patients[0].Channel, k)})
		if err != nil {
			return Result{}, err
		}
		if statuses[a.Status]++; a.Status == http.StatusOK {
			return through("a guessed key opened the channel", "after %d guesses", len(seen))
		}
		seen = append(seen, byKey(a)...)
	}
	return refused(seen, "none was taken", "answers by status: %v", statuses)
}

func keyAsSession(ctx context.Context, t *Target) (Result, error) {
	// Dressed up as a token, too, of the person who made the key.
	dressed, err := signed(map[string]any{"alg": "none", "typ": "at+jwt"}, map[string]any{"sub": "doctor", "key": t.ward.ReadKey}, func(string) ([]byte, error) { return nil, nil })
	if err != nil {
		return Result{}, err
	}
	var seen []Seen
	for _, token := range []string{t.ward.ReadKey, dressed} {
		for _, r := range []request{{method: "GET", path: "/api/session", bearer: token}, {method: "GET", path: "/api/session", header: map[string]string{"Cookie": "vitalseal_session=" + token}}} {
			a, err := t.front().send(ctx, r)
			if err != nil {
				return Result{}, err
			}
			if a.ok() {
				return through("taken for a session", "%s", a)
			}
			seen = append(seen, status(a)...)
		}
	}
	return refused(seen, "worth nothing there", "as bearer and as cookie, bare and dressed up as a token")
}
