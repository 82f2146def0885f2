package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
)

const (
	maxTrendMinutes    = 400 * 24 * 60
	maxTrendGaps       = 1000
	maxWaveformSeconds = 60
)

// place is where a patient lies, for people.
type place struct {
	Bed      string `json:"bed"`
	BedName  string `json:"bed_name"`
	Ward     string `json:"ward"`
	WardName string `json:"ward_name"`
}

// bedAnswer is one bed. Who may not see the patient gets no patient, no name and no numerics.
type bedAnswer struct {
	place
	Occupied    bool     `json:"occupied"`
	Patient     string   `json:"patient,omitempty"`
	PatientName string   `json:"patient_name,omitempty"`
	Numerics    readings `json:"numerics,omitempty"`
	AtBed       *atBed   `json:"at_bed,omitempty"`
	Unreadable  bool     `json:"unreadable,omitempty"` // what is stored of the patient cannot be read now
	questioned
}

// beds lists the beds that the person may know of, by ward and bed. Values come only with a Grant for each patient.
func (h *Handler) beds(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	if _, err := h.cfg.Access.DecideLook(ctx, s, access.ListBeds, access.OnSystem(), ""); err != nil {
		return err
	}
	rooms, err := h.rooms(ctx)
	if err != nil {
		return err
	}
	admitted, err := h.cfg.Store.Patients(ctx)
	if err != nil {
		return err
	}
	// An empty bed is asked about as an unknown patient who lies there.
	taken := map[string]bool{}
	for _, p := range admitted {
		taken[p.Bed] = true
	}
	refs := append([]access.PatientRef(nil), admitted...)
	for _, b := range rooms.beds {
		if !taken[b.ID] {
			refs = append(refs, access.PatientRef{Ward: b.Ward, Bed: b.ID})
		}
	}
	list, err := h.cfg.Access.Filter(ctx, s, access.ListBeds, refs)
	if err != nil {
		return err
	}
	seen, err := h.cfg.Access.Filter(ctx, s, access.ViewPatient, list)
	if err != nil {
		return err
	}
	visible := map[string]bool{}
	for _, p := range seen {
		visible[p.ID] = p.ID != ""
	}
	answer := struct {
		ServerTime time.Time   `json:"server_time"`
		Beds       []bedAnswer `json:"beds"`
	}{Beds: []bedAnswer{}}
	grants, err := h.grantAll(ctx, s, visible)
	if err != nil {
		return err
	}
	what, err := h.house(ctx, s, rooms)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.Bed == "" && !visible[p.ID] {
			continue // a person without a bed is no bed
		}
		b := bedAnswer{place: rooms.place(p), Occupied: p.ID != ""}
		if visible[p.ID] {
			g, ok := grants[p.ID]
			if !ok {
				continue // moved away just now
			}
			b.Patient = p.ID
			if b.PatientName, err = h.cfg.Store.PatientName(ctx, g, p.ID); err == nil {
				b.Numerics, err = h.latest(ctx, g, p.ID)
			}
			if err == nil {
				b.questioned, err = h.questions(ctx, s, g, p)
			}
			if err == nil {
				b.AtBed, err = what.bedside(ctx, p.Bed, h.cfg.Now())
			}
			switch {
			case errors.Is(err, store.ErrNotFound) && p.Bed == "":
				continue // forgotten
			case err != nil:
				if err := h.unreadable(ctx, p.Bed, err); err != nil {
					return err
				}
				b.Unreadable = true
			}
		}
		answer.Beds = append(answer.Beds, b)
	}
	sort.SliceStable(answer.Beds, func(i, j int) bool {
		a, b := answer.Beds[i], answer.Beds[j]
		if a.Ward != b.Ward {
			return b.Ward == "" || a.Ward != "" && a.Ward < b.Ward
		}
		return lessNatural(a.Bed, b.Bed)
	})
	answer.ServerTime = h.now()
	h.write(w, http.StatusOK, answer)
	return nil
}

