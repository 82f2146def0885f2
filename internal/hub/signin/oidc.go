package signin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/shared/form"
)

// CallbackPath is where an OpenID provider sends people back to.
const CallbackPath = "/api/session/oidc/callback"

const (
	oidcPatience = 10 * time.Second
	// maxProviderAnswer bounds what is read of one answer of the provider. A token of a person in thousands of groups is within it.
	maxProviderAnswer = 1 << 20
	// authTimeSlack is how far the provider's clock may be from ours where it says when a person proved who they are.
	authTimeSlack = 5 * time.Minute
)

// OIDCConfig is the hospital's own sign-in: an OpenID Connect provider, and what its claims mean here.
type OIDCConfig struct {
	Issuer       string // https://...
	ClientID     string
	ClientSecret string // empty for a public client; PKCE is used either way
	// Scopes are asked for beside "openid"; nil for "profile".
	Scopes []string
	// RoleClaim is the claim whose value, or one of whose values, says the role ("groups"). With dots it may be one within
	// others ("realm_access.roles"); a claim that has the dots in its own name goes first.
	RoleClaim string
	// NoAuthTime takes the word of a provider that does not say when the person proved who they are (auth_time). Without it such
	// a sign-in is good for what needs no fresh proof of identity.
	NoAuthTime bool
	// Roles maps values of the claim to roles. Who has none of them, or several that mean different roles, does not get in.
	Roles map[string]access.Role
	// Client reaches the provider; nil for one with a time limit.
	Client *http.Client
}

// WithOIDC lets people sign in at an OpenID provider.
func WithOIDC(c OIDCConfig) Option { return func(svc *Service) { svc.oidc = newProvider(c) } }

// HasOIDC reports whether there is a provider to sign in at.
func (svc *Service) HasOIDC() bool { return svc.oidc != nil }

// provider is the relying party of one OpenID provider. It is reached when it is needed: the hub starts without it.
type provider struct {
	config OIDCConfig
	later  outages // of what the libraries fetch on their own, such as keys

	mu      sync.Mutex
	found   *oidc.Provider
	waiting map[string]*errand // by state
}

// errand is one person on the way to the provider and back.
type errand struct {
	nonce, verifier, workstation, origin string
	started, expires                     time.Time
}

func newProvider(c OIDCConfig) *provider {
	if c.Scopes == nil {
		c.Scopes = []string{"profile"}
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: oidcPatience}
	}
	p := &provider{waiting: map[string]*errand{}}
	bounded := *c.Client
	bounded.Transport = boundedAnswers{bounded.Transport, &p.later}
	c.Client = &bounded
	p.config = c
	return p
}

