package peers

import (
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
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"vitalseal/internal/lab/bench"
)

// peerStore is a database that is measured.
type peerStore interface {
	// start brings it up in an empty folder and completes the task.
	start(ctx context.Context, dir string, task *peerTask) (*program, error)
	// points counts what it has of samples and numbers.
	points(ctx context.Context) (int64, error)
	// bytes is what its data take once it has compacted them.
	bytes(ctx context.Context) (int64, error)
	version(ctx context.Context) string
	stopBy() syscall.Signal
}

func findBroker() (string, error) {
	return findProgram("mosquitto", "mosquitto", "/usr/sbin/mosquitto")
}

func findInflux() (string, error) { return findProgram("influxd", "influxdb") }

func findVictoria() (string, error) { return findProgram("victoria-metrics", "victoria-metrics") }

// findPostgres looks where Debian keeps the versions apart, too.
func findPostgres() (initdb, server string, err error) {
	for _, at := range []struct {
		name string
		path *string
	}{{"initdb", &initdb}, {"postgres", &server}} {
		elsewhere, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + at.name)
		if err != nil {
			return "", "", fmt.Errorf("measure: %w", err)
		}
		if *at.path, err = findProgram(at.name, "postgresql-15", elsewhere...); err != nil {
			return "", "", err
		}
	}
	return initdb, server, nil
}

