package network

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"vitalseal/internal/hub"
	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
)

// Recover are the attacks on the way back into a stopped hub, and on the overlay's open port.
func Recover() []attack.Attack {
	return []attack.Attack{
		{ID: "recover-without-root-key", Threat: "become the administrator", Position: "a thief of the hub's disk, whose root key is kept elsewhere", Fast: true,
			Does: "vitalseal hub recover is run on the copied data folder, without a root key and with a made-up one", Expected: "refused; no password is written, no root key is made",
			Right: attack.Fails(hub.ErrNoRootKey).Or(attack.Says("does not open what is stored")), Control: weaken.None, Run: recoverWithoutRootKey},
		{ID: "recover-while-running", Threat: "change who is who behind a running hub", Position: "a user of the server", Fast: true,
			Does: "vitalseal hub recover is run while another process has the hub's store open", Expected: "refused as in use; no password is written", Right: attack.Fails(store.ErrInUse), Control: weaken.None, Run: recoverWhileRunning},
		{ID: "recover-in-silence", Threat: "become the administrator without a trace", Position: "an operator with the hub's disk and root key", Fast: true,
			Does: "vitalseal hub recover makes a password for the administrator", Expected: "the audit log has an entry of it that its key signed", Right: attack.Reads("in the signed log"), Control: weaken.RecoverTrace, Run: recoverInSilence},
		{ID: "overlay-large-body", Threat: "stop the overlay, and with it every gateway", Position: "the network, without any identity",
			Does: "8 requests of 32 MiB each to the controller's sign-in, half of them without an announced length", Expected: "413, or broken off long before all is taken", Right: attack.Answers(http.StatusRequestEntityTooLarge), Control: weaken.OverlayBodies, Run: largeBody},
	}
}

// stoppedHub is an office's folder with an administrator, and the configuration of the hub that it
// is of.
func stoppedHub(ctx context.Context, t *attack.Target) (o *office.Office, cfg hub.Config, err error) {
	if o, err = office.New(ctx, t); err != nil {
		return nil, cfg, err
	}
	_, err = o.Store.CreatePerson(ctx, access.Person{Login: "admin", Role: access.RoleAdmin, DisplayName: "Administrator"}, "x")
	cfg = hub.Default()
	cfg.Data, cfg.Deployment = o.Dir, office.Domain
	return o, cfg, err
}

func recoverAdmin(ctx context.Context, cfg hub.Config) error {
	_, err := hub.Recover(ctx, cfg, hub.Network{}, hub.Recovery{Admin: "admin"}, slog.New(slog.DiscardHandler))
	return err
}

// signInWritten tells whether a recovery left a sign-in behind.
func signInWritten(cfg hub.Config) bool {
	_, err := os.Stat(filepath.Join(cfg.Data, "recovered-admin.json"))
	return err == nil
}

func recoverWithoutRootKey(ctx context.Context, t *attack.Target) (attack.Result, error) {
	o, cfg, err := stoppedHub(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	if err := o.Close(); err != nil {
		return attack.Result{}, err
	}
	key := filepath.Join(cfg.Data, "root.key")
	if err := os.Remove(key); err != nil {
		return attack.Result{}, err
	}
	missing := recoverAdmin(ctx, cfg)
	if missing == nil || signInWritten(cfg) {
		return attack.Through("it went on without a root key", "%v", missing)
	}
	if _, err := os.Stat(key); !errors.Is(err, fs.ErrNotExist) {
		return attack.Through("a new root key was made", "%v", err)
	}
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		return attack.Result{}, err
	}
	wrong := recoverAdmin(ctx, cfg)
	return attack.Judge(wrong == nil || signInWritten(cfg), attack.Failure(missing, wrong), "it took a made-up root key", "refused", "%v; %v", missing, wrong)
}

func recoverWhileRunning(ctx context.Context, t *attack.Target) (r attack.Result, err error) {
	o, cfg, err := stoppedHub(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	got := recoverAdmin(ctx, cfg)
	return attack.Judge(got == nil || signInWritten(cfg), attack.Failure(got), "it changed a store in use", "refused", "%v", got)
}

func recoverInSilence(ctx context.Context, t *attack.Target) (attack.Result, error) {
	o, cfg, err := stoppedHub(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	key := o.Trail.VerifierKey()
	if err := o.Close(); err != nil {
		return attack.Result{}, err
	}
	if err := recoverAdmin(ctx, cfg); err != nil {
		return attack.Result{}, err
	}
	if !signInWritten(cfg) {
		return attack.Result{}, errors.New("no password was written: the attack shows nothing")
	}
	dir := filepath.Join(cfg.Data, "audit")
	if _, err := audit.Verify(dir, key); err != nil {
		return attack.Through("the log is not whole afterwards", "%v", err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return attack.Result{}, err
	}
	for _, l := range logs {
		b, err := os.ReadFile(l) // #nosec G304 -- of this attack's own folder
		if err != nil {
			return attack.Result{}, err
		}
		if strings.Contains(string(b), `"hub:recover"`) {
			return attack.RefusedWith(attack.Word("in the signed log"), "in the signed log", "an entry hub:recover")
		}
	}
	return attack.Through("no trace", "no entry tells of it")
}

// countedBody is a body that counts what was taken of it.
type countedBody struct {
	left  int64
	taken *atomic.Int64
}

func (c *countedBody) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), c.left)
	clear(p[:n])
	c.left -= n
	c.taken.Add(n)
	return int(n), nil
}

func largeBody(ctx context.Context, t *attack.Target) (attack.Result, error) {
	info, err := overlay.ReadNode(t.Path("overlay"))
	if err != nil {
		return attack.Result{}, err
	}
	pem, err := os.ReadFile(filepath.Join(t.Path("overlay"), overlay.NodeRoot)) // #nosec G304 -- the deployment's own
	if err != nil {
		return attack.Result{}, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, ExpectContinueTimeout: attack.Bound}}
	defer client.CloseIdleConnections()
	const size, requests = 32 << 20, 8
	var most int64
	var seen []attack.Seen
	for i := range requests {
		var taken atomic.Int64
		rq, err := http.NewRequestWithContext(ctx, http.MethodPost, info.Controller+"/edge/client/v1/authenticate?method=password", &countedBody{size, &taken})
		if err != nil {
			return attack.Result{}, err
		}
		rq.Header.Set("Content-Type", "application/json")
		rq.ContentLength = -1
		announced := i%2 == 0
		if announced { // asked first, so that the answer does not race with a body that is being sent
			rq.ContentLength = size
			rq.Header.Set("Expect", "100-continue")
		}
		resp, err := client.Do(rq)
		switch {
		case err == nil && announced:
			seen = append(seen, attack.Seen{Status: resp.StatusCode})
		case announced:
			seen = append(seen, attack.Seen{Err: err})
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		most = max(most, taken.Load())
	}
	return attack.Judge(most == size, seen, "a body was taken whole from a stranger", "bounded", "%d KiB of %d KiB were taken at most", most>>10, size>>10)
}
