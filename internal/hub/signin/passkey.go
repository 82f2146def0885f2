package signin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"vitalseal/internal/hub/access"
)

// DefaultHost is the one name under which workstations reach the faces. Passkeys are bound to it.
const DefaultHost = "vitalseal.localhost"

const maxPasskeyAnswer = 16 << 10

// WithHost sets the host name that browsers use, to which passkeys are bound; DefaultHost without it.
func WithHost(host string) Option { return func(svc *Service) { svc.host = host } }

// passkeyUser is a person as the library sees one.
type passkeyUser struct {
	person      access.Person
	credentials []webauthn.Credential
	factors     []access.Factor // of the credentials, in the same order
}

func (u *passkeyUser) WebAuthnID() []byte                         { return []byte(u.person.ID) }
func (u *passkeyUser) WebAuthnName() string                       { return u.person.Login }
func (u *passkeyUser) WebAuthnDisplayName() string                { return u.person.DisplayName }
func (u *passkeyUser) WebAuthnCredentials() []webauthn.Credential { return u.credentials }

// relyingParty is this deployment to the library. origin is the page's own, see ourOrigin.
func (svc *Service) relyingParty(origin string) (*webauthn.WebAuthn, error) {
	return webauthn.New(&webauthn.Config{
		RPID: svc.host, RPDisplayName: "Vitalseal", RPOrigins: []string{origin},
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired},
		AttestationPreference: protocol.PreferNoAttestation,
	})
}

// ourOrigin reports whether a browser's word for the page that a passkey was shown to is the very page that the request comes
// through: scheme, host name and port of the workstation's connect (page), which has our host name and is reached over TLS or on
// loopback. Ports differ from workstation to workstation; a page of another port is another program's, however like ours it looks.
func (svc *Service) ourOrigin(origin, page string) bool {
	//defence:passkey-page a passkey counts for the page that it was shown to
	if origin != page {
		return false
	}
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http" && strings.HasSuffix(svc.host, "localhost")) &&
		u.Hostname() == svc.host && u.Path == "" && u.User == nil
}

// anyOrigin stands where no answer has come yet, and so no origin.
func (svc *Service) anyOrigin() string { return "https://" + svc.host }

func (svc *Service) passkeyUser(ctx context.Context, p access.Person) (*passkeyUser, error) {
	all, err := svc.dir.Factors(ctx, p.ID)
	if err != nil {
		return nil, fmt.Errorf("signin: passkey: %w", err)
	}
	u := &passkeyUser{person: p}
	for _, f := range all {
		var c webauthn.Credential
		if f.Kind == access.FactorPasskey && json.Unmarshal(f.Data, &c) == nil {
			u.credentials = append(u.credentials, c)
			u.factors = append(u.factors, f)
		}
	}
	return u, nil
}

// BeginPasskey gives the options for navigator.credentials.create, to add a passkey to s's account. It needs a fresh proof
// of identity. A session adds one passkey at a time.
func (svc *Service) BeginPasskey(ctx context.Context, s access.Subject) (options json.RawMessage, err error) {
	if err := svc.fresh(ctx, s); err != nil {
		return nil, err
	}
	u, err := svc.passkeyUser(ctx, s.Person)
	if err != nil {
		return nil, err
	}
	rp, err := svc.relyingParty(svc.anyOrigin())
	if err != nil {
		return nil, fmt.Errorf("signin: passkey: %w", err)
	}
	known := make([]protocol.CredentialDescriptor, len(u.credentials))
	for i, c := range u.credentials {
		known[i] = c.Descriptor()
	}
	creation, session, err := rp.BeginRegistration(u, webauthn.WithExclusions(known))
	if err == nil {
		options, err = json.Marshal(creation)
	}
	if err != nil {
		return nil, fmt.Errorf("signin: passkey: %w", err)
	}
	svc.pendings.putAs(enrolling(s), &pending{person: s.Person.ID, workstation: s.Workstation, session: s.Session, passkey: session}, time.Now().UTC())
	return options, nil
}

