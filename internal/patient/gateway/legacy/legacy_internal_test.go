package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/form"
)

var legacyNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// sevenFields is a configuration that names all fields that can have a meaning.
var sevenFields = [legacyFields]vitals.Kind{vitals.HeartRate, vitals.SpO2, vitals.CuffPressure, vitals.Systolic, vitals.Diastolic, vitals.MeanArterial, vitals.RespiratoryRate}

// queue is a Sink that has room for some chunks.
type queue struct{ in chan sent }

// sent is what a device's Sink was given.
type sent struct {
	vitals.Chunk
	deviceClock bool
}

func newQueue() *queue { return &queue{make(chan sent, 64)} }

func (q *queue) put(c sent) bool {
	select {
	case q.in <- c:
		return true
	default:
		return false
	}
}

func (q *queue) Numerics(entries []vitals.Bundle, deviceClock bool) bool {
	return q.put(sent{vitals.Chunk{Signal: vitals.Numerics, Start: entries[0].At, Bundles: entries}, deviceClock})
}

func (q *queue) Event(at time.Time, code, detail string) {
	q.put(sent{Chunk: vitals.Chunk{Signal: vitals.Events, Start: at, Events: []vitals.Event{{At: at, Code: code, Detail: detail}}}})
}

func (*queue) Working(bool)                   {}
func (*queue) HubTime(at time.Time) time.Time { return at }
func (*queue) Close()                         {}

// in is what the device's Sink was given.
func (d *legacyDevice) in() chan sent { return d.to.(*queue).in }

