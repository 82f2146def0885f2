package store_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest/pgserver"
)

// Every query that the tests of this package caused is explained when they are done. One that walks through a table that grows with
// use fails them all: with a million entries it would hold up a hospital. What may, stands here with its reason; a $ is the query's end.
var mayScan = []struct{ part, reason string }{
	{"FROM persons ORDER BY login", "a list of all persons, for administrators"},
	{"FROM persons WHERE patients <>", "persons, when a patient is forgotten"},
	{"FROM devices d LEFT JOIN placements", "the inventory"},
	{"waiting FROM clocks", "the inventory"},
	{"sum(bytes), 0) AS BIGINT) FROM clocks", "one row a sensor, when a chunk is put where it waits"},
	{"FROM devices WHERE id = ?1 OR gateway = ?1", "a gateway's sensors, when an administrator resets their numbers"},
	{"FROM devices WHERE id = $1 OR gateway = $1", "a gateway's sensors, when an administrator resets their numbers"},
	{"FROM patients p\n\tLEFT JOIN stays", "the list of patients"},
	{"SELECT patient FROM forgotten ORDER BY patient", "all of it is the answer, for the reader of the audit log"},
	{"count(*) FROM persons WHERE id", "whether an administrator is the last one, when one is taken away"},
	{"FROM wards", "the wards"},
	{"FROM beds", "the beds"},
	{"public, updated FROM channels ORDER BY id", "the list of all channels, for administrators"},
	{"FROM holds", "legal holds, which people place one by one"},
	{"FROM sinks", "forwarded channels, which two people agree on one by one"},
	{"DELETE FROM tickets WHERE", "tickets, when an administrator removes a device that never enrolled"},
	{"FROM usage ORDER BY bytes", "one row a person, for administrators"},
	{"FROM limits ORDER BY kind", "what administrators have set one by one, ten thousand at most"},
	{"count(*) FROM sessions GROUP BY", "a number a person, for administrators"},
	{"count(*) FROM api_keys GROUP BY", "a number a person, for administrators"},
	{"FROM sweeps ORDER BY", "what is to be swept, a hundred at most"},
	{"count(*) FROM sweeps", "of a test"},
	{"count(*) FROM entries WHERE channel = ?$", "of a test"},
	{"count(*) FROM entries WHERE channel = $1$", "of a test"},
	{"WHERE name LIKE 'talkback/%'", "of a test"},
	{"FROM stock WHERE bulk <> 0", "bulk updates that are under way, by an index that has no others"},
	{"FROM moves WHERE done IS NULL", "moves of readings that are under way, by an index that has no others"},
	{"SELECT count(*) FROM quarantine", "ten thousand at most"},
	{"FROM gaps", "ten thousand a sensor at most"},
	{"FROM quarantine ORDER BY id DESC LIMIT", "newest first, a page"},
	{"FROM glasses", "emergencies, newest or oldest first, a page"},
	{"DELETE FROM quarantine WHERE id IN (SELECT q.id", "ten thousand at most, when a patient is forgotten"},
	{"integrity_check", "the check of the whole store"},
	{"FROM subjects", "the check of a day, or its opening"},
	{"FROM streams", "the opening of a day"},
	{"FROM taken", "the opening of a day"},
	{"FROM recent", "a day's chunks of the last half minute"},
	{"FROM damaged", "what was set aside, in the check"},
	{"SELECT DISTINCT subject FROM blocks", "whose a day's readings are, when they expire"},
	{"FROM blocks WHERE subject = ?$", "the check of a day"},
	{"FROM blocks_20", "the check of a day"},
	{"FROM sums WHERE subject = ?$", "the check of a day"},
	{"SELECT DISTINCT subject FROM blocks", "retention, of a day"},
	{"NOT IN (SELECT name FROM keys)", "who was forgotten since, in a restore"},
	{"main.entries", "the move out of the directory, once"},
	{"main.stock", "the move out of the directory, once"},
}