// enrolling is the pending under which a session adds a passkey. No client ever says it.
func enrolling(s access.Subject) string { return "enrol " + s.Session }

// FinishPasskey adds the passkey that the browser made at page, the origin of the workstation's connect that the request comes
// through. ErrSignIn if its answer does not fit what was asked.
func (svc *Service) FinishPasskey(ctx context.Context, s access.Subject, name string, answer json.RawMessage, page string) error {
	if err := svc.fresh(ctx, s); err != nil {
		return err
	}
	n, ok := svc.pendings.try(enrolling(s), s.Workstation, time.Now().UTC())
	if !ok || n.session != s.Session || n.passkey == nil || len(answer) > maxPasskeyAnswer {
		return ErrSignIn
	}
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxFactorName {
		return fmt.Errorf("%w: name: 1 to %d bytes", access.ErrInvalid, maxFactorName)
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil || !svc.ourOrigin(parsed.Response.CollectedClientData.Origin, page) {
		return ErrSignIn
	}
	rp, err := svc.relyingParty(parsed.Response.CollectedClientData.Origin)
	if err != nil {
		return fmt.Errorf("signin: passkey: %w", err)
	}
	u, err := svc.passkeyUser(ctx, s.Person)
	if err != nil {
		return err
	}
	credential, err := rp.CreateCredential(u, *n.passkey, parsed)
	if err != nil || !credential.Flags.UserVerified {
		return ErrSignIn
	}
	svc.pendings.done(enrolling(s))
	if err := svc.record(ctx, s.Person, s.Workstation, actionFactor, true, "passkey added"); err != nil {
		return err
	}
	return svc.saveFactor(ctx, s.Person.ID, len(u.factors), access.FactorPasskey, name, credential)
}

// beginPasskey asks a known person for one of their passkeys; nil options if there is none.
func (svc *Service) beginPasskey(ctx context.Context, p access.Person) (json.RawMessage, *webauthn.SessionData, error) {
	u, err := svc.passkeyUser(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	rp, err := svc.relyingParty(svc.anyOrigin())
	if err != nil {
		return nil, nil, fmt.Errorf("signin: passkey: %w", err)
	}
	assertion, session, err := rp.BeginLogin(u, webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, nil, fmt.Errorf("signin: passkey: %w", err)
	}
	options, err := json.Marshal(assertion)
	return options, session, err
}

// BeginPasskeySignIn asks the browser for a passkey. It names no person: the passkey tells whose it is.
func (svc *Service) BeginPasskeySignIn(_ context.Context, workstation string) (Pending, error) {
	if !access.IsWorkstation(workstation) {
		return Pending{}, ErrSignIn
	}
	rp, err := svc.relyingParty(svc.anyOrigin())
	if err != nil {
		return Pending{}, fmt.Errorf("signin: passkey: %w", err)
	}
	assertion, session, err := rp.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return Pending{}, fmt.Errorf("signin: passkey: %w", err)
	}
	options, err := json.Marshal(assertion)
	if err != nil {
		return Pending{}, fmt.Errorf("signin: passkey: %w", err)
	}
	id := svc.pendings.put(&pending{workstation: workstation, methods: access.FactorPasskey, passkey: session}, time.Now().UTC())
	return Pending{ID: id, Methods: []string{access.FactorPasskey}, PasskeyOptions: options}, nil
}

// FinishPasskeySignIn starts a session of the passkey's owner. A passkey with user verification is two factors
// in one. Errors as SignIn.
func (svc *Service) FinishPasskeySignIn(ctx context.Context, proof Proof, workstation string) (SignedIn, error) {
	now := time.Now().UTC()
	n, ok := svc.pendings.try(proof.Pending, workstation, now)
	if !ok || n.person != "" || n.passkey == nil || len(proof.Passkey) > maxPasskeyAnswer {
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, "no sign-in waits for this")
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(proof.Passkey)
	if err != nil || !svc.ourOrigin(parsed.Response.CollectedClientData.Origin, proof.Page) {
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, "wrong passkey")
	}
	rp, err := svc.relyingParty(parsed.Response.CollectedClientData.Origin)
	if err != nil {
		return SignedIn{}, fmt.Errorf("signin: passkey: %w", err)
	}
	var broken error
	find := func(_, handle []byte) (webauthn.User, error) {
		p, err := svc.dir.Person(ctx, string(handle))
		if err == nil {
			var u *passkeyUser
			if u, err = svc.passkeyUser(ctx, p); err == nil {
				return u, nil
			}
		}
		if !errors.Is(err, access.ErrNotFound) {
			broken = err
		}
		return nil, err
	}
	user, credential, err := rp.ValidatePasskeyLogin(find, *n.passkey, parsed)
	if broken != nil {
		return SignedIn{}, fmt.Errorf("signin: passkey: %w", broken)
	}
	if err != nil {
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, "wrong passkey")
	}
	u, isOurs := user.(*passkeyUser)
	if !isOurs || u.person.Disabled {
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, "person disabled")
	}
	if err := svc.used(ctx, u, credential, now); err != nil {
		if errors.Is(err, ErrSignIn) {
			return SignedIn{}, svc.signInRefused(ctx, u.person, workstation, "passkey copied")
		}
		return SignedIn{}, err
	}
	svc.pendings.done(proof.Pending)
	return svc.startSession(ctx, u.person, workstation, "hwk user", true, now)
}