// legacyOf is a device with these fields, whose Sink has room.
func legacyOf(t testing.TB) *legacyDevice {
	marks, err := openLegacyMarks(filepath.Join(t.TempDir(), "marks"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &legacyDevice{id: "ard", kinds: sevenFields, marks: marks, log: slog.New(slog.DiscardHandler), to: newQueue(), tally: newTally(),
		limit: legacyLimits{channel: 7, every: time.Second, maxAge: time.Hour}}
}

func TestLegacyMessage(t *testing.T) {
	d := legacyOf(t)
	for _, c := range []struct {
		form, want string // want: the error's text, or empty
		n          int
	}{
		{"field1=72&field2=97.5", "", 2},
		{"1=72&headers=false&api_key=X&lat=500&foo=bar", "", 1},
		{"status=hello", "", 0},
		{"field1=+72", "", 1}, // a blank before it
		{"field1=72&field2=", "", 1},
		{"field1=NaN", "field1 is not a number", 0},
		{"field1=Inf", "field1 is not a number", 0},
		{"field1=0x48", "field1 is not a number", 0},
		{"field1=7_2", "field1 is not a number", 0},
		{"field1=abc", "field1 is not a number; heart_rate_bpm is 20 to 300", 0},
		{"field1=" + strings.Repeat("1", 40), "field1 is not a number", 0},
		{"field1=1e400", "field1 is not a number", 0},
		{"field2=101", "field2 is out of range; spo2_percent is 50 to 100", 0},
		{"field1=-5", "field1 is out of range", 0},
		{"field8=3", "field8 means nothing for this device", 0},
		{"field9=3", "field that is not field1 to field8", 0},
		{"field01=3", "field that is not field1 to field8", 0},
		{"12=3", "field that is not field1 to field8", 0},
		{"", "there is no value", 0},
		{"field1=72&created_at=yesterday", "created_at is not a time", 0},
		{"field1=72&created_at=2026-11-23 11:59:00&timezone=local", "timezone is not a zone", 0},
		{"field1=72&created_at=2026-11-23T11:59:00%", "created_at is not a time", 0},
		{"field1=72&created_at=2026-11-23", "created_at is not a time", 0},
		{"field1=%ff", "field1 is not a number", 0},
		{"field1=%zz", "field1 is not a number", 0},
		{strings.Repeat("a=1&", 70), "more than 64 parameters", 0},
		{"status=" + strings.Repeat("x", 3000), errLegacyLarge.Error(), 0},
	} {
		p, err := legacyForm(c.form)
		var m legacyMessage
		if err == nil {
			m, err = d.message(p)
		}
		switch {
		case c.want == "" && (err != nil || len(m.numerics) != c.n || len(m.left) != 0):
			t.Errorf("%.40q: %d numbers, %v", c.form, len(m.numerics), err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%.40q: %v, want %q", c.form, err, c.want)
		}
		for _, n := range m.numerics {
			if (n.Quality != vitals.Asserted) != (c.want != "") {
				t.Errorf("%q: quality %v", c.form, n.Quality)
			}
		}
	}
}

// TestLegacyOneBadField: a field that is no value is absent, with its reason and counted, and costs the others nothing. (Seen: 400 for
// the whole message, so that a heart rate was lost as long as no SpO2 was found.)
func TestLegacyOneBadField(t *testing.T) {
	for _, c := range []struct {
		form, why string
		want      []string // kind, quality and value
	}{
		{"field1=88&field2=-999", "field2 is out of range; spo2_percent is 50 to 100", []string{"heart_rate_bpm asserted 88", "spo2_percent out_of_range"}},
		{"field1=72.50&field2=0", "field2 is out of range", []string{"heart_rate_bpm asserted 72.5", "spo2_percent out_of_range"}},
		{"field1=72&field2=nan", "field2 is not a number", []string{"heart_rate_bpm asserted 72", "spo2_percent out_of_range"}},
		{"field1=125&field2=110", "field2 is out of range", []string{"heart_rate_bpm asserted 125", "spo2_percent out_of_range"}},
		{"field1=0&field2=97", "field1 is out of range", []string{"heart_rate_bpm out_of_range", "spo2_percent asserted 97"}},
		{"field1=72&field2=--", "field2 is not a number", []string{"heart_rate_bpm asserted 72", "spo2_percent device_fault"}},
		{"field1=72&field2=98%", "field2 is not a number", []string{"heart_rate_bpm asserted 72", "spo2_percent device_fault"}},
		{"field1=72&field2=%ff", "field2 is not a number", []string{"heart_rate_bpm asserted 72", "spo2_percent device_fault"}},
		{"field1=72&field2=97&field3=36.6", "field3 means nothing for this device; it has field1 (heart_rate_bpm), field2 (spo2_percent)", []string{"heart_rate_bpm asserted 72", "spo2_percent asserted 97"}},
		{"field1=72&field9=3", "field that is not field1 to field8", []string{"heart_rate_bpm asserted 72"}},
		// What is not kept anyway costs nothing.
		{"field1=72&field2=97&status=SpO2 98%", "", []string{"heart_rate_bpm asserted 72", "spo2_percent asserted 97"}},
		{"field1=72&field2=97&status=a;b", "", []string{"heart_rate_bpm asserted 72", "spo2_percent asserted 97"}},
		{"field1=72&status=36\xb0C&lat=%", "", []string{"heart_rate_bpm asserted 72"}},
		{"field1=72\r\n&field2=97\r\n", "", []string{"heart_rate_bpm asserted 72", "spo2_percent asserted 97"}},
	} {
		d := legacyOf(t)
		d.kinds, _ = Device{}.Kinds() // what a device without `fields` has
		p, err := legacyForm(c.form)
		if err != nil {
			t.Fatal(err)
		}
		m, err := d.message(p)
		if err == nil {
			_, err = d.take([]legacyMessage{m}, false, legacyNow)
		}
		if err != nil {
			t.Errorf("%q: %v", c.form, err)
			continue
		}
		var got []string
		for _, n := range (<-d.in()).Bundles[0].Numerics {
			s := n.Kind.String() + " " + n.Quality.String()
			if n.Quality.HasValue() {
				s += fmt.Sprintf(" %g", n.Value)
			}
			got = append(got, s)
		}
		slices.Sort(got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.form, diff)
		}
		hint := ""
		if err := d.hint(m); err != nil {
			hint = err.Error()
		}
		if !strings.Contains(hint, c.why) || c.why == "" && hint != "" || d.counts.Reason != hint || (d.counts.Fields == 1) != (c.why != "") || d.counts.Accepted != 1 {
			t.Errorf("%q: told %q, counted %+v", c.form, hint, d.counts)
		}
	}
	// Of which nothing is a value: refused, and the number before it no longer stands.
	d := legacyOf(t)
	p, _ := legacyForm("field1=0&field2=0")
	m, err := d.message(p)
	if err == nil {
		t.Fatal("two zeros are values")
	}
	d.refused(err, m, legacyNow)
	if c := <-d.in(); len(c.Bundles) != 1 || len(c.Bundles[0].Numerics) != 2 || c.Bundles[0].Numerics[0].Quality != vitals.OutOfRange {
		t.Errorf("noted: %+v", c)
	}
	if d.refused(err, m, legacyNow.Add(time.Millisecond)); len(d.in()) != 0 || d.counts.BadValue != 2 {
		t.Errorf("a flood is noted too: %+v", d.counts)
	}
}

// TestLegacyLocalTime: a device west of UTC that sends local time without its offset is told so. (Seen: 200 each time, stored five hours
// ago, 0 refused, and nothing on the dashboard.)
func TestLegacyLocalTime(t *testing.T) {
	for _, c := range []struct {
		name string
		late []time.Duration // of each message
		want int64
	}{
		{"five hours", []time.Duration{5 * time.Hour, 5*time.Hour + time.Second, 5*time.Hour + 300*time.Millisecond}, 5 * 3600},
		{"nine and a half", []time.Duration{9*time.Hour + 30*time.Minute, 9*time.Hour + 30*time.Minute, 9*time.Hour + 30*time.Minute}, 34200},
		{"twice only", []time.Duration{5 * time.Hour, 5 * time.Hour}, 0},
		{"a backlog", []time.Duration{5 * time.Hour, 5*time.Hour - 7*time.Minute, 5*time.Hour - 14*time.Minute}, 0},
		{"a slow clock", []time.Duration{20 * time.Second, 20*time.Second + 900*time.Millisecond, 21 * time.Second}, 20},
		{"a link that wavers", []time.Duration{20 * time.Second, 8 * time.Second, 20 * time.Second}, 0},
		{"in time", []time.Duration{4 * time.Second, 4 * time.Second, 4 * time.Second}, 0},
		{"put right", []time.Duration{5 * time.Hour, 5 * time.Hour, 5 * time.Hour, time.Second}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := legacyOf(t)
			d.limit.maxAge = 24 * time.Hour
			now, m := legacyNow, legacyMessage{}
			for _, late := range c.late {
				now = now.Add(10 * time.Minute)
				m = legacyMessage{at: now.Add(-late).Truncate(time.Second), numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, 70, vitals.Asserted)}}
				if _, err := d.take([]legacyMessage{m}, false, now); err != nil {
					t.Fatal(err)
				}
			}
			events := 0
			for len(d.in()) > 0 {
				if chunk := <-d.in(); chunk.Signal == vitals.Events && chunk.Events[0].Code == "legacy_clock" {
					events++
				}
			}
			local := c.want > 60
			told := d.hint(m) != nil && strings.Contains(d.hint(m).Error(), "local time without its offset") == local
			if d.counts.LateSeconds != c.want || d.counts.LocalTime != local || told != (c.want != 0) || events != map[bool]int{true: 1, false: 0}[c.want != 0 || c.name == "put right"] {
				t.Errorf("late %d s, told %t, %d events", d.counts.LateSeconds, told, events)
			}
		})
	}
}

