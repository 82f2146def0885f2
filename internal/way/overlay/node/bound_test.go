package node_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/node"
)

// endless is a body of n bytes that counts how many were taken.
type endless struct{ left, taken int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.left)
	e.left, e.taken = e.left-n, e.taken+n
	return int(n), nil
}

// TestRealBodiesAreBounded: what a client sends that has not proven who it is, with its length
// announced or not, is not kept; the process's memory is bounded by the kernel as well; and a copy
// of the node is whole while it runs.
func TestRealBodiesAreBounded(t *testing.T) {
	d := start(t)
	info, err := overlay.ReadNode(d.dir)
	must(t, err)
	pem, err := os.ReadFile(filepath.Join(d.dir, overlay.NodeRoot))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	const size = 64 << 20
	before := highWater(t, info.PID)
	for what, announced := range map[string]int64{"announced": size, "in chunks": -1} {
		var sent sync.WaitGroup
		for range 4 {
			sent.Go(func() {
				body := &endless{left: size}
				rq, err := http.NewRequestWithContext(d.ctx, http.MethodPost, info.Controller+"/edge/client/v1/authenticate?method=password", body)
				if err != nil {
					t.Error(err)
					return
				}
				rq.ContentLength = announced
				rq.Header.Set("Content-Type", "application/json")
				resp, err := client.Do(rq)
				if err == nil {
					defer func() { _ = resp.Body.Close() }()
					if resp.StatusCode != http.StatusRequestEntityTooLarge && resp.StatusCode != http.StatusBadRequest {
						t.Errorf("%s: status %d", what, resp.StatusCode)
					}
				}
				if body.taken == size { // buffers of sockets take some, never all
					t.Errorf("%s: all %d bytes were taken", what, body.taken)
				}
			})
		}
		sent.Wait()
	}
	if grew := highWater(t, info.PID) - before; grew > size {
		t.Errorf("the node grew by %d MB while it was sent 512 MB", grew>>20)
	}
	if limit := dataLimit(t, info.PID); limit != node.DefaultMemoryLimit {
		t.Errorf("the kernel bounds the node's memory at %d bytes, want %d", limit, uint64(node.DefaultMemoryLimit))
	}
	// It serves as before.
	small := bytes.NewReader([]byte(`{"username":"unknown","password":"long-enough"}`))
	resp, err := client.Post(info.Controller+"/edge/client/v1/authenticate?method=password", "application/json", small)
	must(t, err)
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	must(t, errors.Join(err, resp.Body.Close()))
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a sign-in of an unknown user: status %d, want 401: %s", resp.StatusCode, answer)
	}

	copied := filepath.Join(t.TempDir(), "copy")
	must(t, node.Copy(d.ctx, d.dir, copied))
	if err := node.Copy(d.ctx, d.dir, copied); err == nil {
		t.Error("a copy went over another one")
	}
	must(t, d.stopNode())
	again := filepath.Join(t.TempDir(), "stopped")
	must(t, node.Copy(d.ctx, d.dir, again))
	for _, name := range []string{"controller.db", "pki/root.key", "pki/signer.key", "router.key", "admin.password", "ports.json", "provisioned"} {
		for _, dir := range []string{copied, again} {
			if s, err := os.Stat(filepath.Join(dir, name)); err != nil || s.Size() == 0 || s.Mode().Perm() != 0o600 {
				t.Errorf("%s in the copy: %v", name, err)
			}
		}
	}
	// The copy of the running one is a node: started in the place of the other, it knows the hub.
	t.Setenv("VITALSEAL_TEST_NODE", copied)
	ctx, stop := context.WithCancel(d.ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- overlay.Supervise(ctx, overlay.SuperviseConfig{Exe: os.Args[0], Dir: copied, Log: d.log})
	}()
	defer func() { stop(); must(t, <-ended) }()
	must(t, overlay.WaitReady(ctx, copied))
	admin, err := manage.ConnectAdmin(ctx, filepath.Join(d.dir, "hub-admin.ziti.json"), d.log)
	must(t, err)
	must(t, admin.Close())
}

// TestNoCopyOfNothing: a folder that holds no node is none.
func TestNoCopyOfNothing(t *testing.T) {
	if err := node.Copy(t.Context(), t.TempDir(), filepath.Join(t.TempDir(), "x")); !errors.Is(err, node.ErrNoNode) {
		t.Errorf("%v, want ErrNoNode", err)
	}
}

// highWater is the most memory that a process has had resident, in bytes.
func highWater(t *testing.T, pid int) int64 {
	t.Helper()
	return fieldOf(t, pid, "status", "VmHWM:") << 10
}

func dataLimit(t *testing.T, pid int) int64 {
	t.Helper()
	return fieldOf(t, pid, "limits", "Max data size")
}

func fieldOf(t *testing.T, pid int, file, name string) int64 {
	t.Helper()
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the node's process is gone: %v", err)
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no /proc on this system")
	}
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			must(t, err)
			return n
		}
	}
	t.Fatalf("%s says nothing of %s", file, name)
	return 0
}
