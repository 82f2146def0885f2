package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestServerDestroyed: hub and overlay are backed up while they run, their disk is lost, both are restored into empty folders,
// and a gateway that was never touched delivers again, with the network as it was.
func TestServerDestroyed(t *testing.T) {
	const gw = "gw-a1"
	seed := startDemo(t, "--patients", "1", "--for", "1s")
	seed.awaitEnd(t)
	if seed.err != nil {
		t.Fatalf("seeding: %v", seed.err)
	}
	in := func(name string) string { return filepath.Join(seed.dir, name) }
	logs, kept := t.TempDir(), t.TempDir()
	at := func(name string) string { return filepath.Join(kept, name) }
	network := start(t, logs, "overlay", "--data", in("overlay"))
	hub := start(t, logs, "hub", "--config", in("hub.yaml"))
	start(t, logs, "connect", "--data", in("connect"), "--listen", seed.listen, "--plain")
	start(t, logs, "gateway", "--config", filepath.Join(in(gw), "gateway.yaml"), "--bench", filepath.Join(in(gw), "bench.yaml"))
	w := seed.ward(t)
	stored := func() (n int64) {
		for _, s := range signInAt(t, seed.url(), w.Admin, &seed.secrets).delivery() {
			n += s.Chunks
		}
		return n
	}
	grows := func(when string) {
		t.Helper()
		before := stored()
		await(t, "more chunks "+when, func() error {
			if now := stored(); now <= before {
				return fmt.Errorf("%d chunks as before", now)
			}
			return nil
		})
	}
	grows("before")

	if got := command(t, "backup", "--data", in("hub"), "--to", at("b"), "--keys", at("k"), "--config", in("hub.yaml")); got.code != 0 {
		t.Fatalf("backup of the running server: %+v", got)
	}
	secretsApart(t, at("b"))
	if err := os.WriteFile(at("root.key"), mustBytes(t, filepath.Join(in("hub"), "root.key")), 0o600); err != nil {
		t.Fatal(err)
	}
	hub.kill()
	network.kill()
	await(t, "the node's end", func() error { return gone(filepath.Join(in("overlay"), "node.json")) })
	for _, lost := range []string{"hub", "overlay"} {
		if err := os.RemoveAll(in(lost)); err != nil {
			t.Fatal(err)
		}
	}
	restore := []string{"restore", "--from", at("b"), "--keys", at("k"), "--root-key", at("root.key"), "--data", in("hub")}
	if got := command(t, restore...); got.code != 2 || !strings.Contains(got.err, "--overlay: missing") {
		t.Errorf("a restore without a place for the overlay: %+v", got)
	}
	if got := command(t, append(restore, "--overlay", in("overlay"))...); got.code != 0 {
		t.Fatalf("restore: %+v", got)
	}
	start(t, logs, "overlay", "--data", in("overlay"))
	start(t, logs, "hub", "--config", in("hub.yaml"))
	grows("after the restore")
}

// gone is nil once the process that a node's file names has ended.
func gone(file string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(b), `"pid":`)
	pid, _, _ := strings.Cut(rest, ",")
	if _, err := os.Stat("/proc/" + pid); err == nil {
		return errors.New("process " + pid + " runs")
	}
	return nil
}

func mustBytes(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// secretsApart finds nothing of the overlay and no key in the folder that is not kept apart.
func secretsApart(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.Contains(path, "overlay") || strings.HasSuffix(path, ".key") || strings.HasSuffix(path, ".openziti.json") {
			t.Errorf("%s is not kept apart", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