// discover asks the provider about itself, once it answers.
func (p *provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	found := p.found
	p.mu.Unlock()
	if found != nil {
		return found, nil
	}
	// The provider keeps this context for fetching its keys later: it must not end with the request.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.config.Client), p.config.Issuer)
	if err != nil { // also an answer that is not valid: nothing was asked yet of the person
		return nil, undecidedBy(fmt.Errorf("signin: the OpenID provider %s does not answer as one: %w", p.config.Issuer, err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = found
	return found, nil
}

func (p *provider) oauth(found *oidc.Provider, origin string) *oauth2.Config {
	return &oauth2.Config{ClientID: p.config.ClientID, ClientSecret: p.config.ClientSecret, Endpoint: found.Endpoint(),
		RedirectURL: origin + CallbackPath, Scopes: append([]string{oidc.ScopeOpenID}, p.config.Scopes...)}
}

// StartOIDC is where to send the browser to sign in at the provider. The query parameter "state" in it must come back to the
// same browser: keep it in a cookie and compare. origin is the page's own (https://vitalseal.localhost:8420).
func (svc *Service) StartOIDC(ctx context.Context, workstation, origin string) (redirect string, err error) {
	if svc.oidc == nil || !access.IsWorkstation(workstation) {
		return "", access.ErrNotFound
	}
	found, err := svc.oidc.discover(ctx)
	if err != nil {
		return "", err
	}
	now := time.Now()
	n := &errand{nonce: rand.Text(), verifier: oauth2.GenerateVerifier(), workstation: workstation, origin: origin, started: now, expires: now.Add(pendingLife)}
	state := rand.Text()
	svc.oidc.mu.Lock()
	defer svc.oidc.mu.Unlock()
	evict(svc.oidc.waiting, workstation, now, func(o *errand) (string, time.Time) { return o.workstation, o.expires })
	svc.oidc.waiting[state] = n
	// prompt=login: the person who comes back has proven who they are now, not some hours ago. A browser can take the word out of the
	// address; max_age has the provider say in auth_time when that was.
	redirect = svc.oidc.oauth(found, origin).AuthCodeURL(state, oidc.Nonce(n.nonce), oauth2.S256ChallengeOption(n.verifier),
		oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	return redirect, nil
}

// FinishOIDC starts a session of the person whom the provider names, at the workstation and page that the sign-in began from.
// Everything that does not fit is ErrSignIn; the audit log says what. Where the provider does not answer it is ErrProvider.
func (svc *Service) FinishOIDC(ctx context.Context, query url.Values, workstation, origin string) (SignedIn, error) {
	if svc.oidc == nil {
		return SignedIn{}, access.ErrNotFound
	}
	now := time.Now().UTC()
	state := query.Get("state")
	svc.oidc.mu.Lock()
	n := svc.oidc.waiting[state]
	delete(svc.oidc.waiting, state)
	svc.oidc.mu.Unlock()
	if n == nil || state == "" || n.origin != origin || n.workstation != workstation || !now.Before(n.expires) {
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, "no sign-in waits for this")
	}
	if query.Get("error") != "" || query.Get("code") == "" {
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, "refused by the OpenID provider")
	}
	claims, err := svc.oidc.claims(ctx, n, query.Get("code"))
	switch {
	case errors.Is(err, ErrProvider):
		return SignedIn{}, svc.signInUndecided(ctx, workstation, err)
	case errors.Is(err, errClaimTwice): // it names the claim, which is no secret
		svc.log.WarnContext(ctx, "sign-in at the OpenID provider failed", "err", err)
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, err.Error())
	case err != nil:
		svc.log.WarnContext(ctx, "sign-in at the OpenID provider failed", "err", withoutSecrets(err))
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, "answer of the OpenID provider not valid")
	}
	if claims.unanswered != nil {
		svc.log.WarnContext(ctx, "the OpenID provider's user information was not read; what the ID token says counts", "err", withoutSecrets(claims.unanswered))
	}
	role, reason := svc.oidc.role(claims)
	if reason != "" {
		svc.log.WarnContext(ctx, "sign-in at the OpenID provider refused", "err", reason, "role_claim", svc.oidc.config.RoleClaim)
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, reason)
	}
	proven, reason := svc.provenThere(ctx, claims.authTime, n.started, now)
	if reason != "" {
		return SignedIn{}, svc.signInRefused(ctx, access.Person{}, workstation, reason)
	}
	p, err := svc.linked(ctx, claims, role)
	if err != nil {
		return SignedIn{}, err
	}
	if p.Disabled {
		return SignedIn{}, svc.signInRefused(ctx, p, workstation, "person disabled")
	}
	return svc.startSessionProven(ctx, p, workstation, "fed", false, now, proven)
}

// provenThere is when a person proved to the provider who they are, by its own word, for a sign-in
// that was started at a time; or why that cannot be taken.
//
//defence:auth-time a provider's sign-in of some time ago is no proof of now
func (svc *Service) provenThere(ctx context.Context, proven, started, now time.Time) (at time.Time, refused string) {
	switch {
	case proven.IsZero() && svc.oidc.config.NoAuthTime:
		return now, ""
	case proven.IsZero():
		svc.log.WarnContext(ctx, "the OpenID provider does not say when the person proved who they are (auth_time): this sign-in does not count as a fresh proof of identity; "+
			"have the provider send auth_time, or set openid: no_auth_time: true in the hub's configuration to take its word")
		return time.Unix(0, 0).UTC(), "" // older than any proof that counts; a token must say some time
	case proven.Before(started.Add(-authTimeSlack)):
		return proven, "the OpenID provider let in a person who had signed in there before (auth_time)"
	case proven.After(now.Add(authTimeSlack)):
		return proven, "the OpenID provider's auth_time is in the future"
	case proven.After(now):
		return now, ""
	}
	return proven, ""
}

