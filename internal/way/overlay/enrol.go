package overlay

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/shared/disk"
)

const (
	enrolTimeout  = 30 * time.Second // one exchange with the hub, from handshake to response
	enrolPatience = 60 * time.Second // how long Enrol tries to reach the hub
	enrolBackoff  = 500 * time.Millisecond
)

// Enrol redeems a ticket: it makes a key for each component, enrols each with the network, proves
// that a hub of the pinned root answers, presents the secret there, and writes
// dir/<kind>-<name>.identity.json for each. dir is made if need be. Interrupted before the hub
// redeemed the ticket, it can be called again with the same ticket and directory; so it can after
// ErrFolder, ErrNoRoom and ErrClock, which use up nothing. Errors: ErrFolder, ErrNoRoom, ErrClock,
// ErrTicketExpired, ErrTicketUsed, ErrTicketInvalid, ErrTicketSpent, ErrPeer, ErrUnavailable.
func Enrol(ctx context.Context, n Network, t Ticket, dir string, log *slog.Logger) ([]*Identity, error) {
	c, err := t.check()
	if err != nil {
		return nil, err
	}
	if err := t.Expired(time.Now()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("overlay: enrol: %w", err)
	}
	if err := fits(dir, c.ids); err != nil {
		return nil, err
	}
	release, err := reserve(dir, len(c.ids))
	if err != nil {
		return nil, fmt.Errorf("%w; the ticket was not used", err)
	}
	defer release()
	if err := compareClocks(ctx, n, t.Components[0].ZitiJWT, log); err != nil {
		return nil, fmt.Errorf("%w; the ticket was not used", err)
	}
	pending := make([]*pendingIdentity, len(c.ids))
	for i, id := range c.ids {
		if pending[i], err = preparePending(ctx, n, dir, id, t.Components[i].ZitiJWT); err != nil {
			return nil, fmt.Errorf("overlay: enrol %s: %w", id, usedHere(err, dir, c.ids))
		}
		log.Info("component enrolled with the network", "identity", id.String())
	}
	u, err := n.Open(ctx, pending[0].config)
	if err != nil {
		return nil, fmt.Errorf("overlay: enrol: %w", err)
	}
	defer func() { _ = u.Close() }()
	identities, err := redeem(ctx, u, t, c, pending, func(identities []*Identity) error {
		release()
		for i, identity := range identities {
			if err := identity.Save(IdentityPath(dir, c.ids[i])); err != nil {
				return err
			}
			_ = os.Remove(pending[i].path) // a leftover is harmless: the next ticket carries another token
			log.Info("component has its identity", "identity", c.ids[i].String(), "expires", identity.Expires())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("overlay: enrol: %w", usedHere(err, dir, c.ids))
	}
	return identities, nil
}

// usedHere adds to ErrTicketUsed that the folder holds the identities of all of the ticket's
// components: then this is most often the second try of what has succeeded.
func usedHere(err error, dir string, ids []ID) error {
	if !errors.Is(err, ErrTicketUsed) {
		return err
	}
	for _, id := range ids {
		if _, serr := os.Stat(IdentityPath(dir, id)); serr != nil {
			return err
		}
	}
	return fmt.Errorf("%w, and %s holds the identity of %s-%s: it is enrolled already", err, dir, ids[0].Kind, ids[0].Name)
}

// ErrFolder means that the folder holds identities that do not go together with those of a ticket.
// Nothing was redeemed.
var ErrFolder = errors.New("overlay: the folder belongs to another component")

// fits refuses a ticket for a folder that is another component's: a gateway that finds two
// gateways, or a workstation with two, does not start any more. The same components again are no
// conflict: an interrupted enrolment goes on, and a key may be made anew.
func fits(dir string, ids []ID) error {
	found, err := filepath.Glob(filepath.Join(dir, "*.identity.json"))
	if err != nil {
		return fmt.Errorf("overlay: enrol: %w", err)
	}
	for _, f := range found {
		name := filepath.Base(f)
		kind, _, _ := strings.Cut(name, "-")
		for _, id := range ids {
			same := IdentityPath(dir, id) == f
			// A gateway and its sensors share a folder; of everything else a folder holds one.
			together := kind == KindSensor && (id.Kind == KindSensor || id.Kind == KindGateway) || kind == KindGateway && id.Kind == KindSensor
			if !same && !together {
				return fmt.Errorf("%w: %s holds %s and the ticket is for %s; use an empty folder (the ticket was not used)", ErrFolder, dir,
					strings.TrimSuffix(name, ".identity.json"), id.Kind+"-"+id.Name)
			}
		}
	}
	return nil
}

// IdentityPath is where Enrol writes an identity.
func IdentityPath(dir string, id ID) string {
	return filepath.Join(dir, id.Kind+"-"+id.Name+".identity.json")
}

// pendingIdentity is a component between its two enrolments. It is kept on disk, because the
// network takes its token only once.
type pendingIdentity struct {
	path   string
	id     ID
	config []byte
	key    *ecdsa.PrivateKey
}

type pendingFile struct {
	Version  int             `json:"version"`
	ID       string          `json:"id"`
	Token    []byte          `json:"token_sha256"`
	OpenZiti json.RawMessage `json:"openziti"`
	Key      []byte          `json:"key_pkcs8"`
}

func preparePending(ctx context.Context, n Network, dir string, id ID, token string) (*pendingIdentity, error) {
	p := &pendingIdentity{path: filepath.Join(dir, id.Kind+"-"+id.Name+".pending.json"), id: id}
	sum := sha256.Sum256([]byte(token))
	if b, err := disk.ReadPrivate(p.path, MaxIdentityFile); err == nil {
		var f pendingFile
		if json.Unmarshal(b, &f) == nil && f.Version == 1 && f.ID == id.String() && subtle.ConstantTimeCompare(f.Token, sum[:]) == 1 {
			if key, err := parseKey(f.Key); err == nil {
				p.key, p.config = key, f.OpenZiti
				return p, nil
			}
		}
	}
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if p.config, err = n.Enrol(ctx, token); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(pendingFile{Version: 1, ID: id.String(), Token: sum[:], OpenZiti: p.config, Key: der})
	if err != nil {
		return nil, err
	}
	return p, WriteSecretFile(p.path, b)
}

// redeem exchanges the ticket's secret for SVIDs and saves them before it tells the hub to go on.
// Reaching the hub is retried; once the secret is on its way nothing is.
func redeem(ctx context.Context, u Underlay, t Ticket, c checkedTicket, pending []*pendingIdentity, save func([]*Identity) error) ([]*Identity, error) {
	now := time.Now().UTC()
	request := enrolRequest{Version: 1, Kind: t.Kind, Secret: t.Secret, Now: &now}
	for _, p := range pending {
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p.key)
		if err != nil {
			return nil, err
		}
		request.Requests = append(request.Requests, enrolElement{ID: p.id.String(), CSR: csr})
	}
	conn, root, err := dialPinned(ctx, u, c.root, t.Deployment)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	now = time.Now().UTC() // reaching the hub may have taken a while
	if err := writeFrame(conn, request); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var response enrolResponse
	if err := readFrame(conn, &response); err != nil {
		return nil, fmt.Errorf("%w: the hub gave no answer; if it redeemed the ticket, a new one is needed: %w", ErrUnavailable, err)
	}
	if err := codeError(response.Error); err != nil {
		if errors.Is(err, ErrClock) {
			err = fmt.Errorf("%w: it is not the hub's; the ticket was not used", err)
		}
		return nil, err
	}
	identities, err := accepted(response, c, pending, root)
	if err == nil {
		err = save(identities)
	}
	if err != nil { // the hub has redeemed it
		return nil, fmt.Errorf("%w: %w", ErrTicketSpent, err)
	}
	// Wait until the hub has promoted the components, so that they can be used at once. If the
	// answer does not come, they are promoted a little later, and their dials succeed from then on.
	if err := writeFrame(conn, enrolSaved{Version: 1}); err == nil {
		var promoted enrolSaved
		_ = readFrame(conn, &promoted)
	}
	return identities, nil
}

// accepted makes identities of what the hub sent.
func accepted(response enrolResponse, c checkedTicket, pending []*pendingIdentity, root *x509.Certificate) ([]*Identity, error) {
	if sum := sha256.Sum256(response.Recipient); sum != c.recipient {
		return nil, fmt.Errorf("%w: the hub's recipient key is not the one in the ticket", ErrTicketInvalid)
	}
	if len(response.SVIDs) != len(pending) {
		return nil, fmt.Errorf("%w: the hub sent %d certificates for %d components", ErrPeer, len(response.SVIDs), len(pending))
	}
	identities := make([]*Identity, len(pending))
	for i, p := range pending {
		svid, err := x509.ParseCertificate(response.SVIDs[i])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPeer, err)
		}
		if identities[i], err = newIdentity(p.id, p.config, p.key, svid, root, response.Recipient); err != nil {
			return nil, err
		}
	}
	return identities, nil
}

// dialPinned reaches the enrol service and proves that the ticket's hub answers.
func dialPinned(ctx context.Context, u Underlay, fingerprint [32]byte, domain string) (*Conn, *x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolPatience)
	defer cancel()
	for {
		conn, root, err := dialPinnedOnce(ctx, u, fingerprint, domain)
		if err == nil || !errors.Is(err, ErrUnavailable) {
			return conn, root, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, err
		case <-time.After(enrolBackoff):
		}
	}
}

func dialPinnedOnce(ctx context.Context, u Underlay, fingerprint [32]byte, domain string) (*Conn, *x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := u.Dial(ctx, ServiceEnrol)
	if err != nil {
		return nil, nil, err
	}
	var root *x509.Certificate
	conn, err := clientHandshake(ctx, raw, pinnedTLS(ServiceEnrol, fingerprint, domain, &root))
	return conn, root, err
}
