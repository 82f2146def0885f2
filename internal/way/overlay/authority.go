package overlay

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

const (
	rootLifetime = 10 * 365 * 24 * time.Hour
	// backdate lets a component whose clock is a little behind accept a certificate that was issued
	// just now.
	backdate = 5 * time.Minute
	// MaxSVIDLifetime is the longest an SVID may be issued for.
	MaxSVIDLifetime = 366 * 24 * time.Hour
)

// Authority is the deployment's certificate authority for SVIDs: a root with an ECDSA P-256 key
// that signs leaves directly. The hub holds it, wrapped by its key store. It is safe for concurrent
// use.
type Authority struct {
	domain string
	root   *x509.Certificate
	key    *ecdsa.PrivateKey
}

// NewAuthority makes a new root for a trust domain. It lives ten years.
func NewAuthority(domain string) (*Authority, error) {
	if err := validDomain(domain); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("overlay: new authority: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Vitalseal authority of " + shorten(domain, 40)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(rootLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: domain}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("overlay: new authority: %w", err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("overlay: new authority: %w", err)
	}
	return &Authority{domain: domain, root: root, key: key}, nil
}

// ParseAuthority reads what Bytes wrote and checks that key and certificate belong together.
func ParseAuthority(b []byte) (*Authority, error) {
	fail := func(err error) (*Authority, error) { return nil, fmt.Errorf("overlay: parse authority: %w", err) }
	certBlock, rest := pem.Decode(b)
	if certBlock == nil || certBlock.Type != "CERTIFICATE" {
		return fail(errors.New("no certificate in front"))
	}
	keyBlock, _ := pem.Decode(rest)
	if keyBlock == nil || keyBlock.Type != "PRIVATE KEY" {
		return fail(errors.New("no private key after the certificate"))
	}
	root, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return fail(err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return fail(err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(root.PublicKey) {
		return fail(errors.New("key and certificate do not belong together"))
	}
	domain, err := rootDomain(root)
	if err != nil {
		return fail(err)
	}
	return &Authority{domain: domain, root: root, key: key}, nil
}

// Bytes returns the authority with its private key, as PEM. It is the deployment's most precious
// secret.
func (a *Authority) Bytes() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		panic("overlay: a P-256 key cannot be marshalled: " + err.Error())
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
}

// Domain returns the trust domain.
func (a *Authority) Domain() string { return a.domain }

// Root returns the self-signed certificate that components pin.
func (a *Authority) Root() *x509.Certificate { return a.root }

// Issue signs an SVID for id over pub, valid from five minutes ago for ttl. The caller has made
// sure that the client that holds pub's private key is id. The SVID never outlives the root.
func (a *Authority) Issue(id ID, pub crypto.PublicKey, ttl time.Duration) (*x509.Certificate, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	if id.Domain != a.domain {
		return nil, fmt.Errorf("overlay: issue: %s is not in trust domain %s", id, a.domain)
	}
	if ttl <= 0 || ttl > MaxSVIDLifetime {
		return nil, fmt.Errorf("overlay: issue: lifetime %s is not within 0 to %s", ttl, MaxSVIDLifetime)
	}
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("overlay: issue: the public key is not ECDSA P-256")
	}
	now := time.Now()
	end := now.Add(ttl)
	if end.After(a.root.NotAfter) {
		end = a.root.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: id.Name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{id.url()},
	}, a.root, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("overlay: issue: %w", err)
	}
	return x509.ParseCertificate(der)
}

// rootDomain returns the trust domain that a root certificate names in its only URI.
func rootDomain(root *x509.Certificate) (string, error) {
	if !root.IsCA || len(root.URIs) != 1 || root.URIs[0].Scheme != "spiffe" || root.URIs[0].Path != "" {
		return "", errors.New("not a root of a SPIFFE trust domain")
	}
	domain := root.URIs[0].Host
	return domain, validDomain(domain)
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

func shorten(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