// startBroker starts mosquitto as Debian sets it up, with TLS, a password and persistence; its bounds on what one subscriber may have
// outstanding are lifted, so that it is not held back.
func startBroker(ctx context.Context, dir string, task *peerTask) (*program, error) {
	path, err := findBroker()
	if err != nil {
		return nil, err
	}
	tool, err := findProgram("mosquitto_passwd", "mosquitto")
	if err != nil {
		return nil, err
	}
	if task.Broker, err = bench.FreeAddress(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(task.Broker)
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	task.Password = rand.Text()
	file := func(name string) string { return filepath.Join(dir, name) }
	// #nosec G204 -- the broker's own tool
	if out, err := exec.CommandContext(ctx, tool, "-c", "-b", file("passwords"), peerUser, task.Password).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("measure: mosquitto_passwd: %w: %s", err, out)
	}
	if task.CA, err = brokerCertificate(file("cert.pem"), file("key.pem")); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`listener %s 127.0.0.1
certfile %s
keyfile %s
allow_anonymous false
password_file %s
persistence true
persistence_location %s/
max_inflight_messages 0
max_queued_messages 1000000
set_tcp_nodelay true
user root
`, port, file("cert.pem"), file("key.pem"), file("passwords"), dir)
	if err := os.WriteFile(file("mosquitto.conf"), []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	p, err := startProgram(file("mosquitto.log"), nil, path, "-c", file("mosquitto.conf"))
	if err != nil {
		return nil, err
	}
	return p, p.up(ctx, func() error {
		c, err := task.dial(ctx)
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

// brokerCertificate makes a certificate for localhost and returns it as DER.
func brokerCertificate(certFile, keyFile string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err == nil {
		err = os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), 0o600)
	}
	if err == nil {
		err = os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	return der, nil
}

// ask gets a URL and, if out is not nil, reads the JSON that it answers.
func ask(ctx context.Context, method, u string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, u, nil)
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", res.Status, b)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return nil
}

// influx is InfluxDB 1: each write fsynced before it is answered, as is its default.
type influx struct{ path, dir, base string }

func (s *influx) start(ctx context.Context, dir string, task *peerTask) (p *program, err error) {
	if s.path, err = findInflux(); err != nil {
		return nil, err
	}
	web, err := bench.FreeAddress()
	if err != nil {
		return nil, err
	}
	other, err := bench.FreeAddress()
	if err != nil {
		return nil, err
	}
	s.dir, s.base = dir, "http://"+web
	// What is cold (none is while the measurement lasts) is compacted soon, so that its size is the one it would come to.
	config := fmt.Sprintf(`reporting-disabled = true
bind-address = %q
[meta]
  dir = %q
[data]
  dir = %q
  wal-dir = %q
  wal-fsync-delay = "0s"
  cache-snapshot-write-cold-duration = "5s"
  compact-full-write-cold-duration = "10s"
  query-log-enabled = false
[monitor]
  store-enabled = false
[subscriber]
  enabled = false
[continuous_queries]
  enabled = false
[http]
  bind-address = %q
  log-enabled = false
`, other, filepath.Join(dir, "meta"), filepath.Join(dir, "data"), filepath.Join(dir, "wal"), web)
	if err := os.WriteFile(filepath.Join(dir, "influxdb.conf"), []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	task.Write = s.base + "/write?db=bench&precision=ms"
	if p, err = startProgram(filepath.Join(dir, "influxdb.log"), nil, s.path, "-config", filepath.Join(dir, "influxdb.conf")); err != nil {
		return nil, err
	}
	return p, p.up(ctx, func() error { return ask(ctx, http.MethodPost, s.base+"/query?q=CREATE+DATABASE+bench", nil) })
}

func (s *influx) points(ctx context.Context) (total int64, err error) {
	var got struct {
		Results []struct {
			Error  string
			Series []struct{ Values [][]any }
		}
	}
	q := url.Values{"db": {"bench"}, "q": {"SELECT count(infrared) FROM ppg; SELECT count(told) FROM numbers"}}
	if err := ask(ctx, http.MethodGet, s.base+"/query?"+q.Encode(), &got); err != nil {
		return 0, err
	}
	for _, r := range got.Results {
		if r.Error != "" {
			return 0, fmt.Errorf("measure: influxdb: %s", r.Error)
		}
		for _, x := range r.Series {
			for _, v := range x.Values {
				if n, ok := v[len(v)-1].(float64); ok {
					total += int64(n)
				}
			}
		}
	}
	return total, nil
}

func (s *influx) bytes(ctx context.Context) (int64, error) {
	return settledSize(ctx, 15*time.Second, filepath.Join(s.dir, "data"), filepath.Join(s.dir, "wal"))
}

func (s *influx) version(ctx context.Context) string { return firstLine(ctx, s.path, "version") }
func (s *influx) stopBy() syscall.Signal             { return syscall.SIGTERM }

// victoria is VictoriaMetrics, one process. It answers a write when it has it in memory, and puts it on disk a second or so later.
type victoria struct{ path, dir, base string }

func (s *victoria) start(ctx context.Context, dir string, task *peerTask) (p *program, err error) {
	if s.path, err = findVictoria(); err != nil {
		return nil, err
	}
	web, err := bench.FreeAddress()
	if err != nil {
		return nil, err
	}
	s.dir, s.base = filepath.Join(dir, "data"), "http://"+web
	task.Write = s.base + "/write?precision=ms"
	p, err = startProgram(filepath.Join(dir, "victoria-metrics.log"), nil, s.path, "-storageDataPath="+s.dir, "-httpListenAddr="+web, "-search.latencyOffset=0s", "-loggerLevel=WARN")
	if err != nil {
		return nil, err
	}
	return p, p.up(ctx, func() error { return ask(ctx, http.MethodGet, s.base+"/health", nil) })
}

func (s *victoria) points(ctx context.Context) (total int64, err error) {
	if err := ask(ctx, http.MethodGet, s.base+"/internal/force_flush", nil); err != nil {
		return 0, err
	}
	for _, series := range []string{"ppg_infrared", "numbers_told"} {
		var got struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		q := url.Values{"query": {"sum(count_over_time(" + series + "[1d]))"}, "nocache": {"1"}}
		if err := ask(ctx, http.MethodGet, s.base+"/api/v1/query?"+q.Encode(), &got); err != nil {
			return 0, err
		}
		for _, r := range got.Data.Result {
			text, _ := r.Value[1].(string)
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return 0, fmt.Errorf("measure: victoria-metrics counts %q", text)
			}
			total += int64(n)
		}
	}
	return total, nil
}

func (s *victoria) bytes(ctx context.Context) (int64, error) {
	if err := ask(ctx, http.MethodGet, s.base+"/internal/force_merge", nil); err != nil {
		return 0, err
	}
	return settledSize(ctx, 5*time.Second, filepath.Join(s.dir, "data"), filepath.Join(s.dir, "indexdb"))
}

func (s *victoria) version(ctx context.Context) string {
	var got struct {
		Data struct{ Version string }
	}
	if err := ask(ctx, http.MethodGet, s.base+"/api/v1/status/buildinfo", &got); err == nil && strings.HasPrefix(got.Data.Version, "1.") {
		return "victoria-metrics " + got.Data.Version
	}
	return "victoria-metrics " + debianVersion(ctx, "victoria-metrics")
}
func (s *victoria) stopBy() syscall.Signal { return syscall.SIGINT }

// debianVersion is an installed package's; empty elsewhere.
func debianVersion(ctx context.Context, pkg string) string {
	out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", pkg).Output() // #nosec G204 -- a name made here
	if err != nil {
		return ""
	}
	return string(out)
}

// postgres is PostgreSQL with its own defaults: fsync and synchronous_commit on. It wants no root, so it gets another user then.
type postgres struct{ initdb, path, dir, dsn string }

func (s *postgres) start(ctx context.Context, dir string, task *peerTask) (p *program, err error) {
	if s.initdb, s.path, err = findPostgres(); err != nil {
		return nil, err
	}
	var as *syscall.Credential
	if os.Geteuid() == 0 {
		if as, err = unprivileged(); err != nil {
			return nil, err
		}
	}
	// A socket's path is short, and its folder open to the server's user: not below the measurement's own.
	if s.dir, err = os.MkdirTemp("/tmp", "vitalseal-pg-"); err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	if as != nil {
		if err := os.Chown(s.dir, int(as.Uid), int(as.Gid)); err != nil {
			return nil, fmt.Errorf("measure: %w", err)
		}
	}
	data := filepath.Join(s.dir, "data")
	cmd := exec.CommandContext(ctx, s.initdb, "-D", data, "-U", peerUser, "-A", "trust", "--no-instructions") // #nosec G204 -- found by findProgram
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Credential: as}, s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("measure: initdb: %w: %s", err, out)
	}
	s.dsn = "host=" + s.dir + " user=" + peerUser + " dbname=postgres"
	task.Postgres = s.dsn
	if p, err = startProgram(filepath.Join(dir, "postgres.log"), as, s.path, "-D", data, "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=400"); err != nil {
		return nil, err
	}
	err = p.up(ctx, func() error {
		return s.with(ctx, func(c *pgx.Conn) error { return c.Ping(ctx) })
	})
	if err == nil {
		err = s.with(ctx, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, peerTables)
			return err
		})
	}
	return p, err
}

