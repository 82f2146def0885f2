package overlay

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	restartMin   = 200 * time.Millisecond
	restartMax   = 10 * time.Second
	stableAfter  = 30 * time.Second // a child that ran this long starts the back-off anew
	stopPatience = 12 * time.Second // from SIGTERM to SIGKILL; the child ends itself earlier
	hopeless     = 5                // failures in a row after which a node that was never ready is given up
	maxChildLine = 16 << 10
)

// ParentEnv tells the child its supervisor's process id, so that it ends when its parent is
// another.
const ParentEnv = "VITALSEAL_SUPERVISOR_PID"

// NodeInfo is what a running node writes to node.json in its directory.
type NodeInfo struct {
	Version    int       `json:"version"` // 1
	PID        int       `json:"pid"`
	Controller string    `json:"controller"` // https://host:port
	Router     string    `json:"router"`     // host:port
	Started    time.Time `json:"started"`
}

// Files of a node's directory that others read.
const (
	NodeFile        = "node.json"
	NodeRoot        = "pki/root.pem"
	HubTokenFile    = "hub.jwt"       // the hub's own one-time token, until EnrolZiti redeems it
	AdminTokenFile  = "hub-admin.jwt" // #nosec G101 -- likewise for its administration; a file's name
	nodeReadyPeriod = 25 * time.Millisecond
)

// SuperviseConfig says which child to run.
type SuperviseConfig struct {
	Exe  string   // usually os.Executable()
	Args []string // the hidden subcommand that calls node.RunNode on Dir
	Dir  string   // the node's directory
	Log  *slog.Logger
}

// Supervise runs the node as a child process and restarts it with a growing pause when it dies. It
// returns nil after ctx ended and the child with it, and an error if the child fails again and
// again without ever becoming ready. On Linux the kernel kills the child when the parent dies;
// elsewhere the child notices within a second.
func Supervise(ctx context.Context, c SuperviseConfig) error {
	pause, failures, wasReady := restartMin, 0, false
	for {
		_ = os.Remove(filepath.Join(c.Dir, NodeFile)) // a dead child's
		started := time.Now()
		err := runChild(ctx, c)
		if ctx.Err() != nil {
			return nil
		}
		if _, statErr := os.Stat(filepath.Join(c.Dir, NodeFile)); statErr == nil {
			wasReady = true
		}
		if time.Since(started) > stableAfter {
			pause, failures = restartMin, 0
		}
		if failures++; failures >= hopeless && !wasReady {
			return fmt.Errorf("overlay: supervise: the node failed %d times without becoming ready; its log lines tell why: %w", failures, err)
		}
		c.Log.Warn("overlay node ended, restarting", "err", err, "pause", pause.String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, restartMax)
	}
}

func runChild(ctx context.Context, c SuperviseConfig) error {
	cmd := exec.CommandContext(ctx, c.Exe, c.Args...) // #nosec G204 -- our own binary
	cmd.Env = append(os.Environ(), ParentEnv+"="+strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	done := make(chan struct{})
	go func() {
		defer close(done)
		forwardLines(r, c.Log)
	}()
	// The kernel's signal on the parent's death is bound to the thread that started the child, so
	// that thread stays ours.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	_ = w.Close()
	<-done
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return err
}

// forwardLines logs what the child prints, redacted.
func forwardLines(r io.Reader, log *slog.Logger) {
	lines := bufio.NewReaderSize(r, maxChildLine)
	for {
		line, more, err := lines.ReadLine()
		if err != nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		text := string(line)
		for more && err == nil { // the rest of a line that is too long
			_, more, err = lines.ReadLine()
		}
		if text == "" {
			continue
		}
		relog(log, Redact(text))
	}
}

// relog says a child's line in our own log: what log/slog wrote there as JSON with its level,
// message and attributes, anything else (a panic, say) as it is.
func relog(log *slog.Logger, line string) {
	var parsed map[string]any
	var level slog.Level
	var name string
	if json.Unmarshal([]byte(line), &parsed) == nil {
		name, _ = parsed[slog.LevelKey].(string)
	}
	message, _ := parsed[slog.MessageKey].(string)
	if message == "" || level.UnmarshalText([]byte(name)) != nil {
		log.Warn("overlay node", "line", line)
		return
	}
	attributes := []slog.Attr{slog.Bool("node", true)}
	for _, k := range slices.Sorted(maps.Keys(parsed)) {
		if k != slog.LevelKey && k != slog.MessageKey && k != slog.TimeKey {
			attributes = append(attributes, slog.Any(k, parsed[k]))
		}
	}
	log.LogAttrs(context.Background(), level, message, attributes...)
}

// ReadNode returns what a running node says about itself.
func ReadNode(dir string) (NodeInfo, error) {
	b, err := os.ReadFile(filepath.Join(dir, NodeFile)) // #nosec G304 -- the operator names the directory
	if err != nil {
		return NodeInfo{}, fmt.Errorf("overlay: read node: %w", err)
	}
	var n NodeInfo
	if err := json.Unmarshal(b, &n); err != nil || n.Version != 1 {
		return NodeInfo{}, fmt.Errorf("overlay: read node: %s is not a node's", NodeFile)
	}
	return n, nil
}

// WaitNode returns once whatever runs in dir has written node.json.
func WaitNode(ctx context.Context, dir string) error {
	for {
		_, err := ReadNode(dir)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("overlay: the node in %s is not ready: %w: %w", dir, context.Cause(ctx), err)
		case <-time.After(nodeReadyPeriod):
		}
	}
}

// WaitReady returns once the node in dir is ready and its controller answers with a certificate of
// the node's own root.
func WaitReady(ctx context.Context, dir string) error {
	for {
		err := checkNode(ctx, dir)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("overlay: the node in %s is not ready: %w: %w", dir, context.Cause(ctx), err)
		case <-time.After(nodeReadyPeriod):
		}
	}
}

func checkNode(ctx context.Context, dir string) error {
	n, err := ReadNode(dir)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(filepath.Join(dir, NodeRoot)) // #nosec G304 -- as above
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Controller+"/edge/client/v1/version", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the controller answers with status %d", resp.StatusCode)
	}
	return nil
}