// grows are the tables that grow with use, each with how many leading columns of an index a query must name at least.
var grows = map[string]int{
	"entries": 2, "commands": 1, "stock": 1, "usage": 1, "sweeps": 1, "limits": 1, "sessions": 1, "api_keys": 1, "glasses": 1, "gaps": 1,
	"announcements": 1, "quarantine": 1, "stays": 1, "placements": 1, "exclusions": 1, "tickets": 1, "devices": 1, "patients": 1,
	"persons": 1, "channels": 1, "talkbacks": 1, "mqtt_devices": 1, "mqtt_rights": 1, "keys": 1, "forgotten": 1, "sent_seconds": 1,
	"factors": 1, "tries": 1, "known_workstations": 1, "failed_sign_ins": 1, "clocks": 1, "approvals": 1, "notices": 1, "moves": 1, "silences": 1, "recent": 1, "blocks": 2, "taken": 1, "sums": 2, "damaged": 1, "subjects": 1, "streams": 1,
}

// asked are the queries that were seen, by the kind of file they were for, "postgres" among them.
var asked = struct {
	sync.Mutex
	of map[string]map[string]bool
}{of: map[string]map[string]bool{}}

func note(kind, query string) {
	asked.Lock()
	defer asked.Unlock()
	if asked.of[kind] == nil {
		asked.of[kind] = map[string]bool{}
	}
	asked.of[kind][query] = true
}

func kindOf(file string) string {
	name := filepath.Base(file)
	if strings.HasPrefix(name, "chunks-") {
		return "chunks"
	}
	return strings.TrimSuffix(name, ".db")
}

func init() {
	sqlite3.AutoExtension(func(c *sqlite3.Conn) error {
		name := c.Filename("main")
		if name == nil {
			return nil
		}
		kind := kindOf(name.String())
		steps := 0
		watch := func() {
			if kind == "directory" {
				held.note(steps)
			}
			steps = 0
		}
		c.CommitHook(func() bool { watch(); return true })
		c.RollbackHook(watch)
		return c.Trace(sqlite3.TRACE_STMT|sqlite3.TRACE_PROFILE, func(e sqlite3.TraceEvent, stmt, _ any) error {
			s, ok := stmt.(*sqlite3.Stmt)
			switch {
			case !ok:
			case e == sqlite3.TRACE_STMT:
				note(kind, s.SQL())
			case c.GetAutocommit():
				s.Status(sqlite3.STMTSTATUS_VM_STEP, true)
			default:
				steps += s.Status(sqlite3.STMTSTATUS_VM_STEP, true)
			}
			return nil
		})
	})
	store.OnServer(func(query string) { note("postgres", query) })
}

// tb is enough of a testing.TB for pgserver, after the tests.
type tb struct{ testing.TB }

func (tb) Helper()                   {}
func (tb) Context() context.Context  { return context.Background() }
func (tb) Fatal(a ...any)            { panic(fmt.Sprint(a...)) }
func (tb) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func checkPlans() (code int) {
	dir, err := os.MkdirTemp("", "plans")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	var bad []string
	if flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && os.Getenv("VITALSEAL_STORE") == "" {
		bad = addUnasked()
	}
	bad = append(bad, explainFiles(dir)...)
	if len(asked.of["postgres"]) > 0 {
		bad = append(bad, explainServer()...)
	}
	for _, b := range bad {
		fmt.Println("--- FAIL: plan:", b)
	}
	return min(len(bad), 1)
}

func snapshotOf(kind string) []string {
	asked.Lock()
	defer asked.Unlock()
	var all []string
	for q := range asked.of[kind] {
		all = append(all, q)
	}
	slices.Sort(all)
	return all
}

func excepted(query string) bool {
	for _, e := range mayScan {
		end, last := strings.CutSuffix(e.part, "$")
		if last && strings.HasSuffix(strings.TrimSpace(query), end) || !last && strings.Contains(query, e.part) {
			return true
		}
	}
	return false
}

var verb = regexp.MustCompile(`(?is)^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b`)

func explainFiles(dir string) (bad []string) {
	ctx := context.Background()
	for kind, open := range map[string]func() (*sql.DB, error){
		"directory": func() (*sql.DB, error) { return store.NewDirectory(ctx, filepath.Join(dir, "plan-directory.db")) },
		"channels":  func() (*sql.DB, error) { return store.NewApart(ctx, dir) },
		"chunks":    func() (*sql.DB, error) { return store.NewPartition(ctx, filepath.Join(dir, "plan-chunks.db")) },
	} {
		queries := snapshotOf(kind)
		db, err := open()
		if err != nil {
			return append(bad, err.Error())
		}
		for _, q := range queries {
			if !verb.MatchString(q) || excepted(q) || strings.Contains(q, "apart.") || strings.Contains(q, "old.") {
				continue
			}
			for _, why := range explainOne(ctx, db, q) {
				bad = append(bad, kind+": "+why+": "+q)
			}
		}
		if err := db.Close(); err != nil {
			bad = append(bad, err.Error())
		}
	}
	return bad
}

