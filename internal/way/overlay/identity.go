package overlay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vitalseal/internal/shared/disk"
)

// MaxIdentityFile bounds what is read from disk: keys and certificates, generously.
const MaxIdentityFile = 1 << 20

// Identity is one enrolled component: its way into the underlay, its SVID with the private key, the
// pinned root and the hub's recipient key. It is safe for concurrent use; a renewed SVID takes
// effect for the next handshake, and connections that are open stay open.
type Identity struct {
	id        ID
	root      *x509.Certificate
	recipient []byte
	svid      atomic.Pointer[keyed]

	mu     sync.Mutex // guards the fields below and the file behind path
	path   string     // "" = in memory only
	config []byte     // for Network.Open; secret
	next   []byte     // a config that the network may have taken already, see Renewer; nil for none
	// configPath is where config is kept apart from the rest, with next beside it; "" = it is part
	// of the file at path.
	configPath string
}

// keyed is a certificate with its key.
type keyed struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// identityFile is the form on disk; doc/formats/identity.md describes it.
type identityFile struct {
	Version   int             `json:"version"`
	ID        string          `json:"id"`
	OpenZiti  json.RawMessage `json:"openziti,omitempty"`
	Next      json.RawMessage `json:"openziti_next,omitempty"`
	Key       []byte          `json:"key_pkcs8"`
	SVID      []byte          `json:"svid"`
	Root      []byte          `json:"root"`
	Recipient []byte          `json:"recipient,omitempty"`
}

// IssueIdentity makes an identity with a fresh key, straight from the authority: how the hub gets
// its own, and tests theirs. config is what Network.Open needs (a JSON document, or nil where there
// is no underlay to open).
func IssueIdentity(a *Authority, id ID, config, recipient []byte, ttl time.Duration) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("overlay: issue identity: %w", err)
	}
	svid, err := a.Issue(id, key.Public(), ttl)
	if err != nil {
		return nil, err
	}
	return newIdentity(id, config, key, svid, a.Root(), recipient)
}

func newIdentity(id ID, config []byte, key *ecdsa.PrivateKey, svid, root *x509.Certificate, recipient []byte) (*Identity, error) {
	i := &Identity{id: id, config: config, root: root, recipient: recipient}
	if err := i.check(key, svid); err != nil {
		return nil, err
	}
	i.svid.Store(&keyed{key, svid})
	return i, nil
}

// check makes sure that a certificate is this identity's, for this key, from its root. It may be
// past its end, and by a clock that is behind it may not have begun: a gateway must measure all the
// same. The peer that it is shown to checks the time again.
func (i *Identity) check(key *ecdsa.PrivateKey, svid *x509.Certificate) error {
	domain, err := rootDomain(i.root)
	if err != nil {
		return fmt.Errorf("overlay: identity: root: %w", err)
	}
	at := time.Now()
	for _, c := range []*x509.Certificate{svid, i.root} {
		if at.Before(c.NotBefore) {
			at = c.NotBefore
		}
	}
	peer, err := verifySVID([]*x509.Certificate{svid}, i.root, domain, at, true)
	if err != nil {
		return fmt.Errorf("overlay: identity: %w", err)
	}
	if peer != i.id {
		return fmt.Errorf("overlay: identity: certificate is for %s, not for %s", peer, i.id)
	}
	if !key.PublicKey.Equal(svid.PublicKey) {
		return errors.New("overlay: identity: certificate is for another key")
	}
	return nil
}

// LoadIdentity reads an identity file. It refuses one that others on the machine may read. An
// expired identity loads: it can still renew.
func LoadIdentity(path string) (*Identity, error) {
	b, err := disk.ReadPrivate(path, MaxIdentityFile)
	if err != nil {
		return nil, fmt.Errorf("overlay: load identity: %w", err)
	}
	i, err := parseIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("overlay: load identity %s: %w", path, err)
	}
	i.path = path
	return i, nil
}

func parseIdentity(b []byte) (*Identity, error) {
	var f identityFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("version %d is not 1", f.Version)
	}
	id, err := ParseID(f.ID)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(f.Key)
	if err != nil {
		return nil, err
	}
	svid, err := x509.ParseCertificate(f.SVID)
	if err != nil {
		return nil, fmt.Errorf("svid: %w", err)
	}
	root, err := x509.ParseCertificate(f.Root)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	i, err := newIdentity(id, f.OpenZiti, key, svid, root, f.Recipient)
	if err == nil {
		i.next = f.Next
	}
	return i, err
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("key: not a PKCS#8 private key") // the cause could quote key bytes
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("key: not ECDSA P-256")
	}
	return key, nil
}

// Save writes the identity to path, atomically and with mode 0600; later renewals are written there
// too.
func (i *Identity) Save(path string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	was := i.path
	i.path = path
	if err := i.write(i.svid.Load()); err != nil {
		i.path = was
		return err
	}
	return nil
}