// grantAll has all patients of a list decided, in one entry of the audit log; who is refused after all is not in the answer.
func (h *Handler) grantAll(ctx context.Context, s access.Subject, visible map[string]bool) (map[string]access.Grant, error) {
	var ids []string
	for id, may := range visible {
		if may {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	all, err := h.cfg.Access.LookAll(ctx, s, access.ViewPatient, ids)
	if err != nil {
		return nil, err
	}
	grants := map[string]access.Grant{}
	for _, a := range all {
		if a.Err == nil {
			grants[a.Patient] = a.Grant
		}
	}
	return grants, nil
}

// unreadable is for a list in which one patient's data cannot be read, because they are damaged or gone: the bed stays in it without
// numbers, and the other beds with theirs. It is nil, or the error where no patient can be read.
func (h *Handler) unreadable(ctx context.Context, bed string, err error) error {
	if ctx.Err() != nil || errors.Is(err, store.ErrNotAllowed) {
		return err
	}
	h.cfg.Log.ErrorContext(ctx, "a bed is shown without numbers, because they cannot be read", "bed", bed, "err", err)
	return nil
}

// open is the decision that every request about one patient starts with.
func (h *Handler) open(r *http.Request) (id string, g access.Grant, err error) {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return "", access.Grant{}, err
	}
	id = r.PathValue("id")
	g, err = h.cfg.Access.DecideView(r.Context(), s, access.ViewPatient, access.OnPatient(id))
	return id, g, err
}

func (h *Handler) patient(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	id, g, err := h.open(r)
	if err != nil {
		return err
	}
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	ref, err := h.cfg.Store.Patient(ctx, id)
	if err != nil {
		return err
	}
	rooms, err := h.rooms(ctx)
	if err != nil {
		return err
	}
	answer := struct {
		ServerTime  time.Time `json:"server_time"`
		Patient     string    `json:"patient"`
		PatientName string    `json:"patient_name"`
		place
		Numerics readings `json:"numerics"`
		AtBed    *atBed   `json:"at_bed"`
		questioned
	}{Patient: id, place: rooms.place(ref)}
	if answer.PatientName, err = h.cfg.Store.PatientName(ctx, g, id); err != nil {
		return err
	}
	if answer.Numerics, err = h.latest(ctx, g, id); err != nil {
		return err
	}
	if answer.questioned, err = h.questions(ctx, s, g, ref); err != nil {
		return err
	}
	what, err := h.house(ctx, s, rooms)
	if err != nil {
		return err
	}
	if answer.AtBed, err = what.bedside(ctx, ref.Bed, h.cfg.Now()); err != nil {
		return err
	}
	answer.ServerTime = h.now()
	h.write(w, http.StatusOK, answer)
	return nil
}

// trendPoint is one step with values, of one sensor; a step without is not there.
type trendPoint struct {
	At    time.Time `json:"at"`
	Min   float64   `json:"min"`
	Mean  float64   `json:"mean"`
	Max   float64   `json:"max"`
	Count int       `json:"count"`
	// Uncertain is how many of Count were questionable, or said by a legacy device: min, mean and max hold them too.
	Uncertain int `json:"uncertain,omitempty"`
	// Asserted says that legacy devices said all of Count. Where one value was measured, theirs are left out.
	Asserted bool `json:"asserted,omitempty"`
	// Source is the short name of the sensor that these values are of, and Sensors how many had
	// values in the step. Sensors is 0, and there is no source, where an older hub summed up all
	// sensors.
	Source  string `json:"source,omitempty"`
	Sensors int    `json:"sensors"`
	// Others are the values of the other sensors; Disagree says that the mean of one of them lies
	// further from Mean than vitals.MostApart allows.
	Others   []trendOther `json:"others,omitempty"`
	Disagree bool         `json:"disagree,omitempty"`
}

// trendOther is what a sensor that is not the source of a trendPoint says in the same step. Without
// a source an older hub summed it up.
type trendOther struct {
	Source    string  `json:"source,omitempty"`
	Min       float64 `json:"min"`
	Mean      float64 `json:"mean"`
	Max       float64 `json:"max"`
	Count     int     `json:"count"`
	Uncertain int     `json:"uncertain,omitempty"`
	Disagree  bool    `json:"disagree,omitempty"`
}

func trendPointOf(p archive.TrendPoint) trendPoint {
	out := trendPoint{At: p.At.UTC(), Min: p.Min, Mean: p.Mean, Max: p.Max, Count: p.Count, Uncertain: p.Questionable, Asserted: p.Asserted,
		Source: shortName(p.Sensor), Sensors: p.Sensors}
	for _, o := range p.Others {
		out.Others = append(out.Others, trendOther{shortName(o.Sensor), o.Min, o.Mean, o.Max, o.Count, o.Questionable, o.Disagree})
		out.Disagree = out.Disagree || o.Disagree
	}
	return out
}

type trendSeries struct {
	Kind   string       `json:"kind"`
	Unit   string       `json:"unit"`
	Points []trendPoint `json:"points"`
}

// trendGap is a stretch for which some signal of a sensor will never come, and why: its gateway had to drop it, or lost it.
type trendGap struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Signal string    `json:"signal"`
	Reason string    `json:"reason"`
}