var (
	named  = regexp.MustCompile(`(?i)\b(?:FROM|JOIN|INTO|UPDATE|USING)\s+(?:main\.)?(\w+)(?:\s+INDEXED BY \w+)?(?:\s+(?:AS\s+)?(\w+))?`)
	detail = regexp.MustCompile(`^(SCAN|SEARCH) (\w+)(?:.*\((.*)\))?`)
	bind   = regexp.MustCompile(`\?\d*`)
)

// explainOne says what is wrong with a query's plan in SQLite.
func explainOne(ctx context.Context, db *sql.DB, query string) (bad []string) {
	alias := map[string]string{}
	for _, m := range named.FindAllStringSubmatch(query, -1) {
		alias[m[1]], alias[m[2]] = m[1], m[1]
	}
	most := 0
	for i, m := range bind.FindAllString(query, -1) {
		n, err := strconv.Atoi(m[1:])
		if err != nil {
			n = i + 1
		}
		most = max(most, n)
	}
	rows, err := db.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, make([]any, most)...)
	if err != nil {
		if strings.Contains(err.Error(), "no such") { // of an older schema, in a test of it
			return nil
		}
		return []string{err.Error()}
	}
	defer rows.Close() //nolint:errcheck // read to its end
	for rows.Next() {
		var a, b, c int
		var text string
		if err := rows.Scan(&a, &b, &c, &text); err != nil {
			return append(bad, err.Error())
		}
		m := detail.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		table := m[2]
		if t, ok := alias[table]; ok {
			table = t
		}
		need, ok := grows[table]
		if ok && m[3] != "rowid=?" && (m[1] == "SCAN" || strings.Count(m[3], " AND ")+1 < need) {
			bad = append(bad, text)
		}
	}
	return bad
}

// explainServer fills every table of a database of PostgreSQL with rows that look like nothing in particular, so that its planner has
// something to choose by, and explains.
func explainServer() (bad []string) {
	ctx := context.Background()
	dsn := pgserver.Database(tb{})
	if err := store.MigratePostgres(ctx, dsn, -1); err != nil {
		return []string{err.Error()}
	}
	queries := snapshotOf("postgres")
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return []string{err.Error()}
	}
	defer db.Close() //nolint:errcheck // nothing is pending
	db.SetMaxOpenConns(1)
	if err := fillTables(ctx, db); err != nil {
		return []string{"fill: " + err.Error()}
	}
	day := regexp.MustCompile(`_\d{8}\b`)
	for _, q := range queries {
		if !verb.MatchString(q) || strings.Contains(q, ";") || excepted(q) || excepted(day.ReplaceAllString(q, "")) || day.MatchString(q) || strings.Contains(q, "pg_") || strings.Contains(q, "EXISTS (SELECT 1 FROM days") {
			continue
		}
		for _, why := range explainGeneric(ctx, db, q) {
			bad = append(bad, "postgres: "+why+": "+q)
		}
	}
	return bad
}

func fillTables(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, "SET session_replication_role = replica; SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"); err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, `SELECT c.table_name, c.column_name, c.data_type, c.is_nullable FROM information_schema.columns c JOIN pg_class k ON k.relname = c.table_name
		WHERE c.table_schema = 'public' AND k.relkind = 'r' AND c.table_name NOT IN ('schema_version', 'generations', 'days') ORDER BY 1, c.ordinal_position`)
	if err != nil {
		return err
	}
	columns := map[string][2][]string{}
	for rows.Next() {
		var table, column, kind, null string
		if err := rows.Scan(&table, &column, &kind, &null); err != nil {
			return errors.Join(err, rows.Close())
		}
		value := "i"
		switch {
		case table == "entries" && column == "channel", table == "commands" && column == "talkback":
			value = "1 + i % 3"
		case table == "channels" && column == "patient":
			value = "'x' || i"
		case column == "public":
			value = "false"
		case column == "mode":
			value = "'sealed'"
		case column == "approved_by":
			value = "'other'"
		case kind == "text":
			value = "'x' || i"
		case kind == "bytea":
			value = "decode(md5(i::text), 'hex')"
		case kind == "boolean":
			value = "i % 2 = 0"
		case kind == "smallint":
			value = "1 + i % 3"
		}
		if null == "YES" {
			value = "CASE WHEN i % 2 = 0 THEN " + value + " END"
		}
		all := columns[table]
		all[0], all[1] = append(all[0], column), append(all[1], value)
		columns[table] = all
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for table, c := range columns {
		n := 3000
		if table == "entries" || table == "commands" {
			n = 30_000
		}
		if _, err := db.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM generate_series(1, %d) i",
			table, strings.Join(c[0], ", "), strings.Join(c[1], ", "), n)); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
	}
	_, err = db.ExecContext(ctx, "ANALYZE")
	return err
}

