package openziti

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/openziti/sdk-golang/ziti"

	"vitalseal/internal/way/overlay"
)

// Lifetime implements overlay.Extender.
func (n *Network) Lifetime(config []byte) (from, until time.Time, err error) {
	cert := overlay.ZitiCertificate(config)
	if cert == nil {
		return from, until, errors.New("openziti: the configuration holds no certificate")
	}
	return cert.NotBefore, cert.NotAfter, nil
}

// Extend implements overlay.Extender, with the controller's client interface: the controller signs
// a request over a new key, and takes the new certificate in the place of the old one once it is
// told that the new one has arrived.
func (n *Network) Extend(ctx context.Context, config, next []byte, keep func(next []byte) error) ([]byte, error) {
	if next != nil { // an extension was interrupted: did the controller take it?
		err := overlay.ProbeZiti(ctx, next)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, overlay.ErrRefused) {
			return nil, fmt.Errorf("openziti: extend: %w", err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// The controller signs whatever name is asked for; we keep ours, by which we find our own entry
	// there.
	csr, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: overlay.ZitiID(config)}}, key)
	if err != nil {
		return nil, err
	}
	return overlay.ExtendZiti(ctx, config, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}),
		func(cert string) ([]byte, error) {
			fresh, err := withCertificate(config, cert, key)
			if err == nil {
				err = keep(fresh)
			}
			return fresh, err
		})
}

// withCertificate is a configuration with another certificate and key.
func withCertificate(config []byte, cert string, key *ecdsa.PrivateKey) ([]byte, error) {
	var c ziti.Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, errors.New("openziti: extend: not an OpenZiti identity")
	}
	block, _ := pem.Decode([]byte(cert))
	if block == nil {
		return nil, errors.New("openziti: extend: the controller sent no certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("openziti: extend: %w", err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("openziti: extend: the controller's certificate is for another key")
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	c.ID.Cert = "pem:" + cert
	c.ID.Key = "pem:" + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	return json.Marshal(c)
}

// Reconfigure goes on with another configuration of the same identity: whatever is dialled or
// hosted from now on uses it. Connections that are open stay open, on the SDK context they were
// made with, which ends with the last of them.
func (u *underlay) Reconfigure(config []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return net.ErrClosed
	}
	if bytes.Equal(u.config, config) {
		return nil
	}
	had := u.config
	u.config = config
	fresh, err := u.newContext()
	if err != nil {
		u.config = had
		return err
	}
	u.retire(u.zc)
	u.takeContext(fresh)
	for l := range u.hosting {
		zc, err := u.contextFor(l)
		if err != nil {
			u.log.Warn("overlay service not moved to the extended certificate yet", "service", l.service, "err", err)
			continue
		}
		l.at = zc
		l.move(zc)
	}
	return nil
}

// retire closes an SDK context once nothing uses it any more. The caller holds u.mu.
func (u *underlay) retire(zc ziti.Context) {
	if u.inUse[zc] == 0 {
		delete(u.inUse, zc)
		go zc.Close() // it tells the controller, which may take a while
		return
	}
	u.retired[zc] = true
}

// use counts something that needs an SDK context, until the returned function is called.
func (u *underlay) use(zc ziti.Context) (release func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.useLocked(zc)
}

// useLocked is use for a caller that holds u.mu.
func (u *underlay) useLocked(zc ziti.Context) (release func()) {
	u.inUse[zc]++
	return sync.OnceFunc(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.inUse[zc]--; u.inUse[zc] <= 0 {
			delete(u.inUse, zc)
			if u.retired[zc] && !u.closed {
				delete(u.retired, zc)
				go zc.Close()
			}
		}
	})
}

// counted is a connection that releases its SDK context when it closes.
type counted struct {
	net.Conn
	release func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}