// trendMove is a span of which readings were moved to another patient, or came from one. Who that is, it does not say.
type trendMove struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Away bool      `json:"away"` // to another patient; else from one
	By   string    `json:"by"`   // who moved them
	At   time.Time `json:"at"`
	Done bool      `json:"done"` // false: it is under way
}

// moves are a patient's, in words that a chart can show.
func (h *Handler) moves(ctx context.Context, g access.Grant, id string, from, to time.Time) ([]trendMove, error) {
	all, err := h.cfg.Store.MovesOf(ctx, g, id, from, to)
	out := []trendMove{}
	for _, m := range all {
		by := m.Person
		if p, err := h.cfg.Store.Person(ctx, m.Person); err == nil && p.DisplayName != "" {
			by = p.DisplayName
		}
		out = append(out, trendMove{m.Begin, m.End, m.From == id, by, m.At, !m.Done.IsZero()})
	}
	return out, err
}

// trendStep is how long one point of a chart is: a minute for up to a day, a quarter of an hour for up to ten, else an hour.
func trendStep(minutes int) time.Duration {
	switch {
	case minutes <= 24*60:
		return time.Minute
	case minutes <= 10*24*60:
		return 15 * time.Minute
	}
	return time.Hour
}

// trends answers ?kind=heart_rate_bpm&kind=...&minutes=60: all kinds against one decision, and the gaps in that time.
func (h *Handler) trends(w http.ResponseWriter, r *http.Request) error {
	id, g, err := h.open(r)
	if err != nil {
		return err
	}
	minutes, err := number(r, "minutes", 60, 1, maxTrendMinutes)
	if err != nil {
		return err
	}
	names := r.URL.Query()["kind"]
	if len(names) == 0 || len(names) > int(vitals.MaxKind) {
		return badRequest("kind: name one to " + strconv.Itoa(int(vitals.MaxKind)) + " kinds, such as kind=heart_rate_bpm.")
	}
	to := h.now()
	from, step := to.Add(-time.Duration(minutes)*time.Minute), trendStep(minutes)
	answer := struct {
		From        time.Time     `json:"from"`
		To          time.Time     `json:"to"`
		StepSeconds int           `json:"step_seconds"`
		Series      []trendSeries `json:"series"`
		Gaps        []trendGap    `json:"gaps"`
		Moves       []trendMove   `json:"moves"`
		// NotConfirmed are the stretches of which a person had to say, or still has to, that they are this patient's.
		NotConfirmed []trendQuestion `json:"not_confirmed"`
		// Attempts are a cuff's that gave no value.
		Attempts []trendAttempt `json:"attempts"`
	}{From: from, To: to, StepSeconds: int(step / time.Second), Gaps: []trendGap{}}
	gaps, err := h.cfg.Store.GapsOf(r.Context(), g, id, from, to, maxTrendGaps)
	if err != nil {
		return err
	}
	for _, gap := range gaps {
		answer.Gaps = append(answer.Gaps, trendGap{gap.From.UTC(), gap.To.UTC(), gap.Signal.String(), gap.Reason})
	}
	if answer.Moves, err = h.moves(r.Context(), g, id, from, to); err != nil {
		return err
	}
	if answer.NotConfirmed, err = h.notConfirmed(r.Context(), g, id, from, to); err != nil {
		return err
	}
	if answer.Attempts, err = h.attempts(r.Context(), g, id, from, to, step); err != nil {
		return err
	}
	for _, name := range names {
		k, err := vitals.ParseKind(name)
		if err != nil {
			return badRequest("kind: not known; known are heart_rate_bpm, spo2_percent, systolic_mmhg, diastolic_mmhg and so on.")
		}
		points, err := h.cfg.Store.Trends(r.Context(), g, id, k, from, to, step)
		if err != nil {
			return err
		}
		series := trendSeries{Kind: k.String(), Unit: k.Unit(), Points: []trendPoint{}}
		for _, p := range points {
			if p.Count > 0 {
				series.Points = append(series.Points, trendPointOf(p))
			}
		}
		answer.Series = append(answer.Series, series)
	}
	h.write(w, http.StatusOK, answer)
	return nil
}