func TestLegacyTimesAndReplays(t *testing.T) {
	d := legacyOf(t)
	now := legacyNow
	send := func(at time.Time) error {
		now = now.Add(2 * time.Second)
		_, err := d.take([]legacyMessage{{at: at, numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, 70, vitals.Asserted)}}}, false, now)
		return err
	}
	stamp := legacyNow.Add(-time.Minute)
	for _, c := range []struct {
		name string
		at   time.Time
		want string
	}{
		{"stamped", stamp, ""},
		{"again", stamp, errLegacyReplay.Error()},
		{"before it", stamp.Add(-time.Second), errLegacyReplay.Error()},
		{"after it", stamp.Add(time.Second), ""},
		{"too old", legacyNow.Add(-2 * time.Hour), "older than"},
		{"future", legacyNow.Add(time.Hour), "in the future"},
		{"now", time.Time{}, ""},
		{"far past", time.Unix(0, 0), "older than"},
	} {
		err := send(c.at)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if n := len(d.in()); n != 3 {
		t.Errorf("%d chunks, want 3", n)
	}
	// A restart remembers.
	marks, err := openLegacyMarks(d.marks.path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.marks = marks
	if err := send(stamp.Add(time.Second)); !errors.Is(err, errLegacyReplay) {
		t.Errorf("after a restart: %v", err)
	}
	// The gateway's clock was an hour ahead: what came then does not keep the device out.
	d.marks.set(d.id, now.Add(time.Hour))
	if err := send(time.Time{}); err != nil {
		t.Errorf("after the clock was set back: %v", err)
	}
	// Floods.
	if _, err := d.take([]legacyMessage{{numerics: nil}}, false, now.Add(time.Millisecond)); !errors.Is(err, errLegacyOften) {
		t.Errorf("flood: %v", err)
	}
	// A stuck disk is told, and nothing is lost behind the device's back.
	for len(d.in()) < cap(d.in()) {
		d.in() <- sent{}
	}
	before := d.marks.newest(d.id)
	if err := send(time.Time{}); !errors.Is(err, errLegacyBusy) || !d.marks.newest(d.id).Equal(before) {
		t.Errorf("stuck disk: %v", err)
	}
	want := Counts{Accepted: 4, BadValue: 3, TooOften: 1, Replayed: 3, Busy: 1, Last: d.counts.Last, Reason: errLegacyBusy.Error()}
	if d.counts != want {
		t.Errorf("counted %+v, want %+v", d.counts, want)
	}
	if s := d.counts.since(Counts{BadValue: 1}); s != "bad_value 2, too_often 1, replayed 3, busy 1; the last: "+errLegacyBusy.Error() {
		t.Errorf("told: %q", s)
	}
}

func TestLegacyBulk(t *testing.T) {
	d := legacyOf(t)
	bulk := func(text string) ([]legacyMessage, error) {
		var in []json.RawMessage
		if err := json.Unmarshal([]byte(text), &in); err != nil {
			t.Fatal(err)
		}
		return d.bulkJSON(in, legacyNow)
	}
	m, err := bulk(`[{"delta_t":0,"field1":70},{"delta_t":"15","field1":71},{"delta_t":5,"field1":72}]`)
	if err != nil || len(m) != 3 || !m[2].at.Equal(legacyNow) || !m[0].at.Equal(legacyNow.Add(-20*time.Second)) || m[1].numerics[0].Value != 71 {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = bulk(`[{"created_at":"2026-11-23T11:50:00Z","field1":70},{"created_at":"2026-11-23 06:49:00 -0500","field1":71}]`)
	if err != nil || len(m) != 2 || m[0].numerics[0].Value != 71 {
		t.Errorf("not in the order of time: %+v, %v", m, err)
	}
	for text, want := range map[string]string{
		`[]`: "updates is empty", `[{"field1":70}]`: "message 1: it needs either",
		`[{"delta_t":0,"field1":70},{"delta_t":0,"field1":70}]`:                                                 "message 2: delta_t",
		`[{"delta_t":-1,"field1":70}]`:                                                                          "delta_t",
		`[{"delta_t":1e300,"field1":70}]`:                                                                       "delta_t",
		`[{"delta_t":1,"field1":70},{"created_at":"2026-11-23T11:50:00Z","field1":70}]`:                         "both",
		`[{"created_at":"2026-11-23T11:50:00Z","field1":70},{"created_at":"2026-11-23T11:50:00Z","field1":71}]`: "same time",
		`[{"delta_t":1,"field1":70},{"delta_t":1,"status":""}]`:                                                 "message 2: there is no value",
		`[{"delta_t":1,"field1":[70]}]`:                                                                         "neither text nor number",
		`["x"]`:                                                                                                 "not a JSON object",
		`[` + strings.Repeat(`{"delta_t":1,"field1":70},`, maxLegacyMessages) + `{"delta_t":1,"field1":70}]`: "more than 600",
	} {
		if _, err := bulk(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	m, err = d.bulkCSV(form.Values{Of: map[string]string{"time_format": "relative", "updates": "0,70,97|10,71,,|"}}, legacyNow)
	if err != nil || len(m) != 2 || len(m[0].numerics) != 2 || len(m[1].numerics) != 1 {
		t.Errorf("CSV: %+v, %v", m, err)
	}
	for _, p := range []map[string]string{{"updates": "0,70"}, {"time_format": "absolute", "updates": "0,70"}, {"time_format": "relative", "updates": "0" + strings.Repeat(",", 14)},
		{"time_format": "relative"}, {"time_format": "relative", "updates": strings.Repeat("1,70|", 700)}} {
		if _, err := d.bulkCSV(form.Values{Of: p}, legacyNow); err == nil {
			t.Errorf("CSV %.60v: taken", p)
		}
	}
	// One bulk update is one chunk, which the codec takes.
	d.limit.maxAge = 24 * time.Hour
	m, err = bulk(`[` + strings.Repeat(`{"delta_t":1,"field1":70,"field2":97,"field3":1,"field4":120,"field5":80,"field6":93,"field7":15},`, maxLegacyMessages-1) + `{"delta_t":1,"field1":70}]`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.take(m, true, legacyNow); err != nil {
		t.Fatal(err)
	}
	if _, err := vitals.Encode((<-d.in()).Chunk); err != nil {
		t.Error(err)
	}
	if _, err := d.take(m, true, legacyNow.Add(time.Minute)); !errors.Is(err, errLegacyReplay) {
		t.Errorf("the same bulk update again: %v", err)
	}
}

func TestLegacyKeys(t *testing.T) {
	folder := t.TempDir()
	key, err := MakeKey(folder, "ard")
	if err != nil || len(key) != legacyKeyLength || strings.Trim(key, legacyAlphabet) != "" {
		t.Fatalf("%q, %v", key, err)
	}
	path := filepath.Join(folder, legacyKeyFile)
	b, err := os.ReadFile(path)
	if err != nil || bytes.Contains(b, []byte(key)) {
		t.Fatalf("the key itself is kept, or nothing: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	owner := func(k string) string {
		t.Helper()
		id, err := openLegacyKeys(path).owner(k)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if owner(key) != "ard" || owner("") != "" || owner(strings.ToLower(key)) != "" || owner(key+"A") != "" {
		t.Error("keys are not told apart")
	}
	other, err := MakeKey(folder, "ard")
	if err != nil || owner(key) != "" || owner(other) != "ard" {
		t.Errorf("after a new key the old one still works, or none: %v", err)
	}
	if err := RevokeKey(folder, "ard"); err != nil || owner(other) != "" {
		t.Errorf("a revoked key works: %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLegacyKeys(path).owner(key); err == nil {
		t.Error("a damaged file is taken for one without keys")
	}
}

func TestLegacyGuard(t *testing.T) {
	g, now := newLegacyGuard(), legacyNow
	for i := range legacyGuesses {
		if !g.may("10.0.0.9", now) {
			t.Fatalf("kept out after %d guesses", i)
		}
		g.failed("10.0.0.9", now)
	}
	if g.may("10.0.0.9", now) || !g.may("10.0.0.8", now) {
		t.Error("whoever guessed is not kept out, or others are")
	}
	if g.may("10.0.0.9", now.Add(legacyGuessEvery/2)) || !g.may("10.0.0.9", now.Add(2*legacyGuessEvery)) {
		t.Error("not let in again at its time")
	}
	for i := range 3 * maxLegacyGuess {
		g.failed(string(rune('a'+i%26))+strings.Repeat("x", i%400)+string(rune('0'+i/400)), now)
	}
	if len(g.tries) > maxLegacyGuess {
		t.Errorf("%d addresses are remembered", len(g.tries))
	}
	if c := g.count(); c.BadKey != legacyGuesses+3*maxLegacyGuess || c.TooOften != 2 {
		t.Errorf("%+v", c)
	}
}

// FuzzLegacyHTTP: whatever a stranger or a device sends, it is answered, and only numbers in range get through, as asserted ones.
func FuzzLegacyHTTP(f *testing.F) {
	f.Add("/update?api_key=K&field1=72", "", "", false)
	f.Add("/update", "application/json", `{"api_key":"K","field1":72.5,"created_at":"2026-11-23T11:50:00Z"}`, true)
	f.Add("/channels/7/bulk_update.json", "application/json", `{"write_api_key":"K","updates":[{"delta_t":0,"field2":97}]}`, true)
	f.Add("/channels/7/bulk_update.csv", "", `write_api_key=K&time_format=relative&updates=0,70,97|1,71`, true)
	d := legacyOf(f)
	f.Fuzz(func(t *testing.T, target, media, body string, post bool) {
		method := http.MethodGet
		if post {
			method = http.MethodPost
		}
		r, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("Content-Type", media)
		check := func(list []legacyMessage) {
			for _, m := range list {
				for _, n := range m.numerics {
					low, high := n.Kind.Range()
					if n.Quality.HasValue() && n.Quality != vitals.Asserted || n.Quality.HasValue() && !(n.Value >= low && n.Value <= high) || math.IsNaN(n.Value) {
						t.Errorf("%+v", n)
					}
				}
			}
		}
		if p, err := legacyParameters(httptest.NewRecorder(), r, maxLegacyBulk); err == nil {
			if m, err := d.message(p); err == nil {
				check([]legacyMessage{m})
			}
			if list, err := d.bulkCSV(p, legacyNow); err == nil {
				check(list)
			}
		}
		r.Body = http.NoBody
		var in []json.RawMessage
		if json.Unmarshal([]byte(body), &in) == nil {
			if list, err := d.bulkJSON(in, legacyNow); err == nil {
				check(list)
			}
		}
	})
}

// FuzzLegacyPayload: the same of what is published.
func FuzzLegacyPayload(f *testing.F) {
	f.Add("channels/7/publish", []byte("field1=72&field2=97&status=ok"))
	f.Add("channels/7/publish/fields/field1", []byte("72"))
	f.Add("channels/8/publish", []byte("field1=72"))
	d := legacyOf(f)
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		p, err := legacyPayload(7, topic, payload)
		if err != nil {
			return
		}
		if !strings.HasPrefix(topic, "channels/7/publish") {
			t.Fatalf("%q is the device's topic", topic)
		}
		if m, err := d.message(p); err == nil {
			for _, n := range m.numerics {
				if n.Quality.HasValue() && n.Quality != vitals.Asserted {
					t.Errorf("%+v", n)
				}
			}
		}
	})
}
