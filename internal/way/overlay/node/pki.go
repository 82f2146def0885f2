package node

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
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"vitalseal/internal/way/overlay"
)

// The certificate authority below OpenZiti. It is apart from the one for SVIDs and proves nothing
// to us but which controller answers. OpenZiti issues clients' certificates for a year.
const (
	year           = 365 * 24 * time.Hour
	rootLifetime   = 10 * year
	serverLifetime = year
	serverRenew    = year / 4 // renewed at a start when less than this is left
	// trustDomain is internal to OpenZiti's certificates; it names its controller in them.
	trustDomain  = "overlay.vitalseal.internal"
	controllerID = "controller"
)

// makePKI makes root, signer and server certificate in dir at the first start, and a fresh server
// certificate when the old one is near its end or the advertised name has changed.
func makePKI(dir, host string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := loadOrMake(dir, "root", &x509.Certificate{Subject: pkix.Name{CommonName: "Vitalseal overlay root"},
		NotAfter: time.Now().Add(rootLifetime), IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs: []*url.URL{{Scheme: "spiffe", Host: trustDomain}}}, nil, nil)
	if err != nil {
		return err
	}
	signer, err := loadOrMake(dir, "signer", &x509.Certificate{Subject: pkix.Name{CommonName: "Vitalseal overlay signer"},
		NotAfter: root.cert.NotAfter, IsCA: true, MaxPathLen: 1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}, root, nil)
	if err != nil {
		return err
	}
	names, ips := []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback}
	if ip := net.ParseIP(host); ip != nil {
		ips = append(ips, ip)
	} else if host != "localhost" {
		names = append(names, host)
	}
	fits := func(c *x509.Certificate) bool {
		return time.Until(c.NotAfter) > serverRenew && c.VerifyHostname(host) == nil
	}
	server, err := loadOrMake(dir, "server", &x509.Certificate{Subject: pkix.Name{CommonName: controllerID},
		NotAfter: time.Now().Add(serverLifetime), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, DNSNames: names, IPAddresses: ips,
		URIs: []*url.URL{{Scheme: "spiffe", Host: trustDomain, Path: "/controller/" + controllerID}}}, signer, fits)
	if err != nil {
		return err
	}
	chain := slices.Concat(certPEM(server.cert), certPEM(signer.cert))
	return overlay.WriteSecretFile(filepath.Join(dir, "server.chain.pem"), chain)
}

type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// loadOrMake reads name.pem and name.key from dir. It makes the key if it is missing, and the
// certificate if it is missing or fits says that it won't do any more. A nil parent makes it
// self-signed.
func loadOrMake(dir, name string, template *x509.Certificate, parent *pair, fits func(*x509.Certificate) bool) (*pair, error) {
	keyPath, certPath := filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pem")
	key, err := loadKey(keyPath)
	if errors.Is(err, os.ErrNotExist) {
		key, err = makeKey(keyPath)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	if b, err := os.ReadFile(certPath); err == nil { // #nosec G304 -- below our own directory
		if block, _ := pem.Decode(b); block != nil {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err == nil && key.PublicKey.Equal(cert.PublicKey) && (fits == nil || fits(cert)) {
				return &pair{cert, key}, nil
			}
		}
	}
	number := make([]byte, 16)
	_, _ = rand.Read(number) // never fails
	number[0] &= 0x7f
	template.SerialNumber = new(big.Int).SetBytes(number)
	template.NotBefore = time.Now().Add(-5 * time.Minute)
	template.BasicConstraintsValid = true
	issuer, signingKey := template, crypto.Signer(key)
	if parent != nil {
		issuer, signingKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signingKey)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &pair{cert, key}, overlay.WriteSecretFile(certPath, certPEM(cert))
}

func loadKey(path string) (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(path) // #nosec G304 -- below our own directory
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("not PEM")
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

func makeKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, overlay.WriteSecretFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