// providerClaims are what we take from an ID token.
type providerClaims struct {
	subject, login, name string
	role                 any // the role claim, as it is; nil: none
	authTime             time.Time
	unanswered           error // why the user information was not read, if it was asked for
}

func (p *provider) claims(ctx context.Context, n *errand, code string) (_ providerClaims, err error) {
	met, later := &outages{}, p.later.n.Load()
	ctx, cancel := context.WithTimeout(oidc.ClientContext(watched(ctx, met), p.config.Client), oidcPatience)
	defer cancel()
	defer func() {
		if err != nil && !errors.Is(err, errClaimTwice) && (met.n.Load() > 0 || p.later.n.Load() != later || ctx.Err() != nil) {
			err = undecidedBy(err)
		}
	}()
	found, err := p.discover(ctx)
	if err != nil {
		return providerClaims{}, err
	}
	token, err := p.oauth(found, n.origin).Exchange(ctx, code, oauth2.VerifierOption(n.verifier))
	if err != nil {
		return providerClaims{}, err
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return providerClaims{}, errors.New("no ID token")
	}
	verified, err := found.Verifier(&oidc.Config{ClientID: p.config.ClientID}).Verify(ctx, raw)
	if err != nil {
		return providerClaims{}, err
	}
	if verified.Nonce != n.nonce {
		return providerClaims{}, errors.New("another nonce")
	}
	all, err := claimsOf(verified.Claims)
	if err != nil {
		return providerClaims{}, err
	}
	out := providerClaims{subject: verified.Subject}
	if at, ok := all["auth_time"].(float64); ok && at > 0 && at < 1<<40 {
		out.authTime = time.Unix(int64(at), 0).UTC()
	}
	// What the ID token leaves out (many do: names, groups) the provider tells at its own address, about the same subject. What is
	// signed goes before, and is enough where it says the role.
	complete := p.roleClaim(all) != nil && all["preferred_username"] != nil && all["name"] != nil
	if found.UserInfoEndpoint() != "" && !complete {
		more := map[string]any{}
		info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
		switch {
		case err == nil && info.Subject != verified.Subject:
			return providerClaims{}, errors.New("user information about another subject")
		case err == nil:
			more, err = claimsOf(info.Claims)
		}
		if errors.Is(err, errClaimTwice) {
			return providerClaims{}, err
		}
		if err != nil {
			out.unanswered = err
		}
		for name, value := range more {
			if _, signed := all[name]; !signed {
				all[name] = value
			}
		}
	}
	out.login, _ = all["preferred_username"].(string)
	out.name, _ = all["name"].(string)
	out.role = p.roleClaim(all)
	if out.role == nil && out.unanswered != nil && met.n.Load() > 0 { // the role may be where the provider did not answer
		return providerClaims{}, fmt.Errorf("%w: %w", errUnanswered, out.unanswered)
	}
	if out.subject == "" || len(out.subject) > 255 {
		return providerClaims{}, errors.New("no subject")
	}
	return out, nil
}

// errClaimTwice says that a provider's answer has one name twice, at whatever depth.
var errClaimTwice = errors.New("the OpenID provider's answer is not clear")

// claimsOf reads claims, of which none may stand twice: which of two roles counted would be chance, and another reader of the same
// token, such as the provider's own audit, may have seen the other one.
func claimsOf(read func(any) error) (all map[string]any, err error) {
	var raw json.RawMessage
	if err := read(&raw); err != nil {
		return nil, err
	}
	//defence:claims-once a claim that stands twice is refused
	if twice := form.Twice(raw); twice != "" {
		return nil, fmt.Errorf("%w: %s", errClaimTwice, twice)
	}
	err = json.Unmarshal(raw, &all)
	return all, err
}

