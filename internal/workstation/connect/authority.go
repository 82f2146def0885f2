package connect

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vitalseal/internal/shared/disk"
)

const (
	caFile    = "connect-ca.pem"
	caKeyFile = "connect-ca.key.pem"
	// The authority lives for years, because people have to tell their browsers to trust it; what
	// it signs does not.
	caLifetime   = 5 * 365 * 24 * time.Hour
	leafLifetime = 30 * 24 * time.Hour
	leafRenew    = 10 * 24 * time.Hour // before its end
	backdate     = time.Hour           // for browsers whose clock is behind
	maxPEM       = 64 << 10
)

// authority is the local certificate authority of one data folder. It can sign for Host and
// loopback addresses only: that is written into its own certificate, so a browser that trusts it
// trusts it for nothing else, even if the key is stolen.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	log  *slog.Logger
	now  func() time.Time

	mu   sync.Mutex // guards leaf
	leaf *tls.Certificate
}

// openAuthority loads the authority in dir, or makes it where there is none or the old one has
// ended.
func openAuthority(dir string, log *slog.Logger) (*authority, error) {
	a := &authority{log: log, now: time.Now}
	err := a.load(dir)
	if err == nil && a.now().After(a.cert.NotAfter.Add(-leafLifetime)) {
		log.Warn("the local certificate authority has come to its end; a new one is made, which browsers have to be told to trust (vitalseal connect trust)")
		err = os.ErrNotExist
	}
	if errors.Is(err, os.ErrNotExist) {
		err = a.create(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("connect: certificate authority: %w", err)
	}
	return a, nil
}

func (a *authority) load(dir string) error {
	keyPath := filepath.Join(dir, caKeyFile)
	b, err := disk.ReadPrivate(keyPath, maxPEM)
	if errors.Is(err, disk.ErrShared) {
		return fmt.Errorf("%w; delete it and %s, and tell the browsers not to trust the old one", err, caFile)
	}
	if err != nil {
		return err
	}
	key, err := decodePEM(keyPath, b, "PRIVATE KEY")
	if err != nil {
		return err
	}
	cert, whole, err := readPEM(filepath.Join(dir, caFile), "CERTIFICATE")
	if err != nil {
		return err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("%s: not a private key", keyPath)
	}
	var ok bool
	if a.key, ok = parsed.(*ecdsa.PrivateKey); !ok {
		return fmt.Errorf("%s: not a key of this kind of authority", keyPath)
	}
	if a.cert, err = x509.ParseCertificate(cert); err != nil {
		return fmt.Errorf("%s: %w", caFile, err)
	}
	if !a.key.PublicKey.Equal(a.cert.PublicKey) {
		return os.ErrNotExist // we were interrupted between writing the two: no browser has trusted this one yet
	}
	a.pem = whole
	return nil
}

func readPEM(path, kind string) (der, whole []byte, err error) {
	f, err := os.Open(path) // #nosec G304 -- our own name
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, maxPEM))
	if err != nil {
		return nil, nil, err
	}
	der, err = decodePEM(path, b, kind)
	return der, b, err
}

func decodePEM(path string, b []byte, kind string) (der []byte, err error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: no %s in PEM", path, kind)
	}
	return block.Bytes, nil
}

func (a *authority) create(dir string) (err error) {
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	serial := newSerial()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: fmt.Sprintf("vitalseal connect, this machine only (%x)", serial.Bytes()[:4])},
		NotBefore:    a.now().Add(-backdate), NotAfter: a.now().Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:    x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{Host},
		PermittedIPRanges: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
			{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}},
		// Of these it has none at all; a name that no host has stands for that.
		PermittedEmailAddresses: []string{Host},
		PermittedURIDomains:     []string{Host},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return err
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := disk.Replace(filepath.Join(dir, caKeyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), true); err != nil {
		return err
	}
	if err := disk.Replace(filepath.Join(dir, caFile), a.pem, true); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(dir, caFile), 0o644); err != nil { // #nosec G302 -- a certificate is public
		return err
	}
	a.log.Info("a local certificate authority was made; `vitalseal connect trust` shows how a browser comes to trust it", "fingerprint", fingerprint(a.cert))
	return nil
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func newSerial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b)
}

// config is the door's TLS. HTTP/2 is left out: browsers' WebSockets need a connection of HTTP/1.1
// anyway.
func (a *authority) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.certificate() },
	}
}

// certificate is the address's own, made anew in time. It lives in memory only.
func (a *authority) certificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.leaf != nil && now.Before(a.leaf.Leaf.NotAfter.Add(-leafRenew)) {
		return a.leaf, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("connect: certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: Host},
		NotBefore:    now.Add(-backdate), NotAfter: earlier(now.Add(leafLifetime), a.cert.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{Host},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("connect: certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("connect: certificate: %w", err)
	}
	a.leaf = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return a.leaf, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