// unprivileged is the user that Debian's package makes, or "nobody".
func unprivileged() (*syscall.Credential, error) {
	var failed error
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("measure: user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("measure: user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("measure: no user for PostgreSQL, which does not run as root: %w", failed)
}

func (s *postgres) with(ctx context.Context, do func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return fmt.Errorf("measure: postgres: %w", err)
	}
	if err := errors.Join(do(c), c.Close(ctx)); err != nil {
		return fmt.Errorf("measure: postgres: %w", err)
	}
	return nil
}

func (s *postgres) number(ctx context.Context, query string) (n int64, err error) {
	err = s.with(ctx, func(c *pgx.Conn) error { return c.QueryRow(ctx, query).Scan(&n) })
	return n, err
}

func (s *postgres) points(ctx context.Context) (int64, error) {
	return s.number(ctx, "SELECT (SELECT count(*) FROM ppg) + (SELECT coalesce(sum(cardinality(red)), 0) FROM ppg_chunks) + (SELECT count(*) FROM numbers)")
}

// bytes leaves out the log of changes, which has a size of its own.
func (s *postgres) bytes(ctx context.Context) (n int64, err error) {
	err = s.with(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "VACUUM")
		return err
	})
	if err != nil {
		return 0, err
	}
	return s.number(ctx, "SELECT pg_total_relation_size('ppg') + pg_total_relation_size('ppg_chunks') + pg_total_relation_size('numbers')")
}

func (s *postgres) version(ctx context.Context) string { return firstLine(ctx, s.path, "--version") }
func (s *postgres) stopBy() syscall.Signal             { return syscall.SIGINT } // "fast": ends the sessions
