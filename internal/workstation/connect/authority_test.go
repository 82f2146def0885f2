package connect_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vitalseal/internal/workstation/connect"
)

var quiet = slog.New(slog.DiscardHandler)

func TestAuthorityIsKept(t *testing.T) {
	dir := t.TempDir()
	one, err := connect.OpenAuthority(dir, quiet, nil)
	must(t, err)
	two, err := connect.OpenAuthority(dir, quiet, nil)
	must(t, err)
	if !one.Root().Equal(two.Root()) {
		t.Error("a second start made another authority: browsers would have to be told again")
	}
	key := filepath.Join(dir, "connect-ca.key.pem")
	info, err := os.Stat(key)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %o", info.Mode().Perm())
	}
	must(t, os.Chmod(key, 0o640)) //nolint:gosec // that is the test
	if _, err := connect.OpenAuthority(dir, quiet, nil); err == nil {
		t.Error("a key that others may read is used")
	}
	// Interrupted between key and certificate: no browser has trusted it yet, so there is a new
	// one.
	must(t, os.Chmod(key, 0o600))
	must(t, os.Remove(filepath.Join(dir, "connect-ca.pem")))
	three, err := connect.OpenAuthority(dir, quiet, nil)
	must(t, err)
	if three.Root().Equal(one.Root()) {
		t.Error("the certificate came from nowhere")
	}
}

// TestAuthorityIsGoodForNothingElse signs other names with the authority's key: no verifier takes
// them.
func TestAuthorityIsGoodForNothingElse(t *testing.T) {
	a, err := connect.OpenAuthority(t.TempDir(), quiet, nil)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(a.Root())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	create := func(template, parent *x509.Certificate, signer any) ([]byte, error) {
		return x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	}
	leaf, err := a.Leaf()
	must(t, err)
	for _, name := range []string{connect.Host, "127.0.0.1", "::1"} {
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("our own certificate for %s: %v", name, err)
		}
	}
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost"}); err == nil {
		t.Error("our own certificate is good for localhost, which is everybody's")
	}
	for what, template := range map[string]*x509.Certificate{
		"another site":       {DNSNames: []string{"bank.example"}},
		"localhost":          {DNSNames: []string{"localhost"}},
		"two names":          {DNSNames: []string{connect.Host, "bank.example"}},
		"everything":         {DNSNames: []string{"*.example"}},
		"an address":         {IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}},
		"another IPv6":       {IPAddresses: []net.IP{net.ParseIP("2001:db8::1")}},
		"mail":               {EmailAddresses: []string{"a@bank.example"}},
		"a URI":              {URIs: []*url.URL{{Scheme: "spiffe", Host: "bank.example", Path: "/hub"}}},
		"signing programs":   {DNSNames: []string{connect.Host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}},
		"a client":           {DNSNames: []string{connect.Host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		"an authority below": nil,
	} {
		if template == nil {
			below := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "below"}, NotAfter: time.Now().Add(time.Hour),
				IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
			middle, err := a.Sign(below, create)
			must(t, err)
			der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(4), NotAfter: time.Now().Add(time.Hour),
				DNSNames: []string{connect.Host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, middle, key.Public(), key)
			must(t, err)
			cert, err := x509.ParseCertificate(der)
			must(t, err)
			between := x509.NewCertPool()
			between.AddCert(middle)
			if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err == nil {
				t.Errorf("%s is believed", what)
			}
			continue
		}
		template.SerialNumber, template.NotAfter = big.NewInt(2), time.Now().Add(time.Hour)
		usage := x509.ExtKeyUsageServerAuth
		if template.ExtKeyUsage == nil {
			template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
		}
		usage = template.ExtKeyUsage[0]
		cert, err := a.Sign(template, create)
		must(t, err)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err == nil {
			t.Errorf("%s is believed", what)
		}
	}
}

// TestCertificateRenewsItself runs through the years.
func TestCertificateRenewsItself(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	a, err := connect.OpenAuthority(dir, quiet, func() time.Time { return now })
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(a.Root())
	seen := map[string]bool{}
	for now.Before(a.Root().NotAfter.Add(-31 * 24 * time.Hour)) {
		leaf, err := a.Leaf()
		must(t, err)
		seen[leaf.Leaf.SerialNumber.String()] = true
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: connect.Host, CurrentTime: now}); err != nil {
			t.Fatalf("at %v: %v", now, err)
		}
		if left := leaf.Leaf.NotAfter.Sub(now); left < 9*24*time.Hour || left > 31*24*time.Hour {
			t.Fatalf("at %v it is good for %v more", now, left)
		}
		now = now.Add(24 * time.Hour)
	}
	if len(seen) < 80 {
		t.Errorf("%d certificates in five years", len(seen))
	}
}
