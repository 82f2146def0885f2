package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
)

const (
	maxLivePatients = 256
	maxLiveSession  = 8   // live connections of one session
	maxLive         = 512 // of all sessions
	maxLiveStation  = 32  // of one workstation
	maxLivePerson   = 32  // of one person, over all workstations
	// aliveEvery is how often the hub says something even when no sensor does: the page takes silence for a loss.
	aliveEvery = time.Second
	// recheckEvery bounds how long a live view outlives its session or permission.
	recheckEvery = 500 * time.Millisecond
	// recheckClock bounds how long it outlives what only the clock has ended, while nothing in the directory has changed.
	recheckClock = 1500 * time.Millisecond
	// writeWait is how long a client may take for one message before it is dropped.
	writeWait = 2 * time.Second
	// maxClientMessage bounds what a client may send: it has nothing to say.
	maxClientMessage = 512
)

var (
	errSignedOut     = errors.New("dashboard: live view: signed out")
	errPermission    = errors.New("dashboard: live view: permission ended")
	errEmergencyOver = errors.New("dashboard: live view: emergency access over")
	errConsent       = errors.New("dashboard: live view: patient withdrew consent")
	errDischarged    = errors.New("dashboard: live view: patient discharged")
	errMovedAway     = errors.New("dashboard: live view: patient moved to another ward")
	errLagged        = errors.New("dashboard: live view: client too slow")
)

// liveConn is one live connection, as the registry knows it.
type liveConn struct{ _ byte }

type (
	helloMessage struct {
		Type       string    `json:"type"` // "hello"
		ServerTime time.Time `json:"server_time"`
		Patients   []string  `json:"patients"`
	}
	aliveMessage struct {
		Type       string    `json:"type"` // "alive"
		ServerTime time.Time `json:"server_time"`
	}
	numericsMessage struct {
		Type     string   `json:"type"` // "numerics"
		Patient  string   `json:"patient"`
		Sensor   string   `json:"sensor"`
		Numerics readings `json:"numerics"`
	}
	waveformMessage struct {
		Type    string `json:"type"` // "waveform"
		Patient string `json:"patient"`
		Sensor  string `json:"sensor"`
		pulse
	}
	endMessage struct {
		Type   string `json:"type"`             // "ended" or "lagged"
		Reason string `json:"reason,omitempty"` // signed_out, permission, emergency_over, consent, discharged, moved, undecided, stopping
		// Patient is the one who was discharged or moved, of whom the view was.
		Patient string `json:"patient,omitempty"`
	}
)

// lostPatient is the end of a view because one of its patients was discharged or moved.
type lostPatient struct {
	error
	patient string
}

func (l lostPatient) Unwrap() error { return l.error }

// liveView answers ?patient=ID&patient=ID...&waveforms=none with a WebSocket. All patients must be permitted: one that
// is not refuses the whole with 403, before anything is sent.
func (h *Handler) liveView(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	ids := slices.Clone(r.URL.Query()["patient"])
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) == 0 || len(ids) > maxLivePatients {
		return badRequest("patient: name 1 to 256 patients.")
	}
	ctx, stop := context.WithCancelCause(r.Context())
	defer stop(nil)
	bounds, err := h.liveBounds(r.Context(), s)
	if err != nil {
		return err
	}
	leave, err := h.enter(s, bounds, stop)
	if err != nil {
		return err
	}
	defer leave()
	all, err := h.cfg.Access.ViewAll(r.Context(), s, access.ViewPatient, ids)
	if err != nil {
		return err
	}
	grants := make([]access.Grant, 0, len(ids))
	for _, a := range all {
		if a.Err != nil {
			return a.Err
		}
		grants = append(grants, a.Grant)
	}
	signals := []vitals.Signal{vitals.Numerics, vitals.PPG}
	if r.URL.Query().Get("waveforms") == "none" {
		signals = signals[:1]
	}

	sub, err := h.cfg.Store.Watch(ctx, grants, signals...)
	if err != nil {
		return err
	}
	defer sub.Close()
	choose, wards := map[string]*vitals.Chooser{}, map[string]string{}
	for i, g := range grants {
		if p, err := h.cfg.Store.Patient(ctx, ids[i]); err == nil {
			wards[ids[i]] = p.Ward
		}
		if choose[ids[i]], err = h.hear(ctx, g, ids[i], h.cfg.Now()); err != nil {
			if err := h.unreadable(ctx, "", err); err != nil {
				return err
			}
			choose[ids[i]] = &vitals.Chooser{}
		}
	}

	// Accept compares Origin with Host once more, and has answered when it fails.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil //nolint:nilerr // answered by Accept
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxClientMessage)
	gone := conn.CloseRead(r.Context())
	context.AfterFunc(gone, func() { stop(context.Canceled) })

	v := &liveViewer{h: h, conn: conn, sub: sub, subject: s, grants: grants, ids: ids, wards: wards, broken: h.brokenBy(r.Context(), s), choose: choose, placed: map[string]uint64{}}
	v.run(ctx, stop, ids)
	return nil
}

