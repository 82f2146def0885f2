package main_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"vitalseal/internal/hub/store/storetest/pgserver"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/shared/audit"
)

// TestThreeHubs kills each of three hubs on one database while gateways send and a nurse looks: every chunk is stored once, the
// gateways go on at another hub, and signed-in users stay signed in and see all patients, whichever hub their readings reach.
func TestThreeHubs(t *testing.T) {
	dsn := pgserver.Database(t)
	seed := startDemo(t, "--patients", "4", "--hubs", "3", "--database", dsn, "--for", "1s")
	seed.awaitEnd(t)
	if seed.err != nil {
		t.Fatalf("seeding: %v", seed.err)
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	w, logs := seed.ward(t), t.TempDir()
	start(t, logs, "overlay", "--data", seed.dir+"/overlay")
	hubs := map[string]*part{}
	names := []string{"hub", "hub-2", "hub-3"}
	for _, name := range names {
		hubs[name] = start(t, logs, "hub", "--config", seed.dir+"/"+name+".yaml")
	}
	start(t, logs, "connect", "--data", seed.dir+"/connect", "--listen", seed.listen, "--plain")
	admin := signInAt(t, seed.url(), w.Admin, &seed.secrets)
	doctor := signInAt(t, seed.url(), w.signIn(t, "doctor"), &seed.secrets)
	before := admin.delivery()
	var gateways []string
	running := map[string]*part{}
	for _, p := range w.Patients {
		if !slices.Contains(gateways, p.Gateway) {
			gateways = append(gateways, p.Gateway)
			running[p.Gateway] = start(t, logs, "gateway", "--config", seed.dir+"/"+p.Gateway+"/gateway.yaml", "--bench", seed.dir+"/"+p.Gateway+"/bench.yaml")
		}
	}

	// Of each patient, waves and numbers come all the time; a cuff's pressure and events do not.
	stored := func(since time.Time) error { return awaitStreams(t, db, since, 2*len(w.Patients)) }
	begun := time.Now()
	await(t, "deliveries of every stream", func() error { return stored(begun) })
	spread := map[int64]bool{}
	for _, hub := range sendersOf(t, db) {
		spread[hub] = true
	}
	if len(spread) < 2 {
		t.Errorf("all streams reach one hub: the overlay does not spread them")
	}
	seesAll(t, doctor, w)
	for _, name := range names {
		await(t, name+" as a witness of the other hubs' logs", func() error { return witnessesOthers(seed.dir, name, names) })
	}

	for _, name := range names {
		hubs[name].kill()
		killed := time.Now()
		await(t, "every stream at another hub after the end of "+name, func() error { return stored(killed) })
		worst := worstDelay(t, db, killed.Add(-2*time.Second))
		t.Logf("%s killed: no chunk took longer than %v from its first sample to a hub", name, worst.Round(time.Millisecond))
		if worst > 30*time.Second {
			t.Errorf("the gateways needed %v to find another hub", worst)
		}
		// The same sessions, without signing in again; a request that was under way may fail.
		await(t, "the administrator's session", func() error {
			return admin.Do(context.Background(), http.MethodGet, "/api/admin/delivery", nil, nil)
		})
		seesAll(t, doctor, w)
		hubs[name] = start(t, logs, "hub", "--config", seed.dir+"/"+name+".yaml")
	}

	seesGap(t, seed, db)

	produced := map[stream]int64{}
	for _, gw := range gateways {
		running[gw].stop()
		var last gateway.Status
		await(t, "the last word of "+gw, func() (err error) {
			if last, err = gatewayStatus(seed.dir, gw); err == nil && last.OutboxRecords > 0 {
				err = errors.New("not empty")
			}
			return err
		})
		for _, s := range last.Streams {
			if s.Acked != s.Produced || s.Dropped+s.Rejected+s.Lost != 0 {
				t.Errorf("%s: not delivered: %+v", gw, s)
			}
			produced[stream{s.Sensor, s.Signal}] += int64(s.Produced)
		}
	}
	after := admin.delivery()
	total := int64(0)
	for s, n := range produced {
		want := before[s]
		want.Chunks += n
		if got := after[s]; got != want {
			t.Errorf("%v: the hubs have %+v, want %+v", s, got, want)
		}
		total += n
	}
	t.Logf("%d chunks produced while three hubs were killed, each is stored once", total)
	// What a hub has beside the database is backed up while it runs, and comes back.
	kept := t.TempDir()
	if got := command(t, "backup", "--data", seed.dir+"/hub-2", "--to", kept+"/b", "--keys", kept+"/k"); got.code != 0 || !strings.Contains(got.out, "PostgreSQL") {
		t.Errorf("backup of a hub with a database: %+v", got)
	}
	if got := command(t, "restore", "--from", kept+"/b", "--keys", kept+"/k", "--root-key", seed.dir+"/hub-2/root.key", "--data", kept+"/hub-2",
		"--overlay", kept+"/overlay"); got.code != 0 {
		t.Errorf("restore of it: %+v", got)
	}
	seed.secrets.addFolder(t, seed.dir)
	seed.secrets.absentFrom(t, logs)
}

// witnessesOthers is nil when a hub remembers, in its own folder, a signed checkpoint of every other hub's log by that hub's own key, and
// each other hub proves to it what further witnesses saw of that log.
func witnessesOthers(dir, name string, names []string) error {
	for _, other := range names {
		if other == name {
			continue
		}
		note := filepath.Join(dir, name, "witness-"+other+".note")
		if other == "hub" {
			note = filepath.Join(dir, name, "witness.note")
		}
		key, seen, err := audit.ReadWitness(note)
		if err != nil {
			return err
		}
		public, err := os.ReadFile(filepath.Join(dir, other, "audit.pub"))
		if err != nil {
			return err
		}
		if key != strings.TrimSpace(string(public)) || seen.Size == 0 {
			return fmt.Errorf("what it remembers of %s is %d entries of a log with the key %.40s", other, seen.Size, key)
		}
		var book struct {
			Hub      string `json:"hub"`
			Compares bool   `json:"compares"`
		}
		b, err := os.ReadFile(note + ".hub")
		if err == nil {
			err = json.Unmarshal(b, &book)
		}
		if err != nil || book.Hub != other || !book.Compares {
			return fmt.Errorf("%s does not prove what others saw of its log: %+v, %w", other, book, err)
		}
	}
	return nil
}

// awaitStreams is nil when n streams of oximeters have stored a chunk that began after a moment.
func awaitStreams(t *testing.T, db *sql.DB, since time.Time, n int) error {
	t.Helper()
	var got int
	if err := db.QueryRow(`SELECT count(*) FROM (SELECT DISTINCT s.sensor, s.signal FROM recent r JOIN streams s ON s.id = r.stream
		WHERE r.start > $1 AND s.sensor LIKE '%/oxi%' AND s.signal <> $2) x`, since.UnixMicro(), vitals.Events).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if got != n {
		return fmt.Errorf("%d of %d streams", got, n)
	}
	return nil
}

// sendersOf are the hub processes that stored chunks lately.
func sendersOf(t *testing.T, db *sql.DB) (hubs []int64) {
	t.Helper()
	rows, err := db.Query("SELECT DISTINCT hub FROM recent WHERE start > $1", time.Now().Add(-5*time.Second).UnixMicro())
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var hub int64
		if err := rows.Scan(&hub); err != nil {
			t.Fatal(err)
		}
		hubs = append(hubs, hub)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return hubs
}

// worstDelay is the longest time from a chunk's first sample until a hub had it.
func worstDelay(t *testing.T, db *sql.DB, since time.Time) time.Duration {
	t.Helper()
	var micros int64
	if err := db.QueryRow("SELECT coalesce(max(received - start), 0) FROM recent WHERE start > $1", since.UnixMicro()).Scan(&micros); err != nil {
		t.Fatal(err)
	}
	return time.Duration(micros) * time.Microsecond
}

// seesAll waits until the doctor is shown a number of every patient live, by whichever hub answers.
func seesAll(t *testing.T, doctor api, w ward) {
	t.Helper()
	q := url.Values{"waveforms": {"none"}}
	for _, p := range w.Patients {
		q.Add("patient", p.ID)
	}
	await(t, "live numbers of every patient", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		seen := map[string]bool{}
		began := time.Now()
		u := doctor.Base()
		u.Scheme, u.Path, u.RawQuery = "ws", "/api/live", q.Encode()
		conn, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPHeader: doctor.Cookies()}) //nolint:bodyclose // the library closes it
		if err != nil {
			doctor.Refresh(ctx)
			return err
		}
		defer func() { _ = conn.CloseNow() }()
		conn.SetReadLimit(1 << 20)
		for len(seen) < len(w.Patients) && err == nil {
			var b []byte
			if _, b, err = conn.Read(ctx); err != nil {
				break
			}
			var m struct {
				Type, Patient string
				Numerics      map[string]struct{ At time.Time }
			}
			if err = json.Unmarshal(b, &m); err != nil || m.Type != "numerics" {
				continue
			}
			for _, n := range m.Numerics { // taken since we look: what was before is no proof
				if n.At.After(began) {
					seen[m.Patient] = true
				}
			}
		}
		if len(seen) < len(w.Patients) {
			return fmt.Errorf("%d of %d patients: %w", len(seen), len(w.Patients), err)
		}
		return nil
	})
}

