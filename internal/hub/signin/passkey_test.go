package signin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

// authenticator is a passkey in software: one key for one account, as WebAuthn level 2, 6 describes them.
type authenticator struct {
	t      testing.TB
	origin string
	flags  byte // user present and verified, unless a test says otherwise
	id     []byte
	key    *ecdsa.PrivateKey
	handle []byte // of the user
	count  uint32
}

func newAuthenticator(t testing.TB) *authenticator {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authenticator{t: t, origin: page, flags: 0x05, id: make([]byte, 32), key: k}
	rand.Read(a.id)
	return a
}

var raw64 = base64.RawURLEncoding

// options are the parts of a ceremony's options that an authenticator looks at.
type options struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		RPID      string `json:"rpId"`
		RP        struct {
			ID string `json:"id"`
		} `json:"rp"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
		UserVerification string `json:"userVerification"`
	} `json:"publicKey"`
}

func (a *authenticator) read(raw json.RawMessage) options {
	a.t.Helper()
	var o options
	if err := json.Unmarshal(raw, &o); err != nil || o.PublicKey.Challenge == "" {
		a.t.Fatalf("options %s: %v", raw, err)
	}
	return o
}

func (a *authenticator) clientData(kind, challenge string) []byte {
	b, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.origin, "crossOrigin": false})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// data is authenticatorData without extensions.
func (a *authenticator) data(rp string, attested []byte) []byte {
	hash := sha256.Sum256([]byte(rp))
	flags := a.flags
	if attested != nil {
		flags |= 0x40
	}
	a.count++
	return append(binary.BigEndian.AppendUint32(append(hash[:], flags), a.count), attested...)
}

func (a *authenticator) answer(response map[string]any) json.RawMessage {
	b, err := json.Marshal(map[string]any{"id": raw64.EncodeToString(a.id), "rawId": raw64.EncodeToString(a.id), "type": "public-key",
		"response": response, "clientExtensionResults": map[string]any{}})
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// create answers navigator.credentials.create.
func (a *authenticator) create(raw json.RawMessage) json.RawMessage {
	o := a.read(raw)
	var err error
	if a.handle, err = raw64.DecodeString(o.PublicKey.User.ID); err != nil {
		a.t.Fatal(err)
	}
	public, err := a.key.PublicKey.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	cose, err := cbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: public[1:33], -3: public[33:]})
	if err != nil {
		a.t.Fatal(err)
	}
	attested := append(make([]byte, 16), 0, byte(len(a.id)))
	attested = append(append(attested, a.id...), cose...)
	object, err := cbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": a.data(o.PublicKey.RP.ID, attested)})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string]any{"clientDataJSON": raw64.EncodeToString(a.clientData("webauthn.create", o.PublicKey.Challenge)),
		"attestationObject": raw64.EncodeToString(object)})
}

// get answers navigator.credentials.get.
func (a *authenticator) get(raw json.RawMessage) json.RawMessage {
	o := a.read(raw)
	client := a.clientData("webauthn.get", o.PublicKey.Challenge)
	data := a.data(o.PublicKey.RPID, nil)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(slices.Clone(data), hash[:]...))
	sig, err := ecdsa.SignASN1(rand.Reader, a.key, digest[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string]any{"clientDataJSON": raw64.EncodeToString(client), "authenticatorData": raw64.EncodeToString(data),
		"signature": raw64.EncodeToString(sig), "userHandle": raw64.EncodeToString(a.handle)})
}

// withPasskey adds a passkey to a person's account.
func withPasskey(t testing.TB, b *browser) *authenticator {
	t.Helper()
	a := newAuthenticator(t)
	raw, err := b.e.BeginPasskey(t.Context(), b.subject())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.e.FinishPasskey(t.Context(), b.subject(), "My phone", a.create(raw), page); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestPasskeys(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	e, log := setup(t, d)
	b := signIn(t, e, "nurse")
	a := withPasskey(t, b)
	if f, err := e.Factors(t.Context(), b.subject()); err != nil || len(f) != 1 || f[0].Kind != access.FactorPasskey || f[0].Name != "My phone" || f[0].Data != nil {
		t.Errorf("%+v %v", f, err)
	}
	begin := func() signin.Pending {
		t.Helper()
		p, err := e.BeginPasskeySignIn(t.Context(), station)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	// Signing in with it alone: it is two factors in one, and it says who it belongs to.
	p := begin()
	if o := a.read(p.PasskeyOptions); o.PublicKey.UserVerification != "required" || o.PublicKey.RPID != signin.DefaultHost {
		t.Errorf("asked for %+v", o)
	}
	proof := signin.Proof{Page: page, Pending: p.ID, Passkey: a.get(p.PasskeyOptions)}
	in, err := e.FinishPasskeySignIn(t.Context(), proof, station)
	if err != nil || in.Subject.Person.ID != "nurse" || !in.Subject.SecondFactor {
		t.Fatalf("%+v %v", in.Subject, err)
	}
	if got := last(t, log); got.Reason != "hwk user" || got.Person != "nurse" {
		t.Errorf("audited as %+v", got)
	}
	if _, err := e.FinishPasskeySignIn(t.Context(), proof, station); !errors.Is(err, signin.ErrSignIn) {
		t.Errorf("the same answer twice: %v", err)
	}
	// A workstation that says that the request comes through another page than ours, or says nothing, lets no person in.
	for _, says := range []string{"", "https://" + signin.DefaultHost + ":9999", "https://evil.example"} {
		p, copied := begin(), *a
		if says != "" && !strings.Contains(says, signin.DefaultHost) {
			copied.origin = says
		}
		if _, err := e.FinishPasskeySignIn(t.Context(), signin.Proof{Page: says, Pending: p.ID, Passkey: copied.get(p.PasskeyOptions)}, station); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("through %q: %v", says, err)
		}
	}
	// As the second factor after the password, and for a step-up.
	after, err := e.SignIn(t.Context(), "nurse", password, station)
	if err != nil || after.Pending == nil || !slices.Contains(after.Pending.Methods, access.FactorPasskey) {
		t.Fatalf("%+v %v", after.Pending, err)
	}
	if in, err = e.SecondFactor(t.Context(), signin.Proof{Page: page, Pending: after.Pending.ID, Passkey: a.get(after.Pending.PasskeyOptions)}, station); err != nil {
		t.Fatal(err)
	}
	up, err := e.BeginProof(t.Context(), in.Subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.StepUp(t.Context(), in.Subject, signin.Proof{Page: page, Pending: up.ID, Passkey: a.get(up.PasskeyOptions)}); err != nil {
		t.Errorf("step up: %v", err)
	}
	if up, err = e.BeginProof(t.Context(), in.Subject); err != nil {
		t.Fatal(err)
	}
	elsewhere := *a
	elsewhere.origin = "https://" + signin.DefaultHost + ":9999"
	if err := e.StepUp(t.Context(), in.Subject, signin.Proof{Page: page, Pending: up.ID, Passkey: elsewhere.get(up.PasskeyOptions)}); !errors.Is(err, signin.ErrSignIn) {
		t.Errorf("a step-up with an answer from another port: %v", err)
	}
	// Another person's account does not take it, nor does a step-up the answer to another question.
	doctor := signIn(t, e, "doctor")
	other := withPasskey(t, doctor)
	again, err := e.BeginProof(t.Context(), doctor.subject())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.StepUp(t.Context(), doctor.subject(), signin.Proof{Page: page, Pending: again.ID, Passkey: a.get(again.PasskeyOptions)}); !errors.Is(err, signin.ErrSignIn) {
		t.Errorf("the nurse's passkey for the doctor: %v", err)
	}
	if err := e.StepUp(t.Context(), doctor.subject(), signin.Proof{Page: page, Pending: again.ID, Passkey: other.get(up.PasskeyOptions)}); !errors.Is(err, signin.ErrSignIn) {
		t.Errorf("the answer to another question: %v", err)
	}
	for what, change := range map[string]func(a *authenticator, p *signin.Pending, ws *string){
		"not verified": func(a *authenticator, _ *signin.Pending, _ *string) { a.flags = 0x01 },
		"another site": func(a *authenticator, _ *signin.Pending, _ *string) {
			a.origin = "https://vitalseal.localhost.evil.example"
		},
		"another port": func(a *authenticator, _ *signin.Pending, _ *string) {
			a.origin = "https://" + signin.DefaultHost + ":9999"
		},
		"no port": func(a *authenticator, _ *signin.Pending, _ *string) { a.origin = "https://" + signin.DefaultHost },
		"no TLS": func(a *authenticator, _ *signin.Pending, _ *string) {
			a.origin = strings.Replace(page, "https", "http", 1)
		},
		"plain http":          func(a *authenticator, _ *signin.Pending, _ *string) { a.origin = "ftp://vitalseal.localhost" },
		"another key":         func(a *authenticator, _ *signin.Pending, _ *string) { a.key = newAuthenticator(t).key },
		"another credential":  func(a *authenticator, _ *signin.Pending, _ *string) { a.id = newAuthenticator(t).id },
		"another person":      func(a *authenticator, _ *signin.Pending, _ *string) { a.handle = []byte("admin") },
		"nobody":              func(a *authenticator, _ *signin.Pending, _ *string) { a.handle = nil },
		"a copied passkey":    func(a *authenticator, _ *signin.Pending, _ *string) { a.count = 0 },
		"another workstation": func(_ *authenticator, _ *signin.Pending, ws *string) { *ws = otherStation },
		"nothing was asked":   func(_ *authenticator, p *signin.Pending, _ *string) { p.ID = "x" },
	} {
		copied, p, ws := *a, begin(), station
		change(&copied, &p, &ws)
		// Each from a person who has not failed before: the throttle is another test's matter.
		fresh, _ := setup(t, d)
		if p.ID != "x" {
			if p2, err := fresh.BeginPasskeySignIn(t.Context(), station); err == nil {
				p = p2
			}
		}
		if _, err := fresh.FinishPasskeySignIn(t.Context(), signin.Proof{Page: page, Pending: p.ID, Passkey: copied.get(p.PasskeyOptions)}, ws); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPasskeyEnrolmentIsRefused(t *testing.T) {
	d := withPassword(t, newDirectory().WithEveryRole())
	e, _ := setup(t, d)
	b := signIn(t, e, "nurse")
	if err := e.FinishPasskey(t.Context(), b.subject(), "x", newAuthenticator(t).answer(map[string]any{}), page); !errors.Is(err, signin.ErrSignIn) {
		t.Errorf("nothing was asked: %v", err)
	}
	stale := b.subject()
	stale.Proven = time.Now().Add(-time.Hour)
	if _, err := e.BeginPasskey(t.Context(), stale); !errors.Is(err, access.ErrStepUp) {
		t.Errorf("without a fresh proof: %v", err)
	}
	for what, change := range map[string]func(*authenticator){
		"not verified": func(a *authenticator) { a.flags = 0x01 },
		"another site": func(a *authenticator) { a.origin = "https://evil.example" },
		"another port": func(a *authenticator) { a.origin = "https://" + signin.DefaultHost + ":9999" },
	} {
		a := newAuthenticator(t)
		raw, err := e.BeginPasskey(t.Context(), b.subject())
		if err != nil {
			t.Fatal(err)
		}
		change(a)
		if err := e.FinishPasskey(t.Context(), b.subject(), "x", a.create(raw), page); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("%s: %v", what, err)
		}
	}
	raw, err := e.BeginPasskey(t.Context(), b.subject())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.FinishPasskey(t.Context(), b.subject(), "", newAuthenticator(t).create(raw), page); !errors.Is(err, access.ErrInvalid) {
		t.Errorf("without a name: %v", err)
	}
	if len(d.AllFactors) != 0 {
		t.Errorf("%d passkeys were added", len(d.AllFactors))
	}
}

func FuzzPasskeyAnswer(f *testing.F) {
	d := withPassword(f, newDirectory().WithEveryRole())
	e, _ := setup(f, d)
	a := withPasskey(f, signIn(f, e, "nurse"))
	p, err := e.BeginPasskeySignIn(f.Context(), station)
	if err != nil {
		f.Fatal(err)
	}
	good := a.get(p.PasskeyOptions)
	f.Add([]byte(good))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		p, err := e.BeginPasskeySignIn(t.Context(), station)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.FinishPasskeySignIn(t.Context(), signin.Proof{Page: page, Pending: p.ID, Passkey: answer}, station); !errors.Is(err, signin.ErrSignIn) {
			t.Fatalf("%s: %v", answer, err)
		}
	})
}