// roleClaim is the claim that says the role, nil if there is none: the one of that very name, or else the one that the dots lead to.
func (p *provider) roleClaim(all map[string]any) any {
	if v, ok := all[p.config.RoleClaim]; ok {
		return v
	}
	var at any = all
	for part := range strings.SplitSeq(p.config.RoleClaim, ".") {
		in, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = in[part]
	}
	return at
}

// The reasons why a provider's claims are no role. They name no value: those are a person's groups.
const (
	reasonNoClaim    = "the OpenID provider sent no role claim"
	reasonUnanswered = "the OpenID provider sent no role claim, and its user information could not be read"
	reasonShape      = "the OpenID provider's role claim is neither a text nor a list of texts"
	reasonOneText    = "the OpenID provider's role claim is one text with several values in it; it must be sent as a list"
	reasonSeveral    = "the OpenID provider's claims mean several roles"
	reasonNoRole     = "the OpenID provider's claims mean no role"
)

// role is the one that the claims mean; reason says why there is none.
func (p *provider) role(c providerClaims) (role access.Role, reason string) {
	var values []string
	reason = reasonNoRole
	switch v := c.role.(type) {
	case nil:
		if c.unanswered != nil {
			return "", reasonUnanswered
		}
		return "", reasonNoClaim
	case string:
		values = []string{v}
		if strings.ContainsAny(v, ", ;") {
			reason = reasonOneText // unless that very text is a role
		}
	case []any:
		for _, x := range v {
			s, ok := x.(string)
			if !ok {
				return "", reasonShape
			}
			values = append(values, s)
		}
	default:
		return "", reasonShape
	}
	for _, v := range values {
		r, ok := p.config.Roles[v]
		switch {
		case !ok:
		case role != "" && role != r:
			return "", reasonSeveral
		default:
			role = r
		}
	}
	if !role.Valid() {
		return "", reason
	}
	return role, ""
}

// linked is the person whom the provider means, made if new: with the role that the claims mean, and without relationships,
// which an administrator adds. The role follows the provider from then on.
func (svc *Service) linked(ctx context.Context, c providerClaims, role access.Role) (access.Person, error) {
	p, err := svc.dir.LinkedPerson(ctx, svc.oidc.config.Issuer, c.subject)
	if err == nil {
		if p.Role != role && !p.Disabled {
			if err := svc.record(ctx, p, "", "role:change", true, "by the OpenID provider, to "+string(role)); err != nil {
				return access.Person{}, err
			}
			if err := svc.dir.SetRole(ctx, p.ID, role); err != nil {
				return access.Person{}, fmt.Errorf("signin: sign in: %w", err)
			}
			p.Role = role
		}
		return p, nil
	}
	if !errors.Is(err, access.ErrNotFound) {
		return access.Person{}, fmt.Errorf("signin: sign in: %w", err)
	}
	login, ok := NormalLogin(c.login)
	if !ok || len(login) > 50 {
		login = "oidc"
	}
	name := strings.Join(strings.Fields(c.name), " ")
	if name == "" || len(name) > 100 {
		name = login
	}
	p = access.Person{Login: login, DisplayName: name, Role: role}
	for range 3 { // a local person of that login stays who they are; the newcomer gets another one
		id, err := svc.dir.CreateLinkedPerson(ctx, p, svc.oidc.config.Issuer, c.subject)
		if errors.Is(err, access.ErrConflict) {
			p.Login = login + "-" + strings.ToLower(rand.Text()[:6])
			continue
		}
		if err != nil {
			return access.Person{}, fmt.Errorf("signin: sign in: %w", err)
		}
		p.ID = id
		return p, svc.record(ctx, p, "", "person:create", true, "by the OpenID provider, as "+string(role))
	}
	return access.Person{}, fmt.Errorf("signin: sign in: %w", access.ErrConflict)
}

// withoutSecrets says what kind of failure it was. The texts of these errors quote what the provider answered: codes, tokens,
// names.
func withoutSecrets(err error) string {
	var refused *oauth2.RetrieveError
	var unreached *url.Error
	switch {
	case errors.As(err, &refused):
		return "the provider refused the code: " + refused.ErrorCode
	case errors.As(err, &unreached):
		return "the provider was not reached"
	}
	return "the provider's answer is not valid"
}