// liveViewer is one live connection at work. Four goroutines: pump reads the store, recheck asks access again,
// bedsides looks what is at the beds, and run alone writes to conn.
type liveViewer struct {
	h       *Handler
	conn    *websocket.Conn
	sub     *archive.Subscription
	subject access.Subject
	ids     []string // patients, one for each of grants
	mu      sync.Mutex
	grants  []access.Grant // written by recheck, with mu held
	broken  []string       // patients that an emergency of this session opened
	// wards are where the patients lay when the view began, by patient; empty: at no bed.
	wards map[string]string
	// choose knows each patient's sensors, so that one of several counts from the first message on; pump's.
	choose map[string]*vitals.Chooser
	// placed is the count of the directory's changes at which each patient's sensors were last
	// looked up; pump's.
	placed map[string]uint64
}

func (v *liveViewer) run(ctx context.Context, stop context.CancelCauseFunc, ids []string) {
	out := make(chan any)
	done := make(chan struct{}, 3)
	go func() { stop(v.pump(ctx, out)); done <- struct{}{} }()
	go func() { stop(v.recheck(ctx)); done <- struct{}{} }()
	go func() { v.bedsides(ctx, out); done <- struct{}{} }()
	defer func() { <-done; <-done; <-done }()

	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	err := v.send(helloMessage{"hello", v.h.now(), ids})
	for err == nil {
		select {
		case <-ctx.Done():
			v.farewell(context.Cause(ctx))
			return
		case m := <-out:
			err = v.send(m)
		case <-alive.C:
			err = v.send(aliveMessage{"alive", v.h.now()})
		}
	}
	stop(err) // the client has gone, or does not read
}

// send writes one message. It has a time limit of its own, so that a farewell can still be written when ctx has ended.
func (v *liveViewer) send(m any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeWait)
	defer cancel()
	return v.conn.Write(ctx, websocket.MessageText, b)
}

// farewell tells the client why the view ends.
func (v *liveViewer) farewell(why error) {
	m, status := endMessage{Type: "ended", Reason: "stopping"}, websocket.StatusGoingAway
	switch {
	case errors.Is(why, errSignedOut):
		m.Reason, status = "signed_out", websocket.StatusPolicyViolation
	case errors.Is(why, errPermission):
		m.Reason, status = "permission", websocket.StatusPolicyViolation
	case errors.Is(why, errEmergencyOver):
		m.Reason, status = "emergency_over", websocket.StatusPolicyViolation
	case errors.Is(why, errConsent):
		m.Reason, status = "consent", websocket.StatusPolicyViolation
	case errors.Is(why, errDischarged):
		m.Reason, status = "discharged", websocket.StatusPolicyViolation
	case errors.Is(why, errMovedAway):
		m.Reason, status = "moved", websocket.StatusPolicyViolation
	case errors.Is(why, access.ErrUndecided):
		m.Reason, status = "undecided", websocket.StatusTryAgainLater
	case errors.Is(why, errLagged):
		m, status = endMessage{Type: "lagged"}, websocket.StatusTryAgainLater
	}
	if l := (lostPatient{}); errors.As(why, &l) {
		m.Patient = l.patient
	}
	if v.send(m) == nil {
		_ = v.conn.Close(status, m.Type)
	}
}