// passkeyOf checks a passkey of a known person. An empty method without an error means that it is wrong.
func (svc *Service) passkeyOf(ctx context.Context, p access.Person, proof Proof, session webauthn.SessionData) (method string, err error) {
	if len(proof.Passkey) > maxPasskeyAnswer {
		return "", nil
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(proof.Passkey)
	if err != nil || !svc.ourOrigin(parsed.Response.CollectedClientData.Origin, proof.Page) {
		return "", nil
	}
	rp, err := svc.relyingParty(parsed.Response.CollectedClientData.Origin)
	if err != nil {
		return "", fmt.Errorf("signin: passkey: %w", err)
	}
	u, err := svc.passkeyUser(ctx, p)
	if err != nil {
		return "", err
	}
	credential, err := rp.ValidateLogin(u, session, parsed)
	if err != nil {
		return "", nil //nolint:nilerr // a wrong answer is an answer
	}
	if err := svc.used(ctx, u, credential, time.Now().UTC()); err != nil {
		if errors.Is(err, ErrSignIn) {
			return "", nil
		}
		return "", err
	}
	return "hwk user", nil
}

// used writes what a passkey's use changed. One whose counter went backwards has been copied: ErrSignIn.
func (svc *Service) used(ctx context.Context, u *passkeyUser, credential *webauthn.Credential, now time.Time) error {
	if credential.Authenticator.CloneWarning || !credential.Flags.UserVerified {
		return ErrSignIn
	}
	id := base64.StdEncoding.EncodeToString(credential.ID)
	for range swaps {
		i := slices.IndexFunc(u.credentials, func(c webauthn.Credential) bool { return base64.StdEncoding.EncodeToString(c.ID) == id })
		if i < 0 {
			return ErrSignIn
		}
		err := svc.keep(ctx, u.factors[i], credential, now)
		if !errors.Is(err, access.ErrConflict) {
			return err
		}
		// It was used meanwhile, perhaps at another hub: the counter must be past that use as well.
		if u, err = svc.passkeyUser(ctx, u.person); err != nil {
			return err
		}
		for _, c := range u.credentials {
			known, shown := c.Authenticator.SignCount, credential.Authenticator.SignCount
			if base64.StdEncoding.EncodeToString(c.ID) == id && known > 0 && shown <= known {
				return ErrSignIn
			}
		}
	}
	return ErrBusy
}
