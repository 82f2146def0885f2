package signin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"vitalseal/internal/hub/access"
)

const (
	accessLife    = 5 * time.Minute
	keyLife       = 24 * time.Hour // how long a key signs
	keyAfterlife  = time.Hour      // how long it verifies after that; a token lives five minutes
	keyLook       = time.Second    // between two looks for the keys that other hubs made
	tokenAudience = "vitalseal"
	maxToken      = 2 << 10
	secretKeys    = "token-keys"
)

// claims are what an access token says (RFC 7519, RFC 9068 where it fits). It holds ids and no name. The relationships and
// the role are not in it: they are looked up at each decision, because they may change within five minutes.
type claims struct {
	Issuer       string           `json:"iss"` // the deployment
	Subject      string           `json:"sub"` // person id
	Audience     string           `json:"aud"`
	ID           string           `json:"jti"`
	Session      string           `json:"sid"`
	IssuedAt     *jwt.NumericDate `json:"iat"`
	NotBefore    *jwt.NumericDate `json:"nbf"`
	Expires      *jwt.NumericDate `json:"exp"`
	Proven       *jwt.NumericDate `json:"auth_time"`
	Methods      []string         `json:"amr"`
	Confirmation struct {
		Workstation string `json:"spiffe"` // who may show it: the peer of the inner TLS
	} `json:"cnf"`
}

// WithIssuer sets the issuer of access tokens: the deployment's name.
func WithIssuer(deployment string) Option { return func(svc *Service) { svc.issuer = deployment } }

// tokenKey is one signing key (ES256).
type tokenKey struct {
	ID      string    `json:"kid"`
	PKCS8   []byte    `json:"pkcs8"`
	Created time.Time `json:"created"`

	private *ecdsa.PrivateKey
}

// tokenKeys are the signing keys, newest last. They are kept as one of the Directory's secrets, for all hubs on it.
type tokenKeys struct {
	mu     sync.Mutex
	loaded bool
	keys   []tokenKey
	looked time.Time // when a key that we do not have was looked for last
}

// current gives the keys that verify, the last of which signs; it makes a new one when the last has signed long enough.
func (k *tokenKeys) current(ctx context.Context, dir access.Accounts, now time.Time) ([]tokenKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.loaded {
		if err := k.load(ctx, dir); err != nil {
			return nil, err
		}
	}
	if n := len(k.keys); n > 0 && now.Sub(k.keys[n-1].Created) < keyLife {
		return k.keys, nil
	}
	b, err := dir.UpdateSecret(ctx, secretKeys, func(old []byte) ([]byte, error) { return successor(old, now) })
	if err == nil {
		k.keys, err = parseKeys(b)
	}
	if err != nil {
		return nil, fmt.Errorf("signin: token keys: %w", err)
	}
	return k.keys, nil
}

// named gives the keys that verify when a token names one that is not among them: another hub may have made it.
func (k *tokenKeys) named(ctx context.Context, dir access.Accounts, id string, now time.Time) ([]tokenKey, error) {
	keys, err := k.current(ctx, dir, now)
	if err != nil || slices.ContainsFunc(keys, func(have tokenKey) bool { return have.ID == id }) {
		return keys, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.looked) < keyLook { // tokens can name what they like
		return k.keys, nil
	}
	k.looked = now
	err = k.load(ctx, dir)
	return k.keys, err
}

func (k *tokenKeys) load(ctx context.Context, dir access.Accounts) error {
	b, err := dir.Secret(ctx, secretKeys)
	if err != nil && !errors.Is(err, access.ErrNotFound) {
		return fmt.Errorf("signin: token keys: %w", err)
	}
	if err == nil {
		keys, err := parseKeys(b)
		if err != nil {
			return err
		}
		k.keys = keys
	}
	k.loaded = true
	return nil
}

// successor is what follows stored keys: nil if their last one may sign on, which another hub has just made.
func successor(stored []byte, now time.Time) ([]byte, error) {
	var keep []tokenKey
	if stored != nil {
		old, err := parseKeys(stored)
		if err != nil {
			return nil, err
		}
		for _, key := range old {
			if now.Sub(key.Created) < keyLife+keyAfterlife {
				keep = append(keep, key)
			}
		}
	}
	if n := len(keep); n > 0 && now.Sub(keep[n-1].Created) < keyLife {
		return nil, nil
	}
	fresh, err := newTokenKey(now)
	if err != nil {
		return nil, err
	}
	return json.Marshal(append(keep, fresh)) // #nosec G117 -- goes into the store sealed
}

