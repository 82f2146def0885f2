package main_test

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// damagedStore is a hub's store with two days of one patient.
type damagedStore struct {
	t       *testing.T
	data    string
	log     bytes.Buffer
	store   *store.Store
	engine  *access.Engine
	patient string
	seq     uint64
	first   time.Time // noon of the day that suffers
}

const damagedSensor = "spiffe://test.vitalseal.internal/sensor/oxi-1"

// TestDamagedPages: pages of a day's file are overwritten, while the hub is down and while it runs. A reader of that day gets an error
// or what was stored, never something else; the other days are read and written as before; `vitalseal check` names the file; every chunk is
// either read or in the day that is named.
func TestDamagedPages(t *testing.T) {
	for _, running := range []bool{false, true} {
		name := map[bool]string{false: "hub down", true: "hub running"}[running]
		t.Run(name, func(t *testing.T) {
			d := &damagedStore{t: t, data: hubData(t), first: time.Now().UTC().Truncate(24 * time.Hour).Add(-36 * time.Hour)}
			d.open()
			d.must(d.store.CreateBed(t.Context(), directory.Bed{ID: "a-1", Ward: "a", Name: "A1"}))
			var err error
			d.patient, err = d.store.CreatePatient(t.Context(), "Emil Example")
			d.must(err)
			long := d.first.Add(-24 * time.Hour)
			d.must(d.store.Admit(t.Context(), d.patient, "a-1", long))
			d.must(d.store.CreateDevice(t.Context(), directory.Device{ID: damagedSensor, Kind: "sensor", State: directory.DeviceActive}))
			d.must(d.store.PlaceDevice(t.Context(), damagedSensor, "a-1", long))
			const each = 120
			second := d.first.Add(24 * time.Hour)
			for _, day := range []time.Time{d.first, second} {
				for i := range each {
					d.put(day.Add(time.Duration(i) * time.Second))
				}
			}
			if !running {
				d.must(d.store.Close())
			}
			file := "chunks-" + d.first.Format(time.DateOnly) + ".db"
			d.overwrite(filepath.Join(d.data, "store", file))
			if !running {
				d.open()
			}

			// The damaged day: an error, or what was stored.
			got, err := d.read(d.first)
			if err == nil && len(got) != each {
				t.Errorf("%d of %d chunks of the damaged day, and no error", len(got), each)
			}
			// The other day goes on.
			d.put(second.Add(time.Hour))
			if got, err = d.read(second); err != nil || len(got) != each+1 {
				t.Errorf("the whole day: %d chunks, %v", len(got), err)
			}
			if err := d.store.Compact(t.Context()); err != nil && !strings.Contains(err.Error(), d.first.Format(time.DateOnly)) {
				t.Errorf("compaction does not name the day: %v", err)
			}
			_ = d.store.Close()
			check := command(t, "check", "--data", d.data)
			if said := check.out + check.err; check.code != 1 || !strings.Contains(said, d.first.Format(time.DateOnly)) || strings.Contains(said, second.Format(time.DateOnly)+":") {
				t.Errorf("check: %+v", check)
			}
			t.Logf("ACCOUNT: stored %d, read %d of the whole day; %d in the day that check names; log: %d bytes", 2*each+1, len(got), each, d.log.Len())
		})
	}
}

func (d *damagedStore) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *damagedStore) open() {
	d.t.Helper()
	log := slog.New(slog.NewTextHandler(&d.log, nil))
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(d.data, "root.key"))
	d.must(err)
	d.store, err = store.Open(d.t.Context(), filepath.Join(d.data, "store"), keys, log)
	d.must(err)
	d.t.Cleanup(func() { _ = d.store.Close() })
	trail, err := audit.Open(filepath.Join(d.t.TempDir(), "audit"), filepath.Join(d.t.TempDir(), "audit.key"), log)
	d.must(err)
	d.t.Cleanup(func() { _ = trail.Close() })
	d.engine, err = access.New(d.store, trail, nil, log)
	d.must(err)
}

func (d *damagedStore) put(at time.Time) {
	d.t.Helper()
	c := vitals.Chunk{Signal: vitals.PPG, Start: at, Rate: 100, Infrared: make([]uint16, 100)}
	var noise [200]byte // what does not compress fills pages
	_, _ = rand.Read(noise[:])
	for i := range c.Infrared {
		c.Infrared[i] = uint16(noise[2*i])<<8 | uint16(noise[2*i+1])
	}
	o, why, err := d.store.Append(d.t.Context(), d.engine.Standing("ingest", access.AppendVitals), archive.Arrival{Sensor: damagedSensor, Chunk: c,
		Received: time.Now(), Header: seal.Header{Sensor: damagedSensor, Signal: uint8(c.Signal), Start: c.Start, Seq: d.seq, Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}}})
	d.seq++
	if o != delivery.Accepted {
		d.t.Fatal(o, why, err)
	}
}

func (d *damagedStore) read(day time.Time) ([]vitals.Chunk, error) {
	return d.store.Waveform(d.t.Context(), d.engine.Standing("test", access.ViewPatient), d.patient, vitals.PPG, day, day.Add(2*time.Hour))
}

// overwrite destroys the second half of a file's pages, as a bad disk would, and what its write-ahead log holds of them.
func (d *damagedStore) overwrite(path string) {
	d.t.Helper()
	const page = 4096
	for _, name := range []string{path, path + "-wal"} {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if os.IsNotExist(err) && name != path {
			continue
		}
		d.must(err)
		info, err := f.Stat()
		d.must(err)
		for at := info.Size() / 2 / page * page; at < info.Size(); at += page {
			bad := make([]byte, min(page, info.Size()-at))
			_, _ = rand.Read(bad)
			_, err = f.WriteAt(bad, at)
			d.must(err)
		}
		d.must(f.Close())
	}
}
