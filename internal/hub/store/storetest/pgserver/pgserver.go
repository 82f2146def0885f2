// Package pgserver runs a PostgreSQL server for tests: one a process, in a temporary directory, on a Unix socket that no other user
// can reach, with fsync on as in a hospital.
//
// It hides initdb, the unprivileged user that PostgreSQL insists on when the tests run as root, and the way the server
// ends. If there is no PostgreSQL, tests fail and say how to get it; they are not skipped. It guarantees that the
// server ends with the test process, also when that is killed. It does not protect the data from other processes of the same user.
package pgserver

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers "pgx" with database/sql
)

const hint = "the tests of the store need a PostgreSQL server (13 or newer): run scripts/install-test-tools.sh as root, or apt-get install -y postgresql"

var (
	once    sync.Once
	failed  error
	socket  string // the directory of the server's socket
	stopped func()
	number  atomic.Int64
)

// Main runs the tests of a package and then stops the server, if there was one. TestMain calls it, or Stop.
func Main(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

// Stop stops the server, if there was one, and removes its files. No Database may be asked for afterwards.
func Stop() {
	if stopped != nil {
		stopped()
	}
}

// Database makes an empty database, which lasts as long as the server, and gives its connection string.
func Database(t testing.TB) string {
	t.Helper()
	once.Do(func() { failed = start() })
	if failed != nil {
		t.Fatalf("pgserver: %v\nhint: %s", failed, hint)
	}
	db, err := sql.Open("pgx", dsn("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // nothing is pending
	name := fmt.Sprintf("test%d", number.Add(1))
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("pgserver: create database: %v", err)
	}
	return dsn(name)
}

func dsn(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {socket}, "user": {"vitalseal"}, "sslmode": {"disable"}}.Encode()
}

// program finds a server program, also where Debian hides it.
func program(name string) (string, error) {
	if found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); err == nil && len(found) > 0 {
		return found[len(found)-1], nil
	}
	return exec.LookPath(name)
}

// unprivileged is the user that runs the server: an unprivileged one when we are root, ourselves otherwise.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("no user postgres or nobody, and PostgreSQL does not run as root")
}

func start() error {
	initdb, err := program("initdb")
	if err != nil {
		return err
	}
	postgres, err := program("postgres")
	if err != nil {
		return err
	}
	who, err := unprivileged()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vitalseal-pg-")
	if err != nil {
		return err
	}
	if who != nil {
		if err := os.Chown(dir, int(who.Uid), int(who.Gid)); err != nil {
			return err
		}
	}
	attr := &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGQUIT}
	var said bytes.Buffer
	data := filepath.Join(dir, "data")
	cmd := exec.Command(initdb, "-D", data, "-U", "vitalseal", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions") // #nosec G204 -- found above
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = dir, &syscall.SysProcAttr{Credential: who}, &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, said.Bytes())
	}
	said.Reset()
	server := exec.Command(postgres, "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=on", "-c", "max_connections=200") // #nosec G204 -- found above
	server.Dir, server.SysProcAttr, server.Stdout, server.Stderr = dir, attr, &said, &said
	ended := make(chan error, 1)
	began := make(chan error, 1)
	go func() { // the thread that starts the server must live as long: Pdeathsig is the thread's
		lock()
		err := server.Start()
		began <- err
		if err == nil {
			ended <- server.Wait()
		}
	}()
	if err := <-began; err != nil {
		return err
	}
	socket = dir
	stopped = func() {
		_ = server.Process.Signal(syscall.SIGINT) // fast shutdown
		<-ended
		_ = os.RemoveAll(dir)
	}
	return ready(ended, &said)
}

// ready waits until the server answers, or has ended.
func ready(ended <-chan error, said *bytes.Buffer) error {
	db, err := sql.Open("pgx", dsn("postgres"))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is pending
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for tries := 0; ; tries++ {
		if err = db.PingContext(context.Background()); err == nil {
			return nil
		}
		if tries > 2400 {
			return fmt.Errorf("postgres does not answer: %w", err)
		}
		select {
		case err := <-ended:
			return fmt.Errorf("postgres ended: %w\n%s", err, said.Bytes())
		case <-tick.C:
		}
	}
}