func newTokenKey(now time.Time) (tokenKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tokenKey{}, fmt.Errorf("signin: token keys: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return tokenKey{}, fmt.Errorf("signin: token keys: %w", err)
	}
	return tokenKey{ID: strings.ToLower(rand.Text()[:16]), PKCS8: der, Created: now, private: private}, nil
}

func parseKeys(b []byte) ([]tokenKey, error) {
	var keys []tokenKey
	if err := json.Unmarshal(b, &keys); err != nil {
		return nil, errors.New("signin: token keys: not what was stored")
	}
	for i := range keys {
		any, err := x509.ParsePKCS8PrivateKey(keys[i].PKCS8)
		private, ok := any.(*ecdsa.PrivateKey)
		if err != nil || !ok || private.Curve != elliptic.P256() {
			return nil, errors.New("signin: token keys: not P-256 keys")
		}
		keys[i].private = private
	}
	return keys, nil
}

// mint makes an access token of a session.
func (svc *Service) mint(ctx context.Context, s access.Session, now time.Time) (token string, expires time.Time, err error) {
	keys, err := svc.keys.current(ctx, svc.dir, now)
	if err != nil {
		return "", time.Time{}, err
	}
	key := keys[len(keys)-1]
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key.private, KeyID: key.ID}},
		(&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("signin: token: %w", err)
	}
	expires = now.Add(accessLife)
	if expires.After(s.Expires) {
		expires = s.Expires
	}
	c := claims{Issuer: svc.issuer, Subject: s.PersonID, Audience: tokenAudience, ID: rand.Text(), Session: s.ID,
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expires: jwt.NewNumericDate(expires),
		Proven: jwt.NewNumericDate(s.Proven), Methods: strings.Fields(s.Methods)}
	c.Confirmation.Workstation = s.Workstation
	if token, err = jwt.Signed(signer).Claims(c).Serialize(); err != nil {
		return "", time.Time{}, fmt.Errorf("signin: token: %w", err)
	}
	return token, expires, nil
}

// parse verifies an access token: one algorithm, a key of ours that its header names, and every
// claim. Whatever is wrong with it is ErrNoSession; the difference would only help a forger.
//
//defence:token-signature access tokens are verified
func (svc *Service) parse(ctx context.Context, token string, now time.Time) (claims, error) {
	if len(token) > maxToken {
		return claims{}, access.ErrNoSession
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(parsed.Headers) != 1 || parsed.Headers[0].ExtraHeaders[jose.HeaderType] != "at+jwt" {
		return claims{}, access.ErrNoSession
	}
	keys, err := svc.keys.named(ctx, svc.dir, parsed.Headers[0].KeyID, now)
	if err != nil {
		return claims{}, err
	}
	var c claims
	for _, k := range keys {
		if k.ID != parsed.Headers[0].KeyID || now.Sub(k.Created) >= keyLife+keyAfterlife {
			continue
		}
		if parsed.Claims(k.private.Public(), &c) != nil {
			return claims{}, access.ErrNoSession
		}
		//defence:token-claims who a token is for and when
		if c.Issuer != svc.issuer || c.Audience != tokenAudience || c.Session == "" || c.Subject == "" || c.ID == "" ||
			c.IssuedAt == nil || c.NotBefore == nil || c.Expires == nil || c.Proven == nil ||
			c.Confirmation.Workstation == "" ||
			now.Add(access.ClockLeeway).Before(c.NotBefore.Time()) || now.Add(access.ClockLeeway).Before(c.IssuedAt.Time()) ||
			!now.Before(c.Expires.Time().Add(access.ClockLeeway)) || c.Expires.Time().Sub(c.IssuedAt.Time()) > accessLife+time.Second {
			return claims{}, access.ErrNoSession
		}
		return c, nil
	}
	return claims{}, access.ErrNoSession
}

// JWKS is the set of public keys that verify access tokens (RFC 7517), for other parties that are shown one.
func (svc *Service) JWKS(ctx context.Context) ([]byte, error) {
	now := time.Now().UTC()
	keys, err := svc.keys.current(ctx, svc.dir, now)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	for _, k := range keys {
		if now.Sub(k.Created) >= keyLife+keyAfterlife {
			continue // verifies nothing any more; it goes when the next one comes
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.ID, Algorithm: string(jose.ES256), Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("signin: key set: %w", err)
	}
	return b, nil
}

// hexHash is how secrets of high entropy are stored.
func hexHash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