// waveform answers ?seconds=10 with the pulse wave of the last seconds, of the one sensor that the
// live view shows the wave of.
func (h *Handler) waveform(w http.ResponseWriter, r *http.Request) error {
	id, g, err := h.open(r)
	if err != nil {
		return err
	}
	seconds, err := number(r, "seconds", 10, 1, maxWaveformSeconds)
	if err != nil {
		return err
	}
	now := h.cfg.Now()
	sensor, chunks, err := h.waveOf(r.Context(), g, id, now.Add(-time.Duration(seconds)*time.Second), now)
	if err != nil {
		return err
	}
	answer := struct {
		ServerTime time.Time `json:"server_time"`
		// Source is the short name of the sensor that all chunks are of; empty where there are
		// none.
		Source string  `json:"source,omitempty"`
		Chunks []pulse `json:"chunks"`
	}{ServerTime: h.now(), Chunks: []pulse{}}
	for _, c := range chunks {
		if p, ok := pulseOf(c); ok {
			answer.Chunks = append(answer.Chunks, p)
		}
	}
	if len(answer.Chunks) > 0 {
		answer.Source = shortName(sensor)
	}
	h.write(w, http.StatusOK, answer)
	return nil
}

// waveOf is the wave since a time of the sensor that is the source of the heart rate now. Where
// none is, or a legacy device, which has no wave, it is of the first sensor by id that has one.
func (h *Handler) waveOf(ctx context.Context, g access.Grant, id string, from, now time.Time) (string, []vitals.Chunk, error) {
	c, err := h.hear(ctx, g, id, now)
	if err != nil {
		return "", nil, err
	}
	source := c.Source(vitals.HeartRate, now)
	if c.Asserts(source) {
		source = ""
	}
	return h.cfg.Store.WaveformOf(ctx, g, id, source, vitals.PPG, from, now.Add(aheadSpan))
}

// number reads a whole number of the query.
func number(r *http.Request, name string, absent, low, high int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, badRequest(name + ": a whole number from " + strconv.Itoa(low) + " to " + strconv.Itoa(high) + ".")
	}
	return n, nil
}

// layout is the wards and beds with their names.
type layout struct {
	wards map[string]string
	beds  []directory.Bed
	names map[string]string
}

func (h *Handler) rooms(ctx context.Context) (layout, error) {
	l := layout{wards: map[string]string{}, names: map[string]string{}}
	wards, err := h.cfg.Store.Wards(ctx)
	if err != nil {
		return l, err
	}
	for _, w := range wards {
		l.wards[w.ID] = w.Name
	}
	if l.beds, err = h.cfg.Store.Beds(ctx); err != nil {
		return l, err
	}
	for _, b := range l.beds {
		l.names[b.ID] = b.Name
	}
	return l, nil
}

func (l layout) place(p access.PatientRef) place {
	if p.Bed == "" {
		return place{BedName: "No bed", WardName: "Not admitted"}
	}
	return place{Bed: p.Bed, BedName: l.names[p.Bed], Ward: p.Ward, WardName: l.wards[p.Ward]}
}

// lessNatural orders a-2 before a-10.
func lessNatural(a, b string) bool {
	if len(a) != len(b) {
		i := 0
		for i < len(a) && i < len(b) && a[i] == b[i] {
			i++
		}
		if digits(a[i:]) && digits(b[i:]) {
			return len(a) < len(b)
		}
	}
	return a < b
}

func digits(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
