package node

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/mgmt"
)

const (
	databaseFile   = "controller.db"
	snapshotSuffix = ".backup-"
	// lockPatience is how long a copy waits for the database's lock before it takes the node for
	// running.
	lockPatience = 500 * time.Millisecond
	// snapshotPatience covers OpenZiti's own limit: one snapshot a minute.
	snapshotPatience = 90 * time.Second
	snapshotRetry    = 2 * time.Second
)

// ErrNoNode says that a folder holds no node.
var ErrNoNode = errors.New("node: no overlay's folder")

// IsNode reports whether dir holds a node that has completed its first start.
func IsNode(dir string) bool {
	for _, name := range []string{marker, databaseFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// Copy writes a copy of the node in dir into the folder to, which it makes and which must be empty:
// its keys, its database as it is at one moment, and its settings. The node may run meanwhile.
// Everything in the copy is secret: with it an attacker is the network's controller.
func Copy(ctx context.Context, dir, to string) error {
	if !IsNode(dir) {
		return fmt.Errorf("%w: %s has no %s or no %s", ErrNoNode, dir, databaseFile, marker)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("node: copy: %w", err)
	}
	if in, err := os.ReadDir(to); err != nil || len(in) > 0 {
		return errors.Join(fmt.Errorf("node: copy: %s is not empty", to), err)
	}
	// The database first: what it names of keys is on disk already.
	if err := copyDatabase(ctx, dir, filepath.Join(to, databaseFile)); err != nil {
		return fmt.Errorf("node: copy: database: %w", err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		case !d.Type().IsRegular(), !kept(name):
			return nil
		}
		return copyWhole(path, filepath.Join(to, name))
	})
	if err != nil {
		return fmt.Errorf("node: copy: %w", err)
	}
	return nil
}

// kept tells whether a file of a node's folder belongs into a copy: not what a start writes anew,
// nor the database, which is copied apart, nor what a write left behind.
func kept(name string) bool {
	base := filepath.Base(name)
	return base != overlay.NodeFile && !strings.HasSuffix(base, ".yaml") && !strings.HasPrefix(base, databaseFile) && !strings.HasPrefix(base, ".")
}

// copyDatabase copies the database from its file while no process has it open, else by way of the
// running controller.
func copyDatabase(ctx context.Context, dir, to string) error {
	path := filepath.Join(dir, databaseFile)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockPatience})
	if err == nil {
		err = db.View(func(tx *bbolt.Tx) error { return tx.CopyFile(to, 0o600) })
		return errors.Join(err, db.Close())
	}
	if !errors.Is(err, bolterrors.ErrTimeout) {
		return err
	}
	// OpenZiti replaces words such as DATE in the path that it is given: ours must hold none.
	snapshot := path + snapshotSuffix + strings.ToLower(rand.Text())
	defer func() { _ = os.Remove(snapshot) }()
	if err := snapshotBy(ctx, dir, snapshot); err != nil {
		return fmt.Errorf("the controller runs, but made no copy: %w", err)
	}
	return copyWhole(snapshot, to)
}

// snapshotBy has the running controller copy its database to path.
func snapshotBy(ctx context.Context, dir, path string) error {
	c, err := offlineClient(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, snapshotPatience)
	defer cancel()
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for {
		err := c.Call(ctx, http.MethodPost, mgmt.Fabric+"/database/snapshot", map[string]string{"path": abs}, nil)
		if err == nil || !errors.Is(err, mgmt.ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(snapshotRetry):
		}
	}
}

// offlineClient signs in at the running controller of dir with the password that its first start
// made.
func offlineClient(dir string) (*mgmt.Client, error) {
	info, err := overlay.ReadNode(dir)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(filepath.Join(dir, overlay.NodeRoot)) // #nosec G304 -- the operator names the folder
	if err != nil {
		return nil, err
	}
	password, err := os.ReadFile(filepath.Join(dir, passwordFile)) // #nosec G304 -- as above
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return mgmt.New(mgmt.Config{URL: info.Controller, Roots: roots, User: AdminUser, Password: strings.TrimSpace(string(password))})
}

// copyWhole copies a file to a new one, mode 0600, and returns once it is on disk.
func copyWhole(from, to string) (err error) {
	in, err := os.Open(from) // #nosec G304 -- below the operator's folder
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- below the operator's folder
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
