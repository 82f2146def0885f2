package sealdb

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// The advisory locks. Ours are (class, number), where the class is the word "vita" and keeps us apart from others' locks; those of
// days and of leases have classes of their own.
const (
	LockClass     = 0x76697461
	LockSchema    = 1 // one process at a time changes the schema or adds a day
	lockDirectory = 2 // one transaction at a time writes to the directory, as in SQLite
	LockPlaces    = 3 // whose a sensor is: held together by those who store chunks, alone by who changes it
	DayClass      = LockClass + 1
	leaseClass    = LockClass + 2
)

// ErrNoDatabase means that PostgreSQL cannot be reached, or does not let us in.
var ErrNoDatabase = errors.New("store: no connection to PostgreSQL")

// OpenPostgres opens a pool. Every commit waits for the disk of the server, whatever its configuration says.
func OpenPostgres(ctx context.Context, dsn string) (*sql.DB, *pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the connection string cannot be read (it is not repeated here: it may hold a password)", ErrNoDatabase)
	}
	if err := proven(cfg); err != nil {
		return nil, nil, err
	}
	cfg.RuntimeParams["synchronous_commit"] = "on"
	cfg.RuntimeParams["application_name"] = "vitalseal"
	// A hub that hangs must not hold the directory's lock for ever.
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "10000"
	// Neither must one whose machine has vanished.
	for name, seconds := range map[string]string{"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"} {
		cfg.RuntimeParams[name] = seconds
	}
	db := sql.OpenDB(pgConnector{stdlib.GetConnector(*cfg)})
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	var sync string
	if err := db.QueryRowContext(ctx, "SHOW fsync").Scan(&sync); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w: %w", ErrNoDatabase, err), db.Close())
	}
	if sync != "on" {
		return nil, nil, errors.Join(errors.New("store: PostgreSQL runs with fsync = off: what it calls stored may be lost with the power; switch it on"), db.Close())
	}
	return db, cfg, nil
}

// proven refuses a server on another machine that need not prove who it is: ids, times and the directory are in clear, and an attacker who
// answers in its place decides who is who.
func proven(cfg *pgx.ConnConfig) error {
	type server struct {
		host string
		tls  *tls.Config
	}
	all := []server{{cfg.Host, cfg.TLSConfig}}
	for _, f := range cfg.Fallbacks {
		all = append(all, server{f.Host, f.TLSConfig})
	}
	for _, s := range all {
		ip := net.ParseIP(s.host)
		here := strings.HasPrefix(s.host, "/") || s.host == "localhost" || ip != nil && ip.IsLoopback()
		if !here && (s.tls == nil || s.tls.InsecureSkipVerify) {
			return fmt.Errorf("%w: %s is another machine: say sslmode=verify-full, and sslrootcert=FILE with its certificate authority", ErrNoDatabase, s.host)
		}
	}
	return nil
}

// pgConnector gives connections that take the placeholders of this package's queries.
type pgConnector struct{ driver.Connector }

// Connect implements driver.Connector.
func (c pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	inner, ok := conn.(*stdlib.Conn)
	if !ok {
		return nil, fmt.Errorf("postgres: connection of type %T", conn)
	}
	return pgConn{inner}, nil
}

type pgConn struct{ *stdlib.Conn }

// Prepare implements driver.Conn.
func (c pgConn) Prepare(query string) (driver.Stmt, error) { return c.Conn.Prepare(spelled(query)) }

// PrepareContext implements driver.ConnPrepareContext.
func (c pgConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.PrepareContext(ctx, spelled(query))
}

// ExecContext implements driver.ExecerContext.
func (c pgConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.ExecContext(ctx, spelled(query), args)
}

// QueryContext implements driver.QueryerContext.
func (c pgConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.QueryContext(ctx, spelled(query), args)
}

// OnServer is told every query, in tests.
var OnServer func(query string)

func spelled(query string) string {
	query = Dollars(query)
	if OnServer != nil {
		OnServer(query)
	}
	return query
}

// Dollars spells placeholders as PostgreSQL does: ? becomes $1, $2 ... in order and ?3 becomes $3. Quoted text stays.
func Dollars(query string) string {
	if !strings.Contains(query, "?") {
		return query
	}
	var b strings.Builder
	quoted, n := false, 0
	for i := 0; i < len(query); i++ {
		c := query[i]
		quoted = quoted != (c == '\'')
		if c != '?' || quoted {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('$')
		if i+1 == len(query) || query[i+1] < '0' || query[i+1] > '9' {
			n++
			b.WriteString(strconv.Itoa(n))
		}
	}
	return b.String()
}

// pgCode is the SQLSTATE of an error, empty if it is none of PostgreSQL's.
func pgCode(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

const (
	pgUnique  = "23505"
	pgForeign = "23503"
)

// Step is one change of the schema in PostgreSQL and the way back. Going back loses what only the newer schema can hold.
type Step struct{ Up, Down string }

// MigratePostgres goes up or down to a version; to < 0 means the newest, and refuses a newer one.
func MigratePostgres(ctx context.Context, db *sql.DB, steps []Step, to int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	for _, q := range []string{
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d, %d)", LockClass, LockSchema),
		"CREATE TABLE IF NOT EXISTS schema_version (one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one), version BIGINT NOT NULL)",
		"INSERT INTO schema_version (version) VALUES (0) ON CONFLICT DO NOTHING",
	} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	var version int
	if err := tx.QueryRowContext(ctx, "SELECT version FROM schema_version").Scan(&version); err != nil {
		return err
	}
	newest := len(steps)
	if version > newest {
		return fmt.Errorf("%w: its schema is %d, this program knows %d", ErrNewer, version, newest)
	}
	if to > newest {
		return fmt.Errorf("%w: there are %d schema steps, not %d", ErrInvalid, newest, to)
	}
	if to < 0 {
		to = newest
	}
	for ; version < to; version++ {
		if _, err := tx.ExecContext(ctx, steps[version].Up); err != nil {
			return fmt.Errorf("schema step %d: %w", version+1, err)
		}
	}
	for ; version > to; version-- {
		if _, err := tx.ExecContext(ctx, steps[version-1].Down); err != nil {
			return fmt.Errorf("schema step %d, back: %w", version, err)
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE schema_version SET version = ?", to); err != nil {
		return err
	}
	return tx.Commit()
}

// Collated compares all text of a schema by its bytes, as SQLite does.
func Collated(schema string) string { return strings.ReplaceAll(schema, " TEXT", ` TEXT COLLATE "C"`) }
