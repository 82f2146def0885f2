package sessions

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
)

// Passkeys are those on passkeys, at a hub's inside in this process.
func Passkeys() []attack.Attack {
	return []attack.Attack{
		{ID: "session-passkey-page", Threat: "use a passkey that another page has asked for", Position: "a program that listens at another port of the person's workstation",
			Does:     "the person's passkey answers the hub's challenge for a page of the same host name and another port; the program sends the answer through the workstation's own page",
			Expected: "refused", Right: attack.Fails(signin.ErrSignIn), Control: weaken.PasskeyPage, Fast: true, Run: passkeyOfAnotherPage},
	}
}

// softKey is a passkey in software: one ES256 key of one account.
type softKey struct {
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte // of the account
	count  uint32
}

// ceremony is what an authenticator reads of a ceremony's options.
type ceremony struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		RPID      string `json:"rpId"`
		RP        struct {
			ID string `json:"id"`
		} `json:"rp"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
	} `json:"publicKey"`
}

func clientData(kind, challenge, origin string) ([]byte, error) {
	return json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false})
}

// data is authenticatorData: the person is present and verified.
func (k *softKey) data(host string, attested []byte) []byte {
	hash, flags := sha256.Sum256([]byte(host)), byte(0x05)
	if attested != nil {
		flags |= 0x40
	}
	k.count++
	return append(binary.BigEndian.AppendUint32(append(hash[:], flags), k.count), attested...)
}

func (k *softKey) answer(response map[string]any) (json.RawMessage, error) {
	id := base64.RawURLEncoding.EncodeToString(k.id)
	return json.Marshal(map[string]any{"id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": map[string]any{}})
}

// create answers navigator.credentials.create at the page origin.
func (k *softKey) create(raw json.RawMessage, origin string) (json.RawMessage, error) {
	var o ceremony
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	var err error
	if k.handle, err = base64.RawURLEncoding.DecodeString(o.PublicKey.User.ID); err != nil {
		return nil, err
	}
	public, err := k.key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	cose, err := cbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: public[1:33], -3: public[33:]})
	if err != nil {
		return nil, err
	}
	attested := append(append(append(make([]byte, 16), 0, byte(len(k.id))), k.id...), cose...) // #nosec G115 -- an id of some bytes
	object, err := cbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": k.data(o.PublicKey.RP.ID, attested)})
	if err != nil {
		return nil, err
	}
	client, err := clientData("webauthn.create", o.PublicKey.Challenge, origin)
	if err != nil {
		return nil, err
	}
	return k.answer(map[string]any{"clientDataJSON": base64.RawURLEncoding.EncodeToString(client), "attestationObject": base64.RawURLEncoding.EncodeToString(object)})
}

// get answers navigator.credentials.get at the page origin.
func (k *softKey) get(raw json.RawMessage, origin string) (json.RawMessage, error) {
	var o ceremony
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	client, err := clientData("webauthn.get", o.PublicKey.Challenge, origin)
	if err != nil {
		return nil, err
	}
	data := k.data(o.PublicKey.RPID, nil)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(slices.Clone(data), hash[:]...))
	sig, err := ecdsa.SignASN1(rand.Reader, k.key, digest[:])
	if err != nil {
		return nil, err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return k.answer(map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(sig), "userHandle": b64(k.handle)})
}

func passkeyOfAnotherPage(ctx context.Context, t *attack.Target) (_ attack.Result, err error) {
	const page, other = "https://" + signin.DefaultHost + ":8443", "https://" + signin.DefaultHost + ":9443"
	o, err := office.New(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	in, err := o.SignedIn(ctx, access.RoleNurse)
	if err != nil {
		return attack.Result{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return attack.Result{}, err
	}
	k := &softKey{key: key, id: []byte(rand.Text())}
	options, err := o.SignIn.BeginPasskey(ctx, in.Subject)
	if err != nil {
		return attack.Result{}, err
	}
	made, err := k.create(options, page)
	if err == nil {
		err = o.SignIn.FinishPasskey(ctx, in.Subject, "phone", made, page)
	}
	if err != nil {
		return attack.Result{}, fmt.Errorf("the passkey: %w", err)
	}
	show := func(origin string) error {
		p, err := o.SignIn.BeginPasskeySignIn(ctx, office.Desk)
		if err != nil {
			return err
		}
		shown, err := k.get(p.PasskeyOptions, origin)
		if err != nil {
			return err
		}
		_, err = o.SignIn.FinishPasskeySignIn(ctx, signin.Proof{Pending: p.ID, Passkey: shown, Page: page}, office.Desk)
		return err
	}
	if err := show(page); err != nil {
		return attack.Result{}, fmt.Errorf("the passkey at its own page: %w", err)
	}
	switch err := show(other); {
	case err == nil:
		return attack.Through("the answer for another port's page signed the attacker in", "page %s", other)
	default:
		return attack.RefusedWith(attack.Failure(err), "an answer for another port's page is refused", "%v", err)
	}
}
