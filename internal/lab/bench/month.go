package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/shared/process"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
	"vitalseal/internal/workstation/client"
)

// MonthConfig says how much is stored before a chart is opened.
type MonthConfig struct {
	Exe      string
	Data     string // folder that keeps the deployment with its month
	Patients int
	Days     int
	Every    time.Duration // between two moments; whole seconds
	Requests int
	Progress io.Writer
}

// MonthReport is what RunMonth measured.
type MonthReport struct {
	Machine     string  `json:"machine"`
	Patients    int     `json:"patients"`
	Days        int     `json:"days"`
	EverySecond float64 `json:"every_seconds"` // a moment
	Bundles     int64   `json:"bundles"`       // moments of three numbers each
	FillSeconds float64 `json:"fill_seconds,omitempty"`
	DiskMiB     float64 `json:"disk_mib"`
	Requests    int     `json:"requests"`
	// Store is the store's answer alone, hour by hour over all days; the first of each patient opens files and keys.
	Store MonthTimes `json:"store"`
	// API is the same from the dashboard's API as a workstation gets it, and Day one day in minutes.
	API MonthTimes `json:"api"`
	Day MonthTimes `json:"api_day"`
}

// MonthTimes are of one kind of request. Refused is what the API said instead of answering.
type MonthTimes struct {
	Points  int     `json:"points"` // of one answer
	FirstMS float64 `json:"very_first_ms"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Refused string  `json:"refused,omitempty"`
}

// monthMark is a folder's record that it was filled.
type monthMark struct {
	Patients []string      `json:"patients"`
	Days     int           `json:"days"`
	Every    time.Duration `json:"every"`
	End      time.Time     `json:"end"`
	Seconds  float64       `json:"seconds"`
}

const monthWard = "ward-000" // the one that the nurse of a bench is on

// RunMonth fills a hub's store with days of numbers each second of so many patients, once, and measures how long a chart of one vital
// sign over all of it takes to open.
func RunMonth(ctx context.Context, cfg MonthConfig) (r MonthReport, err error) {
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	l := &load{cfg: LoadConfig{Exe: cfg.Exe, Data: cfg.Data, Progress: cfg.Progress}, began: time.Now()}
	if l.super, err = process.New(cfg.Exe, l.path("logs")); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	defer func() { err = errors.Join(err, l.super.StopAll(15*time.Second)) }()
	mark, err := l.monthOf(ctx, cfg)
	if err != nil {
		return r, err
	}
	r = MonthReport{Machine: Machine(), Patients: len(mark.Patients), Days: mark.Days, Requests: cfg.Requests, FillSeconds: mark.Seconds, EverySecond: mark.Every.Seconds(),
		Bundles: int64(len(mark.Patients)) * int64(mark.Days) * int64(24*time.Hour/mark.Every)}
	size, err := diskBytes(l.path("hub", "store"))
	if err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	r.DiskMiB = Rounded(float64(size)/(1<<20), 1)
	l.say("asking the store")
	if err := l.withStore(ctx, func(st *store.Store, g access.Grant) error {
		r.Store, err = askEach(ctx, mark.Patients, cfg.Requests, func(patient string) (int, error) {
			points, err := st.Trends(ctx, g, patient, vitals.HeartRate, mark.End.Add(-time.Duration(mark.Days)*24*time.Hour), mark.End, time.Hour)
			return len(points), err
		})
		return err
	}); err != nil {
		return r, err
	}
	if err := l.startHub(ctx); err != nil {
		return r, err
	}
	nurse, err := l.signIn(ctx, l.fleet.Nurse.Login, l.fleet.Nurse.Password)
	if err != nil {
		return r, err
	}
	l.say("asking the API")
	minutes := mark.Days * 24 * 60
	if r.API, err = chart(ctx, nurse, mark.Patients, cfg.Requests, fmt.Sprintf("minutes=%d&step_minutes=60", minutes)); err != nil {
		return r, err
	}
	r.Day, err = chart(ctx, nurse, mark.Patients, cfg.Requests, "minutes=1440")
	return r, err
}

// chart asks the API for one vital sign.
func chart(ctx context.Context, c *client.Client, patients []string, requests int, query string) (MonthTimes, error) {
	got, err := askEach(ctx, patients, requests, func(patient string) (int, error) {
		var answer struct {
			Series []struct {
				Points []json.RawMessage `json:"points"`
			} `json:"series"`
		}
		if err := c.Do(ctx, http.MethodGet, "/api/patients/"+patient+"/trends?kind=heart_rate_bpm&"+query, nil, &answer); err != nil {
			return 0, err
		}
		if len(answer.Series) != 1 {
			return 0, fmt.Errorf("measure: a chart of %d kinds", len(answer.Series))
		}
		return len(answer.Series[0].Points), nil
	})
	var status *client.StatusError
	if errors.As(err, &status) && status.Status == http.StatusBadRequest {
		return MonthTimes{Refused: status.Error()}, nil
	}
	return got, err
}

// askEach asks for one patient after the other, and times it. A bound on requests is waited for, not timed.
func askEach(ctx context.Context, patients []string, requests int, ask func(patient string) (points int, err error)) (m MonthTimes, err error) {
	var times []time.Duration
	for i := 0; i < requests; {
		began := time.Now()
		points, err := ask(patients[i%len(patients)])
		took := time.Since(began)
		var status *client.StatusError
		if errors.As(err, &status) && status.Status == http.StatusTooManyRequests {
			if err := Wait(ctx, 200*time.Millisecond); err != nil {
				return m, err
			}
			continue
		}
		if err != nil {
			return m, err
		}
		if i == 0 {
			m.FirstMS = *ms(took)
		}
		m.Points = points
		times = append(times, took)
		i++
	}
	q := quantiles(times)
	m.P50, m.P99 = *ms(q.P50), *ms(q.P99)
	return m, nil
}

// monthOf fills the folder unless it is full.
func (l *load) monthOf(ctx context.Context, cfg MonthConfig) (mark monthMark, err error) {
	file := l.path("month.json")
	if b, err := os.ReadFile(file); err == nil { // #nosec G304 -- below the measurement's own folder
		if err := json.Unmarshal(b, &mark); err != nil {
			return mark, fmt.Errorf("measure: %w", err)
		}
		if len(mark.Patients) != cfg.Patients || mark.Days != cfg.Days || mark.Every != cfg.Every {
			return mark, fmt.Errorf("%w: it holds %d days of %d patients, a moment every %v", ErrOtherFleet, mark.Days, len(mark.Patients), mark.Every)
		}
		l.fleet, err = readFleet(l.path("fleet.json"))
		return mark, err
	}
	if _, err := os.Stat(l.path("hub")); err == nil {
		return mark, fmt.Errorf("%w: it was not filled to the end", ErrOtherFleet)
	}
	if err := l.startHub(ctx); err != nil {
		return mark, err
	}
	admin, err := l.admin(ctx)
	if err != nil {
		return mark, err
	}
	post := func(path string, in, out any) error {
		return admin.Do(ctx, http.MethodPost, "/api/admin/"+path, in, out)
	}
	if err := post("wards", map[string]string{"id": monthWard, "name": monthWard}, nil); err != nil {
		return mark, err
	}
	if err := l.nurse(ctx, post); err != nil {
		return mark, err
	}
	if err := l.super.StopAll(time.Minute); err != nil {
		return mark, err
	}
	mark = monthMark{Days: cfg.Days, Every: cfg.Every, End: time.Now().UTC().Truncate(time.Hour)}
	began := time.Now()
	if err := l.withStore(ctx, func(st *store.Store, g access.Grant) error {
		if mark.Patients, err = monthBeds(ctx, st, cfg.Patients, mark.End.Add(-time.Duration(cfg.Days+1)*24*time.Hour)); err != nil {
			return err
		}
		return l.fillMonth(ctx, st, g, mark)
	}); err != nil {
		return mark, err
	}
	mark.Seconds = Rounded(time.Since(began).Seconds(), 1)
	b, err := json.Marshal(mark)
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		return mark, fmt.Errorf("measure: %w", err)
	}
	return mark, nil
}

// withStore opens the hub's store while the hub is away.
func (l *load) withStore(ctx context.Context, do func(*store.Store, access.Grant) error) (err error) {
	log := slog.New(slog.DiscardHandler)
	keys, _, err := seal.OpenFileKeyStore(l.path("hub", "root.key"))
	if err != nil {
		return err
	}
	st, err := store.Open(ctx, l.path("hub", "store"), keys, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	trail, err := audit.Open(l.path("fill-audit"), l.path("fill-audit.key"), log) // the hub's own log stays the hub's
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, trail.Close()) }()
	engine, err := access.New(st, trail, nil, log)
	if err != nil {
		return err
	}
	return do(st, engine.Standing("bench month", access.AppendVitals, access.ViewPatient))
}

func monthSensor(i int) overlay.ID {
	return overlay.ID{Domain: domain, Kind: overlay.KindSensor, Name: fmt.Sprintf("oxi-%05d", i)}
}

// monthBeds makes beds with a patient and a sensor in each, since a time in the past.
func monthBeds(ctx context.Context, st *store.Store, n int, since time.Time) (patients []string, err error) {
	for i := range n {
		bed, id := fmt.Sprintf("bed-%05d", i), monthSensor(i)
		if err := st.CreateBed(ctx, directory.Bed{ID: bed, Ward: monthWard, Name: bed}); err != nil {
			return nil, err
		}
		patient, err := st.CreatePatient(ctx, fmt.Sprintf("Patient %d", i))
		if err == nil {
			err = st.Admit(ctx, patient, bed, since)
		}
		if err == nil {
			err = st.CreateDevice(ctx, directory.Device{ID: id.String(), Kind: id.Kind, Model: "MAX30100", Serial: id.Name, State: directory.DeviceActive})
		}
		if err == nil {
			err = st.PlaceDevice(ctx, id.String(), bed, since)
		}
		if err != nil {
			return nil, err
		}
		patients = append(patients, patient)
	}
	return patients, nil
}

// monthChunk is how much of a patient is stored at once: as long as a chunk may be, so that filling takes minutes and not days.
const monthChunk = 10 * time.Minute

// fillMonth stores moments of all days through the store's own door, and has it compact each quarter of a day while the next one is
// stored, so that the room of what was compacted is used again.
func (l *load) fillMonth(ctx context.Context, st *store.Store, g access.Grant, mark monthMark) error {
	const quarters, perQuarter = 4, int(6 * time.Hour / monthChunk)
	begin := mark.End.Add(-time.Duration(mark.Days) * 24 * time.Hour)
	behind, bctx := errgroup.WithContext(ctx)
	behind.SetLimit(1)
	for q := range quarters * mark.Days {
		ahead, actx := errgroup.WithContext(ctx)
		for p := range mark.Patients {
			ahead.Go(func() error {
				for n := q * perQuarter; n < (q+1)*perQuarter; n++ {
					if err := appendNumbers(actx, st, g, p, n, begin.Add(time.Duration(n)*monthChunk), mark.Every); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := ahead.Wait(); err != nil {
			return errors.Join(err, behind.Wait())
		}
		if (q+1)%quarters == 0 {
			l.say("%d of %d days are stored", (q+1)/quarters, mark.Days)
		}
		behind.Go(func() error { return st.Compact(bctx) }) // waits for the one before
	}
	if err := behind.Wait(); err != nil {
		return err
	}
	return st.Compact(ctx)
}

func appendNumbers(ctx context.Context, st *store.Store, g access.Grant, patient, number int, at time.Time, every time.Duration) error {
	c := vitals.Chunk{Signal: vitals.Numerics, Start: at}
	for i := range int(monthChunk / every) {
		t := at.Add(time.Duration(i) * every)
		s := float64(t.Unix())
		rate := 75 + 12*math.Sin(2*math.Pi*s/86400+float64(patient)) + 4*math.Sin(2*math.Pi*s/610) + float64((i*7919+patient*31+number*17)%13)/10
		oxygen := 97 + math.Sin(2*math.Pi*s/3600+float64(patient)) + float64((i*31+patient)%5)/10
		perfusion := 2 + math.Sin(2*math.Pi*s/300)/2
		c.Bundles = append(c.Bundles, vitals.Bundle{At: t, Numerics: []vitals.Numeric{
			vitals.Checked(vitals.HeartRate, math.Round(rate*10)/10, vitals.Good),
			vitals.Checked(vitals.SpO2, min(100, math.Round(oxygen*10)/10), vitals.Good),
			vitals.Checked(vitals.PerfusionIndex, math.Round(perfusion*100)/100, vitals.Good)}})
	}
	id := monthSensor(patient).String()
	perEpoch := int(24 * time.Hour / monthChunk)                                       // a day, as a gateway has it
	e, seq := seal.Epoch{Number: uint64(number/perEpoch) + 1}, uint64(number%perEpoch) // #nosec G115 -- never negative
	binary.BigEndian.PutUint64(e.ID[:8], e.Number)
	binary.BigEndian.PutUint64(e.ID[8:], uint64(patient)) // #nosec G115 -- never negative
	outcome, why, err := st.Append(ctx, g, archive.Arrival{Sensor: id, Chunk: c, Received: c.End(),
		Header: seal.Header{Sensor: id, Signal: uint8(c.Signal), Epoch: e, Seq: seq, Start: c.Start}})
	if err == nil && outcome != delivery.Accepted {
		err = fmt.Errorf("measure: a chunk was not stored: %v %s", outcome, why)
	}
	return err
}

// Print writes the report as a table.
func (r MonthReport) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "%d days of %d patients, numbers every %g s: %d moments, %.0f MiB\n", r.Days, r.Patients, r.EverySecond, r.Bundles, r.DiskMiB)
	for _, x := range []struct {
		name string
		m    MonthTimes
	}{{"store alone, all days by the hour", r.Store}, {"API, all days by the hour", r.API}, {"API, one day by the minute", r.Day}} {
		if x.m.Refused != "" {
			fmt.Fprintf(t, "%s\trefused: %s\n", x.name, x.m.Refused)
			continue
		}
		fmt.Fprintf(t, "%s\t%d points\tp50 %.1f ms\tp99 %.1f ms\tthe very first %.1f ms\n", x.name, x.m.Points, x.m.P50, x.m.P99, x.m.FirstMS)
	}
	fmt.Fprintf(t, "%s, %d requests each, one after the other\n", r.Machine, r.Requests)
	return t.Flush()
}