// explainGeneric says what is wrong with a query's plan in PostgreSQL, whatever its parameters.
func explainGeneric(ctx context.Context, db *sql.DB, query string) (bad []string) {
	most := 0
	for _, m := range regexp.MustCompile(`\$(\d+)`).FindAllStringSubmatch(query, -1) {
		n, _ := strconv.Atoi(m[1])
		most = max(most, n)
	}
	args := ""
	if most > 0 {
		args = "(" + strings.TrimSuffix(strings.Repeat("NULL,", most), ",") + ")"
	}
	if _, err := db.ExecContext(ctx, "PREPARE asked AS "+query); err != nil {
		return []string{err.Error()}
	}
	defer db.ExecContext(ctx, "DEALLOCATE asked") //nolint:errcheck // the next PREPARE would say so
	var text string
	if err := db.QueryRowContext(ctx, "EXPLAIN (FORMAT JSON) EXECUTE asked"+args).Scan(&text); err != nil {
		return []string{err.Error()}
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		return []string{err.Error()}
	}
	for _, p := range plans {
		bad = append(bad, p.Plan.wrong()...)
	}
	return bad
}

type node struct {
	Type  string `json:"Node Type"`
	Table string `json:"Relation Name"`
	Index string `json:"Index Name"`
	Cond  string `json:"Index Cond"`
	Plans []node `json:"Plans"`
}

func (n node) wrong() (bad []string) {
	need := grows[n.Table]
	switch {
	case need == 0:
	case n.Type == "Seq Scan", strings.HasPrefix(n.Type, "Index") && n.Cond == "":
		bad = append(bad, n.Type+" "+n.Table)
	case strings.HasPrefix(n.Type, "Index") && strings.Count(n.Cond, " AND ")+1 < need:
		bad = append(bad, n.Type+" "+n.Table+" "+n.Cond)
	}
	for _, p := range n.Plans {
		bad = append(bad, p.wrong()...)
	}
	return bad
}

// ofServer are the files whose queries are PostgreSQL's alone. The other files of archive/days have those of a day's file.
var (
	ofServer = []string{"follow.go", "lease.go", "postgres.go", "tables.go"}
	apartOf  = regexp.MustCompile(`\b(entries|commands|stock|usage|sweeps|limits)\b`)
	written  = regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b`)
)

// addUnasked adds the queries in this package's source that no test caused, to be explained as well.
func addUnasked() (bad []string) {
	var files []string
	for _, room := range []string{".", "../sealdb", "../directory", "../channel", "../archive", "../archive/attribution", "../archive/days"} {
		some, err := filepath.Glob(room + "/*.go")
		if err != nil || len(some) == 0 {
			return []string{fmt.Sprint("no files of ", room, ": ", err)}
		}
		files = append(files, some...)
	}
	seen := func(text string) bool {
		asked.Lock()
		defer asked.Unlock()
		for _, queries := range asked.of {
			for q := range queries {
				if strings.Contains(q, text) {
					return true
				}
			}
		}
		return false
	}
	for _, file := range files {
		name, ofDay := filepath.Base(file), filepath.Base(filepath.Dir(file)) == "days"
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "schema") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return []string{err.Error()}
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			l, ok := n.(*ast.BasicLit)
			if !ok || l.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(l.Value)
			if err != nil || !written.MatchString(text) || len(strings.Fields(text)) < 4 || strings.Contains(text, "%") || seen(text) || seen(store.Dollars(text)) {
				return true
			}
			switch {
			case slices.Contains(ofServer, name):
			case ofDay:
				note("chunks", text)
			case apartOf.MatchString(text):
				note("channels", text)
			default:
				note("directory", text)
			}
			if !ofDay && !strings.Contains(text, "apart.") { // what lies apart is a file, never on a server
				note("postgres", store.Dollars(text))
			}
			return true
		})
	}
	return nil
}
