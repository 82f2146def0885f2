package access

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// CallbackPath is where an OpenID provider sends people back to.
const CallbackPath = "/api/session/oidc/callback"

const (
	oidcPatience  = 10 * time.Second
	maxClaimRoles = 256
)

// OIDCConfig is the hospital's own sign-in: an OpenID Connect provider, and what its claims mean here.
type OIDCConfig struct {
	Issuer       string // https://...
	ClientID     string
	ClientSecret string // empty for a public client; PKCE is used either way
	// Scopes are asked for beside "openid"; nil for "profile".
	Scopes []string
	// RoleClaim is the claim whose value, or one of whose values, says the role ("groups").
	RoleClaim string
	// Roles maps values of the claim to roles. Who has none of them, or several that mean different roles, does not get in.
	Roles map[string]Role
	// Client reaches the provider; nil for one with a time limit.
	Client *http.Client
}

// WithOIDC lets people sign in at an OpenID provider.
func WithOIDC(c OIDCConfig) Option { return func(e *Engine) { e.oidc = newProvider(c) } }

// HasOIDC reports whether there is a provider to sign in at.
func (e *Engine) HasOIDC() bool { return e.oidc != nil }

// provider is the relying party of one OpenID provider. It is reached when it is needed: the hub starts without it.
type provider struct {
	config OIDCConfig

	mu      sync.Mutex
	found   *oidc.Provider
	waiting map[string]*errand // by state
}

// errand is one person on the way to the provider and back.
type errand struct {
	nonce, verifier, workstation, origin string
	expires                              time.Time
}

func newProvider(c OIDCConfig) *provider {
	if c.Scopes == nil {
		c.Scopes = []string{"profile"}
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: oidcPatience}
	}
	return &provider{config: c, waiting: map[string]*errand{}}
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
	if err != nil {
		return nil, fmt.Errorf("access: the OpenID provider %s does not answer as one: %w", p.config.Issuer, err)
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
func (e *Engine) StartOIDC(ctx context.Context, workstation, origin string) (redirect string, err error) {
	if e.oidc == nil || !IsWorkstation(workstation) {
		return "", ErrNotFound
	}
	found, err := e.oidc.discover(ctx)
	if err != nil {
		return "", err
	}
	now := time.Now()
	n := &errand{nonce: rand.Text(), verifier: oauth2.GenerateVerifier(), workstation: workstation, origin: origin, expires: now.Add(pendingLife)}
	state := rand.Text()
	e.oidc.mu.Lock()
	defer e.oidc.mu.Unlock()
	evict(e.oidc.waiting, workstation, now, func(o *errand) (string, time.Time) { return o.workstation, o.expires })
	e.oidc.waiting[state] = n
	// prompt=login: whoever comes back has proven who they are now, not some hours ago.
	redirect = e.oidc.oauth(found, origin).AuthCodeURL(state, oidc.Nonce(n.nonce), oauth2.S256ChallengeOption(n.verifier),
		oauth2.SetAuthURLParam("prompt", "login"))
	return redirect, nil
}

// FinishOIDC starts a session of whoever the provider says came back, to the workstation and page that sent them. Everything
// that does not fit is ErrSignIn; the audit log says what.
func (e *Engine) FinishOIDC(ctx context.Context, query url.Values, workstation, origin string) (SignedIn, error) {
	if e.oidc == nil {
		return SignedIn{}, ErrNotFound
	}
	now := time.Now().UTC()
	state := query.Get("state")
	e.oidc.mu.Lock()
	n := e.oidc.waiting[state]
	delete(e.oidc.waiting, state)
	e.oidc.mu.Unlock()
	if n == nil || state == "" || n.origin != origin || n.workstation != workstation || !now.Before(n.expires) {
		return SignedIn{}, e.signInRefused(ctx, Person{}, workstation, "no sign-in waits for this")
	}
	if query.Get("error") != "" || query.Get("code") == "" {
		return SignedIn{}, e.signInRefused(ctx, Person{}, workstation, "refused by the OpenID provider")
	}
	claims, err := e.oidc.claims(ctx, n, query.Get("code"))
	if err != nil {
		e.log.WarnContext(ctx, "sign-in at the OpenID provider failed", "err", withoutSecrets(err))
		return SignedIn{}, e.signInRefused(ctx, Person{}, workstation, "answer of the OpenID provider not valid")
	}
	role, reason := e.oidc.role(claims.roles)
	if reason != "" {
		return SignedIn{}, e.signInRefused(ctx, Person{}, workstation, reason)
	}
	p, err := e.linked(ctx, claims, role)
	if err != nil {
		return SignedIn{}, err
	}
	if p.Disabled {
		return SignedIn{}, e.signInRefused(ctx, p, workstation, "person disabled")
	}
	return e.startSession(ctx, p, workstation, "fed", false, now)
}

// providerClaims are what we take from an ID token.
type providerClaims struct {
	subject, login, name string
	roles                []string
}

func (p *provider) claims(ctx context.Context, n *errand, code string) (providerClaims, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.config.Client), oidcPatience)
	defer cancel()
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
	all := map[string]any{}
	// What the ID token leaves out (many do: names, groups) the provider tells at its own address, about the same subject.
	if found.UserInfoEndpoint() != "" {
		more, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return providerClaims{}, err
		}
		if more.Subject != verified.Subject {
			return providerClaims{}, errors.New("user information about another subject")
		}
		if err := more.Claims(&all); err != nil {
			return providerClaims{}, err
		}
	}
	if err := verified.Claims(&all); err != nil { // what is signed goes before
		return providerClaims{}, err
	}
	out := providerClaims{subject: verified.Subject}
	out.login, _ = all["preferred_username"].(string)
	out.name, _ = all["name"].(string)
	switch v := all[p.config.RoleClaim].(type) {
	case string:
		out.roles = []string{v}
	case []any:
		for _, x := range v[:min(len(v), maxClaimRoles)] {
			if s, ok := x.(string); ok {
				out.roles = append(out.roles, s)
			}
		}
	}
	if out.subject == "" || len(out.subject) > 255 {
		return providerClaims{}, errors.New("no subject")
	}
	return out, nil
}