// write brings the file up to date, where there is one. The caller holds mu.
func (i *Identity) write(svid *keyed) error {
	if i.path == "" {
		return nil
	}
	key, err := x509.MarshalPKCS8PrivateKey(svid.key)
	if err != nil {
		return errors.New("overlay: save identity: the key cannot be marshalled")
	}
	b, err := json.MarshalIndent(identityFile{Version: 1, ID: i.id.String(), OpenZiti: i.config, Next: i.next, Key: key,
		SVID: svid.cert.Raw, Root: i.root.Raw, Recipient: i.recipient}, "", "\t")
	if err != nil {
		return fmt.Errorf("overlay: save identity: %w", err)
	}
	return WriteSecretFile(i.path, b)
}

// Install takes a renewed SVID into use, after writing it to disk when the identity is on disk. It
// must be for the same id and key and must not end earlier than the one in use.
func (i *Identity) Install(svid *x509.Certificate) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.svid.Load()
	if err := i.check(now.key, svid); err != nil {
		return err
	}
	if svid.Equal(now.cert) || svid.NotAfter.Before(now.cert.NotAfter) {
		return errors.New("overlay: install: the new certificate is the old one, or ends earlier")
	}
	return i.use(&keyed{now.key, svid})
}

// rekey takes an SVID for a new key into use, on disk first.
func (i *Identity) rekey(key *ecdsa.PrivateKey, svid *x509.Certificate) error {
	if err := i.check(key, svid); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.use(&keyed{key, svid})
}

func (i *Identity) use(k *keyed) error {
	if err := i.write(k); err != nil {
		return err
	}
	i.svid.Store(k)
	return nil
}

// configs gives the network configuration in use and the one that may have taken its place.
func (i *Identity) configs() (config, next []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.config, i.next
}

// keepConfigs replaces both, on disk first.
func (i *Identity) keepConfigs(config, next []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	hadConfig, hadNext := i.config, i.next
	i.config, i.next = config, next
	err := i.write(i.svid.Load())
	if err == nil && i.configPath != "" {
		err = i.writeConfig()
	}
	if err != nil {
		i.config, i.next = hadConfig, hadNext
	}
	return err
}

// NextSuffix names the file of a configuration that may have taken the place of the one beside it.
const NextSuffix = ".next"

// writeConfig writes the configuration's own files. The caller holds mu.
func (i *Identity) writeConfig() error {
	if i.next != nil {
		return WriteSecretFile(i.configPath+NextSuffix, i.next)
	}
	if err := WriteSecretFile(i.configPath, i.config); err != nil {
		return err
	}
	_ = os.Remove(i.configPath + NextSuffix) // left behind it only costs a look at the next extension
	return nil
}

// KeepConfigAt says that the network's configuration of this identity is a file of its own, at
// path: what the hub has, whose SVID is new at every start. An extension that was interrupted is
// found beside it.
func (i *Identity) KeepConfigAt(path string) error {
	next, err := disk.ReadPrivate(path+NextSuffix, MaxIdentityFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("overlay: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.configPath, i.next = path, next
	return nil
}

// ID returns who this is.
func (i *Identity) ID() ID { return i.id }

// Recipient returns the hub's recipient key as the ticket pinned it, or nil.
func (i *Identity) Recipient() []byte { return append([]byte(nil), i.recipient...) }

// Expires returns when the SVID in use ends.
func (i *Identity) Expires() time.Time { return i.svid.Load().cert.NotAfter }

// SVID returns the certificate in use.
func (i *Identity) SVID() *x509.Certificate { return i.svid.Load().cert }

// CheckClock is ErrClock, in words, when a clock is before the beginning of the certificate in use,
// which was issued by then.
func (i *Identity) CheckClock(now time.Time) error {
	if begins := i.SVID().NotBefore; now.Before(begins) {
		return fmt.Errorf("%w: it says %s, but the certificate of %s begins at %s", ErrClock, now.UTC().Format(time.RFC3339), i.id, begins.UTC().Format(time.RFC3339))
	}
	return nil
}

// Explain puts in front of why the network or the hub was not reached that this machine's clock is
// behind the identity's certificate, if it is: no certificate of this deployment is good by such a
// clock.
func (i *Identity) Explain(err error) error {
	if clock := i.CheckClock(time.Now()); err != nil && clock != nil && !errors.Is(err, ErrClock) {
		return fmt.Errorf("%w; so: %w", clock, err)
	}
	return err
}

// Root returns the pinned root.
func (i *Identity) Root() *x509.Certificate { return i.root }

// Config returns what Network.Open needs. It is a secret.
func (i *Identity) Config() []byte {
	config, _ := i.configs()
	return append([]byte(nil), config...)
}

// renewAt returns the middle of the SVID's life, when it should be renewed.
func (i *Identity) renewAt() time.Time {
	c := i.svid.Load().cert
	start := c.NotBefore.Add(backdate)
	return start.Add(c.NotAfter.Sub(start) / 2)
}

func (i *Identity) certificate() *tls.Certificate {
	k := i.svid.Load()
	return &tls.Certificate{Certificate: [][]byte{k.cert.Raw}, PrivateKey: k.key, Leaf: k.cert}
}

// WriteSecretFile writes b to path durably, whole or not at all, with mode 0600.
func WriteSecretFile(path string, b []byte) error {
	if err := disk.Replace(path, b, true); err != nil {
		return fmt.Errorf("overlay: write %s: %w", path, err)
	}
	return nil
}