// seesGap looks at the charts of a patient of whom a gateway says that it had to drop something.
func seesGap(t *testing.T, d *demo, db *sql.DB) {
	t.Helper()
	at := time.Now().Add(-10 * time.Minute).Truncate(time.Minute)
	if _, err := db.Exec(`INSERT INTO gaps (sensor, signal, epoch, first, last, begins, ends, reason, noted)
		SELECT id, 2, '\x01', 0, 179, $1, $2, 'outbox_full', $2 FROM devices WHERE id LIKE '%/oxi-a-1'`, at.UnixMicro(), at.Add(3*time.Minute).UnixMicro()); err != nil {
		t.Fatal(err)
	}
	// The placement is as old as the demo; the gap must lie in it.
	for _, q := range []string{"UPDATE placements SET begins = begins - 86400000000", "UPDATE stays SET begins = begins - 86400000000"} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	p := openBrowser(t, d.url())
	p.signIn(d.ward(t).signIn(t, "doctor"))
	p.await("the beds", `document.querySelectorAll('[data-testid^="bed-"]').length === 4`)
	p.do(chromedp.Click(testid("bed-a-1")))
	gap := `/numbers dropped; the gateway had no room left/.test(document.querySelector('[data-testid="gaps"]')?.textContent ?? '')`
	p.await("the gap below the last hour", gap)
	p.shot("gap")
	p.do(chromedp.Click(testid("range-43200")))
	p.await("a month", `document.querySelector('.range[aria-pressed="true"]').textContent === '30 days' && `+gap+
		` && /^Heart rate, bpm: [0-9]/.test(document.querySelector('[data-testid="trends"] [role="img"]')?.ariaLabel ?? '')`)
	p.shot("month")
	if _, err := db.Exec("DELETE FROM gaps"); err != nil { // or it would be missing from the account
		t.Fatal(err)
	}
}

// TestMain stops the database that TestThreeHubs starts.
func TestMain(m *testing.M) { pgserver.Main(m) }