// role is the one that the values mean; reason says why there is none.
func (p *provider) role(values []string) (role Role, reason string) {
	for _, v := range values {
		r, ok := p.config.Roles[v]
		switch {
		case !ok:
		case role != "" && role != r:
			return "", "the OpenID provider's claims mean several roles"
		default:
			role = r
		}
	}
	if !role.Valid() {
		return "", "the OpenID provider's claims mean no role"
	}
	return role, ""
}

// linked is the person whom the provider means, made if new: with the role that the claims mean, and without relationships,
// which an administrator adds. The role follows the provider from then on.
func (e *Engine) linked(ctx context.Context, c providerClaims, role Role) (Person, error) {
	p, err := e.dir.LinkedPerson(ctx, e.oidc.config.Issuer, c.subject)
	if err == nil {
		if p.Role != role && !p.Disabled {
			if err := e.record(ctx, p, "", "role:change", true, "by the OpenID provider, to "+string(role)); err != nil {
				return Person{}, err
			}
			if err := e.dir.SetRole(ctx, p.ID, role); err != nil {
				return Person{}, fmt.Errorf("access: sign in: %w", err)
			}
			p.Role = role
		}
		return p, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return Person{}, fmt.Errorf("access: sign in: %w", err)
	}
	login, ok := NormalLogin(c.login)
	if !ok || len(login) > 50 {
		login = "oidc"
	}
	name := strings.Join(strings.Fields(c.name), " ")
	if name == "" || len(name) > 100 {
		name = login
	}
	p = Person{Login: login, DisplayName: name, Role: role}
	for range 3 { // a local person of that login stays who they are; the newcomer gets another one
		id, err := e.dir.CreateLinkedPerson(ctx, p, e.oidc.config.Issuer, c.subject)
		if errors.Is(err, ErrConflict) {
			p.Login = login + "-" + strings.ToLower(rand.Text()[:6])
			continue
		}
		if err != nil {
			return Person{}, fmt.Errorf("access: sign in: %w", err)
		}
		p.ID = id
		return p, e.record(ctx, p, "", "person:create", true, "by the OpenID provider, as "+string(role))
	}
	return Person{}, fmt.Errorf("access: sign in: %w", ErrConflict)
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