// pump turns what the store says into messages until ctx ends. While the writer is busy it waits: what the client
// does not take then fills the store's bounded queue, which says so.
func (v *liveViewer) pump(ctx context.Context, out chan<- any) error {
	for {
		u, err := v.sub.Next(ctx)
		switch {
		case errors.Is(err, archive.ErrLagged):
			return errLagged
		case errors.Is(err, archive.ErrGrantExpired): // recheck, which would know of a refusal, got no answer in all that time
			return access.ErrUndecided
		case err != nil:
			return err
		}
		m, ok := v.message(u)
		if !ok {
			continue
		}
		select {
		case out <- m:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// heardNear is how far a reading's own time may lie from when the hub stored it, for the latter to count as when it was heard: what
// comes later is backlog, and as old as it says.
const heardNear = time.Minute

func (v *liveViewer) message(u archive.Update) (any, bool) {
	switch u.Chunk.Signal {
	case vitals.Numerics:
		c := v.choose[u.Patient]
		if c == nil {
			return nil, false
		}
		for _, b := range u.Chunk.Bundles {
			s := vitals.Said{Sensor: u.Sensor, TimeNotSure: u.TimeNotSure, NotConfirmed: u.NotConfirmed, Bundle: b}
			if d := u.Durable.Sub(b.At); d.Abs() < heardNear {
				s.Heard = u.Durable
			}
			c.Hear(s)
		}
		// Of what came, those kinds that this sensor is the source of, or measures beside the source; what it said is its newest word.
		now := v.h.cfg.Now()
		v.leave(u.Patient, c, now)
		var mine []vitals.Reading
		for _, r := range c.Current(now) {
			its := r
			if r.Sensor != u.Sensor {
				others := c.Others(r.Kind, now)
				i := slices.IndexFunc(others, func(o vitals.Other) bool { return o.Sensor == u.Sensor })
				if i < 0 {
					continue
				}
				its = others[i].Reading
			}
			if said(u.Chunk, its) {
				mine = append(mine, r)
			}
		}
		r := readingsOf(c, mine, now)
		return numericsMessage{"numerics", u.Patient, u.Sensor, r}, len(r) > 0
	case vitals.PPG:
		// The wave beside the heart rate is of the sensor that the heart rate is of.
		if c := v.choose[u.Patient]; c != nil {
			if source := c.Source(vitals.HeartRate, v.h.cfg.Now()); source != "" && source != u.Sensor && !c.Asserts(source) {
				return nil, false
			}
		}
		p, ok := pulseOf(u.Chunk)
		return waveformMessage{"waveform", u.Patient, u.Sensor, p}, ok
	}
	return nil, false
}

// grantOf is the newest grant for a patient.
func (v *liveViewer) grantOf(patient string) access.Grant {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i := slices.Index(v.ids, patient); i >= 0 {
		return v.grants[i]
	}
	return access.Grant{} // which allows nothing
}

// leave has a chooser forget the doubt of the silent sensors that were taken off a patient's bed,
// also of those that are there again, once what is where may have changed.
func (v *liveViewer) leave(patient string, c *vitals.Chooser, now time.Time) {
	changes := v.h.cfg.Store.Changes()
	if v.placed[patient] == changes {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), writeWait)
	defer stop()
	at, err := v.h.sensorsOf(ctx, patient)
	if err != nil {
		return // what is known stays, and the next word asks again
	}
	_, left, err := v.h.cfg.Store.Beside(ctx, v.grantOf(patient), patient, now, now.Add(aheadSpan))
	if err != nil {
		return
	}
	c.Left(left)
	if c.OnlyAt(at.all, now) {
		v.placed[patient] = changes
	}
}

// said tells whether a chunk holds a reading, or an attempt at one that gave no value: then the last
// value stands.
func said(c vitals.Chunk, r vitals.Reading) bool {
	if r.Kind == vitals.Systolic && slices.ContainsFunc(c.Bundles, func(b vitals.Bundle) bool { return slices.ContainsFunc(b.Numerics, vitals.Failed) }) {
		return true
	}
	return slices.ContainsFunc(c.Bundles, func(b vitals.Bundle) bool {
		return b.At.Equal(r.At) && slices.ContainsFunc(b.Numerics, func(n vitals.Numeric) bool { return n.Kind == r.Kind })
	})
}

// recheck asks again, every recheckEvery, whether the session lives and every patient is still
// permitted, and renews the subscription's grants. Watching does not count as use of the session.
//
//defence:live-recheck live views are asked again
func (v *liveViewer) recheck(ctx context.Context) error {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	var asked time.Time
	var changes uint64
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		now, n := time.Now(), v.h.cfg.Store.Changes()
		if n == changes && now.Sub(asked) < recheckClock {
			continue
		}
		asked, changes = now, n // before asking: what changes meanwhile is asked about again
		s, err := v.h.cfg.SignIn.Recheck(ctx, v.subject)
		if errors.Is(err, access.ErrNoSession) {
			return errSignedOut
		}
		if err != nil {
			return fmt.Errorf("%w: %w", access.ErrUndecided, err)
		}
		for i, g := range v.grants {
			renewed, err := v.h.cfg.Access.Renew(ctx, s, g)
			if errors.Is(err, access.ErrDenied) {
				return v.lost(ctx, v.ids[i])
			}
			if err != nil {
				return err
			}
			v.mu.Lock()
			v.grants[i] = renewed
			v.mu.Unlock()
		}
		if err := v.sub.Renew(v.grants); err != nil {
			return err
		}
	}
}

// lost is why a patient may no longer be seen, as far as the viewer may know it: a discharge is none of the viewer's own rights.
func (v *liveViewer) lost(ctx context.Context, patient string) error {
	if slices.Contains(v.broken, patient) {
		return errEmergencyOver
	}
	p, err := v.h.cfg.Store.Patient(ctx, patient)
	was := v.wards[patient]
	switch {
	case err != nil:
		return errPermission
	case slices.Contains(p.Excluded, v.subject.Person.ID):
		return errConsent
	case was != "" && p.Bed == "":
		return lostPatient{errDischarged, patient}
	case was != "" && p.Ward != was:
		return lostPatient{errMovedAway, patient}
	}
	return errPermission
}

// FirstViews is how many live views of each workstation do not count in the total: those that the others leave to it.
const FirstViews = 4

// LiveBounds bound how many live views are open at once. Zero fields mean the default, which stands behind each.
type LiveBounds struct {
	Total   int // over all, the first four of each workstation apart: 512
	Station int // of one workstation: 32
	Person  int // of one person, over all workstations: 32
	Session int // of one session: 8
}

func (b LiveBounds) filled() LiveBounds {
	for _, f := range []struct {
		to   *int
		none int
	}{{&b.Total, maxLive}, {&b.Station, maxLiveStation}, {&b.Person, maxLivePerson}, {&b.Session, maxLiveSession}} {
		if *f.to <= 0 {
			*f.to = f.none
		}
	}
	return b
}

// liveBounds are the bounds for a person at a workstation: the configuration's, or what an administrator has set.
func (h *Handler) liveBounds(ctx context.Context, s access.Subject) (LiveBounds, error) {
	b := h.cfg.Live
	for _, of := range []struct {
		kind, id string
		to       *int
	}{{channel.LimitPerson, s.Person.ID, &b.Person}, {channel.LimitStation, s.Workstation, &b.Station}} {
		set, err := h.cfg.Store.LimitOf(ctx, of.kind, of.id, channel.LimitLive)
		if err != nil {
			return b, err
		}
		if set > 0 {
			*of.to = int(set)
		}
	}
	return b, nil
}

// tooManyLive is which bound on live views one more would exceed; empty for none. The first views of a workstation are its own:
// however many others watch, a ward that opens its screens sees its patients.
func (h *Handler) tooManyLive(s access.Subject, b LiveBounds) (bound, who string) {
	switch at := h.liveOf["station "+s.Workstation]; {
	case len(h.watching[s.Session]) >= b.Session:
		return "live views of a session", s.Person.ID
	case h.liveOf["person "+s.Person.ID] >= b.Person:
		return "live views of a person", s.Person.ID
	case at >= b.Station:
		return "live views of a workstation", s.Workstation
	//defence:first-views each workstation has its first live views for itself
	case at < FirstViews:
		return "", ""
	case h.shared() >= b.Total:
		return "live views of all", s.Workstation
	}
	return "", ""
}

// enter registers a live connection; leave takes it out again. It comes before what the connection costs: a decision, an entry of the
// audit log, a subscription.
func (h *Handler) enter(s access.Subject, bounds LiveBounds, stop context.CancelCauseFunc) (leave func(), err error) {
	session := s.Session
	h.mu.Lock()
	defer h.mu.Unlock()
	//defence:live-bound live views of one session are bounded
	if bound, who := h.tooManyLive(s, bounds); bound != "" {
		h.cfg.Access.NoteRefused(bound, who)
		return nil, fmt.Errorf("%w: %s", errTooMany, bound)
	}
	if h.watching[session] == nil {
		h.watching[session] = map[*liveConn]context.CancelCauseFunc{}
	}
	c := &liveConn{}
	h.watching[session][c] = stop
	owners := []string{"person " + s.Person.ID, "station " + s.Workstation}
	for _, o := range owners {
		h.liveOf[o]++
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, o := range owners {
			if h.liveOf[o]--; h.liveOf[o] == 0 {
				delete(h.liveOf, o)
			}
		}
		delete(h.watching[session], c)
		if len(h.watching[session]) == 0 {
			delete(h.watching, session)
		}
	}, nil
}

// shared is how many live views there are beyond the first ones of each workstation.
func (h *Handler) shared() (n int) {
	for of, views := range h.liveOf {
		if strings.HasPrefix(of, "station ") {
			n += max(views-FirstViews, 0)
		}
	}
	return n
}

// LiveViews are how many live views persons (by id) and workstations (by SPIFFE id) have open at this hub.
func (h *Handler) LiveViews() (persons, stations map[string]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	persons, stations = map[string]int{}, map[string]int{}
	for of, views := range h.liveOf {
		if id, ok := strings.CutPrefix(of, "station "); ok {
			stations[id] = views
		} else if id, ok := strings.CutPrefix(of, "person "); ok {
			persons[id] = views
		}
	}
	return persons, stations
}

// LiveBounds are the bounds of those for whom none was set.
func (h *Handler) LiveBounds() LiveBounds { return h.cfg.Live }

// endLive ends all live connections of a session.
func (h *Handler) endLive(session string, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, stop := range h.watching[session] {
		stop(why)
	}
}
