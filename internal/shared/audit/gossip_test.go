package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/shared/audit"
)

// hubOf is one hub's program: its log, and what it does with what witnesses have seen.
type hubOf struct {
	log   *audit.Log
	x     *audit.Exchange
	found []audit.Contradiction
}

func newHubOf(t *testing.T, name, logDir, data string) *hubOf {
	t.Helper()
	h := &hubOf{log: deskLog(t, logDir, "spiffe://x/hub/"+name)}
	t.Cleanup(func() { _ = h.log.Close() })
	others, err := audit.OpenWitnesses(filepath.Join(data, "seen.note"), "")
	if err != nil {
		t.Fatal(err)
	}
	h.x, err = audit.NewExchange(name, h.log, audit.NewDesk(h.log), others, filepath.Join(data, "audit.split"),
		func(_ context.Context, c audit.Contradiction) { h.found = append(h.found, c) })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hubOf) add(t *testing.T, actions ...string) {
	t.Helper()
	for _, a := range actions {
		appendOne(t, h.log, a)
	}
	if _, err := h.log.Sign(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// asks lets a witness ask the hub called name once, as far as the wire goes: in JSON.
func (h *hubOf) asks(t *testing.T, name string, w *audit.Witnesses, who string) error {
	t.Helper()
	a, err := w.Ask(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	read, err := audit.ReadAsk(b)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	c, err := h.x.Answer(t.Context(), who, read, false)
	if err != nil {
		t.Fatal(err)
	}
	return w.Answer(name, stated(t, c))
}

func witnessesIn(t *testing.T, dir string) *audit.Witnesses {
	t.Helper()
	w, err := audit.OpenWitnesses(filepath.Join(dir, "witness.note"), "")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// fork is a log in two views: the same key and beginning, another entry behind it.
func fork(t *testing.T, begin int) (one, other string) {
	t.Helper()
	one = t.TempDir()
	l := deskLog(t, one, "spiffe://x/hub/hub")
	for range begin {
		appendOne(t, l, "patient:view")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other = copyDir(t, one)
	if err := os.Chmod(filepath.Join(other, "key"), 0o600); err != nil {
		t.Fatal(err)
	}
	return one, other
}

// TestGossip: witnesses that saw one log find that they did, with the proof of what each saw, and a
// hub takes them for what they are.
func TestGossip(t *testing.T) {
	h := newHubOf(t, "hub", t.TempDir(), t.TempDir())
	gateway, station := witnessesIn(t, t.TempDir()), witnessesIn(t, t.TempDir())
	for range 3 {
		h.add(t, "patient:view", "patient:view", "patient:break-glass")
		for _, w := range []*audit.Witnesses{gateway, station} {
			if err := h.asks(t, "hub", w, "spiffe://x/gateway/g"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.asks(t, "hub", gateway, "g"); err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*audit.Witnesses{"gateway": gateway, "station": station} {
		if s := w.State(); s.Alarm != "" || s.Compared.IsZero() || s.Size != 9 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if len(h.found) != 0 || h.x.State() != "" {
		t.Errorf("the hub found %v, says %q", h.found, h.x.State())
	}
}

// TestSplitView shows two logs of one key to two witnesses, which meet at an honest hub: in each
// way in which the two views can differ every one of the three finds it, keeps the evidence, and
// stays alarmed over a restart and whatever it is shown later.
func TestSplitView(t *testing.T) {
	for _, c := range []struct {
		name        string
		ours, other []string // what comes behind the common beginning
		says        string
	}{
		{"two roots at one size", []string{"a"}, []string{"b"}, "two different roots"},
		{"a longer one elsewhere", []string{"a"}, []string{"b", "c", "d"}, "entries"},
		{"a shorter one elsewhere", []string{"a", "b", "c"}, []string{"d"}, "entries"},
		{"cut", nil, []string{"patient:break-glass"}, "entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			oneDir, otherDir := fork(t, 5)
			data := t.TempDir()
			honest, lying := newHubOf(t, "hub", oneDir, data), newHubOf(t, "hub", otherDir, t.TempDir())
			honest.add(t, c.ours...)
			lying.add(t, c.other...)
			gwDir, stDir := t.TempDir(), t.TempDir()
			gateway, station := witnessesIn(t, gwDir), witnessesIn(t, stDir)
			if err := honest.asks(t, "hub", station, "spiffe://x/workstation/w"); err != nil {
				t.Fatal(err)
			}
			if err := lying.asks(t, "hub", gateway, "spiffe://x/gateway/g"); err != nil {
				t.Fatal(err)
			}
			// The gateway reaches the honest hub, and tells what it saw.
			if err := honest.asks(t, "hub", gateway, "spiffe://x/gateway/g"); !errors.Is(err, audit.ErrInconsistent) {
				t.Errorf("the gateway believes both: %v", err)
			}
			if len(honest.found) != 1 || !errors.Is(honest.found[0].Err, audit.ErrSplit) || honest.found[0].Witness != "spiffe://x/gateway/g" ||
				!strings.Contains(honest.x.State(), "two views") {
				t.Errorf("the hub found %v, says %q", honest.found, honest.x.State())
			}
			// The workstation hears of it from the hub: at once where it can judge by itself, else
			// with the next statement.
			err := honest.asks(t, "hub", station, "spiffe://x/workstation/w")
			if err == nil {
				err = honest.asks(t, "hub", station, "spiffe://x/workstation/w")
			}
			if !errors.Is(err, audit.ErrSplit) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the workstation: %v", err)
			}
			for name, file := range map[string]string{"hub": filepath.Join(data, "audit.split"), "workstation": filepath.Join(stDir, "witness.note.split")} {
				s, err := audit.ReadSplit(file)
				if err != nil || s.Hub != "hub" || s.Ours == s.Theirs || s.What == "" {
					t.Errorf("evidence of the %s: %+v %v", name, s, err)
				}
			}
			// Nothing heals it.
			honest.add(t, "patient:view")
			_ = honest.asks(t, "hub", station, "spiffe://x/workstation/w")
			if s := station.State(); !strings.Contains(s.Alarm, "two views") {
				t.Errorf("shown a good log again: %+v", s)
			}
			if s := witnessesIn(t, stDir).State(); !strings.Contains(s.Alarm, "witness.note.split") {
				t.Errorf("after a restart: %+v", s)
			}
			again, err := audit.NewExchange("hub", honest.log, nil, witnessesIn(t, t.TempDir()), filepath.Join(data, "audit.split"), func(context.Context, audit.Contradiction) {})
			if err != nil || !strings.Contains(again.State(), "audit.split") {
				t.Errorf("the hub after a restart: %v", err)
			}
		})
	}
}

// TestHubsWitnessEachOther: a hub that has seen another's log finds that a witness was shown
// another form of it, and tells others.
func TestHubsWitnessEachOther(t *testing.T) {
	oneDir, otherDir := fork(t, 5)
	a, lying := newHubOf(t, "hub", oneDir, t.TempDir()), newHubOf(t, "hub", otherDir, t.TempDir())
	a.add(t, "patient:view", "patient:view")
	lying.add(t, "session:sign-in")
	bData := t.TempDir()
	b := newHubOf(t, "hub-2", t.TempDir(), bData)
	b.add(t, "patient:view")
	if err := a.asks(t, "hub", b.x.Others(), "spiffe://x/hub/hub-2"); err != nil {
		t.Fatal(err)
	}
	gateway, station := witnessesIn(t, t.TempDir()), witnessesIn(t, t.TempDir())
	if err := lying.asks(t, "hub", gateway, "g"); err != nil {
		t.Fatal(err)
	}
	if err := a.asks(t, "hub", station, "w"); err != nil {
		t.Fatal(err)
	}
	if err := b.asks(t, "hub-2", gateway, "g"); err != nil && !errors.Is(err, audit.ErrSplit) {
		t.Fatal(err)
	}
	// What hub-2 heard it has the first hub prove, which cannot.
	err := a.asks(t, "hub", b.x.Others(), "spiffe://x/hub/hub-2")
	if !errors.Is(err, audit.ErrSplit) || !strings.Contains(b.x.State(), "two views") {
		t.Errorf("hub-2: %v, says %q", err, b.x.State())
	}
	if _, err := audit.ReadSplit(filepath.Join(bData, "seen.note.split")); err != nil {
		t.Error(err)
	}
	// And it passes on what the gateway saw to the workstation, without the first hub.
	if err := b.asks(t, "hub-2", station, "w"); err != nil {
		t.Fatal(err)
	}
	if err := a.asks(t, "hub", station, "w"); !errors.Is(err, audit.ErrSplit) {
		t.Errorf("the workstation: %v", err)
	}
}

// TestOtherKeysProveNothing: a component that makes up a log of its own key accuses no one but
// itself; a hub that remembers another key than a witness is a contradiction.
func TestOtherKeysProveNothing(t *testing.T) {
	h := newHubOf(t, "hub", t.TempDir(), t.TempDir())
	h.add(t, "patient:view")
	forged := newHubOf(t, "hub", t.TempDir(), t.TempDir())
	forged.add(t, "patient:view", "patient:view")
	liar, station := witnessesIn(t, t.TempDir()), witnessesIn(t, t.TempDir())
	if err := forged.asks(t, "hub", liar, "liar"); err != nil {
		t.Fatal(err)
	}
	if err := h.asks(t, "hub", station, "w"); err != nil {
		t.Fatal(err)
	}
	_ = h.asks(t, "hub", liar, "spiffe://x/gateway/liar")
	if len(h.found) != 1 || !errors.Is(h.found[0].Err, audit.ErrTampered) || h.found[0].Witness != "spiffe://x/gateway/liar" || h.x.State() != "" {
		t.Errorf("the hub found %v, says %q", h.found, h.x.State())
	}
	if err := h.asks(t, "hub", station, "w"); err != nil || station.State().Alarm != "" {
		t.Errorf("the workstation hears a liar: %v %+v", err, station.State())
	}
	theirs, _ := liar.Of("hub")
	s, _ := theirs.Sighting()
	if err := station.Hear([]audit.Sighting{s}); !errors.Is(err, audit.ErrSplit) {
		t.Errorf("a hub that vouches for another key: %v", err)
	}
	s.Checkpoint = strings.Replace(s.Checkpoint, "\n2\n", "\n3\n", 1)
	if err := witnessesIn(t, t.TempDir()).Hear([]audit.Sighting{s}); err != nil {
		t.Errorf("about a log that is not known: %v", err)
	}
}

// TestLogKeepsItsHub: which log belongs to which hub is known after a restart of the witness too,
// also of a hub that no longer says it.
func TestLogKeepsItsHub(t *testing.T) {
	dir, logDir := t.TempDir(), t.TempDir()
	h := newHubOf(t, "hub", logDir, t.TempDir())
	h.add(t, "patient:view")
	if err := h.asks(t, "hub", witnessesIn(t, dir), "w"); err != nil {
		t.Fatal(err)
	}
	h.add(t, "patient:view")
	silent := func(from int64) []byte {
		c, err := h.log.Consistency(from)
		if err != nil {
			t.Fatal(err)
		}
		c.Origin = ""
		return stated(t, c)
	}
	w := witnessesIn(t, dir)
	if err := w.Answer("hub", silent(1)); !errors.Is(err, audit.ErrInconsistent) || !strings.Contains(err.Error(), "any more") {
		t.Errorf("a log that names its hub no more: %v", err)
	}
	w = witnessesIn(t, dir)
	if err := w.Answer("hub-2", silent(0)); !errors.Is(err, audit.ErrInconsistent) || !strings.Contains(err.Error(), `"hub-2"`) {
		t.Errorf("the log under another name: %v", err)
	}
	if s := witnessesIn(t, dir).State(); !strings.Contains(s.Alarm, "hub-2") {
		t.Errorf("and after another restart: %+v", s)
	}

	// What is damaged or taken away is said, and stays.
	note := filepath.Join(dir, "witness.note")
	book, err := os.ReadFile(note + ".hub")
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func() error{
		"damaged": func() error { return os.WriteFile(note+".hub", book[:len(book)/2], 0o600) },
		"another hub's": func() error {
			return os.WriteFile(note+".hub", []byte(strings.ReplaceAll(string(book), `"hub": "hub"`, `"hub": "hub-9"`)), 0o600)
		},
		"gone": func() error { return errors.Join(os.WriteFile(note+".hub", book, 0o600), os.Remove(note)) },
	} {
		saved, _ := os.ReadFile(note)
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.OpenWitnesses(note, ""); err == nil || !strings.Contains(err.Error(), note) {
			t.Errorf("%s: %v", what, err)
		}
		if err := errors.Join(os.WriteFile(note, saved, 0o600), os.WriteFile(note+".hub", book, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTwoQuestionsAtOnce: two answers that cross each other are no contradiction, and the later one
// loses nothing.
func TestTwoQuestionsAtOnce(t *testing.T) {
	h := newHubOf(t, "hub", t.TempDir(), t.TempDir())
	h.add(t, "patient:view")
	w := witnessesIn(t, t.TempDir())
	answer := func(a audit.Ask) []byte {
		c, err := h.x.Answer(t.Context(), "w", a, false)
		if err != nil {
			t.Fatal(err)
		}
		return stated(t, c)
	}
	for range 2 { // from nothing, and from something
		first, _ := w.Ask("hub")
		second, _ := w.Ask("hub")
		slow := answer(first)
		h.add(t, "patient:view")
		fast := answer(second)
		for _, b := range [][]byte{fast, slow} {
			if err := w.Answer("hub", b); err != nil {
				t.Errorf("crossed: %v", err)
			}
		}
	}
	first, _ := w.Ask("hub")
	second, _ := w.Ask("hub")
	h.add(t, "patient:view")
	early := answer(first)
	h.add(t, "patient:view")
	late := answer(second)
	for _, b := range [][]byte{early, late} {
		if err := w.Answer("hub", b); err != nil {
			t.Errorf("one after the other: %v", err)
		}
	}
	if err := h.asks(t, "hub", w, "w"); err != nil || w.State().Size != 5 || w.State().Alarm != "" {
		t.Errorf("%v %+v", err, w.State())
	}
}

// TestUncomparedAlarms: a hub that once proved what others saw, and does not any more, is an alarm
// after half an hour, also for a witness that was restarted; an older hub that never did is none.
func TestUncomparedAlarms(t *testing.T) {
	for _, before := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := newHubOf(t, "hub", t.TempDir(), t.TempDir())
			dir := t.TempDir()
			h.add(t, "patient:view")
			tell := func(w *audit.Witnesses, proves bool) {
				a, err := w.Ask("hub")
				if err != nil {
					t.Fatal(err)
				}
				c, err := h.log.Consistency(a.From, a.Also...)
				if err != nil {
					t.Fatal(err)
				}
				if !proves {
					c.Also = nil
				}
				if err := w.Answer("hub", stated(t, c)); err != nil {
					t.Fatal(err)
				}
			}
			tell(witnessesIn(t, dir), before)
			w := witnessesIn(t, dir)
			h.add(t, "patient:view")
			if err := w.Hear([]audit.Sighting{{Hub: "hub", Key: h.log.VerifierKey(), Checkpoint: h.log.Checkpoint().Signed}}); err != nil {
				t.Fatal(err)
			}
			h.add(t, "patient:view")
			for range 11 {
				time.Sleep(audit.WitnessEvery)
				tell(w, false)
			}
			if s := w.State(); strings.Contains(s.Alarm, "has not proven") != before {
				t.Errorf("a hub that proved before (%v): %+v", before, s)
			}
			tell(w, true)
			if s := w.State(); s.Alarm != "" || s.Compared.IsZero() {
				t.Errorf("proven: %+v", s)
			}
		})
	}
}

// FuzzReadAsk: whatever is taken is within its bounds, and is read again as the same.
func FuzzReadAsk(f *testing.F) {
	f.Add([]byte(`{"from":3,"also":[5,7],"seen":[{"hub":"hub","key":"vitalseal-audit+1+x","checkpoint":"c"}]}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"from":-1}`))
	f.Add([]byte(`{"from":1}{"from":2}`))
	f.Add([]byte(`{"from":1,"From":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := audit.ReadAsk(b)
		if err != nil {
			if !errors.Is(err, audit.ErrAsk) {
				t.Fatal(err)
			}
			return
		}
		if a.From < 0 || len(a.Also) > audit.MaxAlso || len(a.Seen) > audit.MaxSightings {
			t.Fatalf("%+v", a)
		}
		for _, s := range a.Seen {
			if s.Hub == "" || strings.ContainsAny(s.Hub, "/\\*?[\n") {
				t.Fatalf("%+v", s)
			}
		}
	})
}

// FuzzWitnessAnswer: no answer of a hub makes a witness forget what it has, and what it heard stays
// bounded.
func FuzzWitnessAnswer(f *testing.F) {
	dir := f.TempDir()
	l, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), quiet)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	if _, err := l.Append(context.Background(), audit.Entry{Person: "p"}); err != nil {
		f.Fatal(err)
	}
	if _, err := l.Sign(context.Background()); err != nil {
		f.Fatal(err)
	}
	first, err := l.Consistency(0)
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(first)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	first.Also = []audit.Beginning{{From: 1}, {From: 9}}
	first.Seen = []audit.Sighting{{Hub: "hub", Key: first.Key, Checkpoint: first.Checkpoint}}
	more, err := json.Marshal(first)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(more)
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := audit.OpenWitnesses(filepath.Join(t.TempDir(), "w.note"), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Answer("hub", good); err != nil {
			t.Fatal(err)
		}
		_ = w.Answer("hub", b)
		one, err := w.Of("hub")
		if err != nil || one.Size() < 1 || len(one.Ask().Also) > audit.MaxAlso {
			t.Fatalf("%v, %d entries", err, one.Size())
		}
	})
}
