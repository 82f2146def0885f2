package dashboard

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
)

// Where a bed has no number, a reader must learn what is silent, since when, and what to do. What
// the readings themselves do not say is here: which sensors are at the bed, whether their gateway
// is heard, and which sensors left.

const (
	// gatewaySilentAfter is how long a gateway must not have been heard to be said to be silent.
	// What a hub knows of a gateway that speaks to another hub, or from before its own start, may be
	// half a minute old.
	gatewaySilentAfter = 45 * time.Second
	// leftFor is how long it is said that a sensor was taken off a bed.
	leftFor = 24 * time.Hour
	// bedsideEvery is how often a live view looks whether what it said of its beds still holds.
	bedsideEvery = 5 * time.Second
)

// What a sensor is for.
const (
	forOximetry = "oximeter"
	forPressure = "cuff"
	forAny      = "legacy"
	// converter is the model of what reads sensors, and is none.
	converter = "MCP3008"
)

func purposeOf(model string) string {
	switch {
	case strings.EqualFold(model, archive.CuffModel):
		return forPressure
	case strings.EqualFold(model, "legacy"):
		return forAny
	}
	return forOximetry
}

// atBed is what is at a bed.
type atBed struct {
	Sensors []bedSensor `json:"sensors"`
	// Left are the sensors that were taken off the bed lately, the last first, of those purposes
	// that the bed has no sensor for now.
	Left []leftSensor `json:"left,omitempty"`
}

// bedSensor is a sensor at a bed.
type bedSensor struct {
	Sensor  string `json:"sensor"`  // short name
	Purpose string `json:"purpose"` // oximeter, cuff or legacy
	State   string `json:"state,omitempty"`
	// KeptOutSince and KeptOutBy say since when a sensor in State disabled is that, and who did it, for a reader who may know of
	// persons; absent: not known.
	KeptOutSince *time.Time `json:"kept_out_since,omitempty"`
	KeptOutBy    string     `json:"kept_out_by,omitempty"`
	Gateway      string     `json:"gateway,omitempty"` // short name
	// GatewaySilent says that the gateway is not heard any more, and GatewayHeard when it last was;
	// absent: never.
	GatewaySilent bool       `json:"gateway_silent,omitempty"`
	GatewayHeard  *time.Time `json:"gateway_heard,omitempty"`
}

// leftSensor is one that was taken off a bed. Where it is now, and who moved it, is told to readers
// who may know of that bed.
type leftSensor struct {
	Sensor   string    `json:"sensor"`
	Purpose  string    `json:"purpose"`
	At       time.Time `json:"at"`
	BedName  string    `json:"bed_name,omitempty"`
	WardName string    `json:"ward_name,omitempty"`
	Off      bool      `json:"off,omitempty"` // it is at no bed
	By       string    `json:"by,omitempty"`
}

// house is what is where, as one answer reads it.
type house struct {
	h     *Handler
	rooms layout
	at    map[string][]directory.Device // sensors by bed
	heard map[string]time.Time          // by gateway (SPIFFE id)
	// sees tells whether the reader may know of a bed, and named whether of persons too.
	sees  func(directory.Bed) bool
	named bool
}

// house reads what is where. s is the reader, who learns of other beds as the list of beds has them.
func (h *Handler) house(ctx context.Context, s access.Subject, rooms layout) (*house, error) {
	x := &house{h: h, rooms: rooms, named: true, sees: func(b directory.Bed) bool { return h.lists(ctx, s, b) }}
	return x, x.read(ctx)
}

// lists tells whether a bed is on a reader's list of beds: a taken one for who may know of the
// patient there, as a doctor who treats that patient, an empty one for who may know of the ward's.
func (h *Handler) lists(ctx context.Context, s access.Subject, b directory.Bed) bool {
	admitted, err := h.cfg.Store.Patients(ctx)
	if err != nil {
		return false // not known: the reader learns that the sensor is away, not where
	}
	refs := slices.DeleteFunc(slices.Clone(admitted), func(p access.PatientRef) bool { return p.Bed != b.ID })
	if len(refs) == 0 {
		refs = []access.PatientRef{{Ward: b.Ward, Bed: b.ID}}
	}
	may, err := h.cfg.Access.Filter(ctx, s, access.ListBeds, refs)
	return err == nil && len(may) > 0 // undecided: as above
}

func (x *house) read(ctx context.Context) error {
	k := &x.h.known
	k.mu.Lock()
	defer k.mu.Unlock()
	now, changes := time.Now(), x.h.cfg.Store.Changes()
	if k.at == nil || k.changes != changes || now.Sub(k.read) > inventoryFor {
		if err := k.readAll(ctx, x.h.cfg.Store); err != nil {
			return err
		}
		k.read, k.changes = now, changes
	}
	x.at, x.heard = k.at, k.heard
	return nil
}

// inventoryFor is how long what was read of the inventory serves other answers.
const inventoryFor = 2 * time.Second

// inventory is what was last read of it. The zero value is ready.
type inventory struct {
	mu      sync.Mutex // guards all below; the maps do not change once they are made
	at      map[string][]directory.Device
	heard   map[string]time.Time
	read    time.Time
	changes uint64 // of the directory, before it was read
}

// readAll reads the inventory; mu is held.
func (k *inventory) readAll(ctx context.Context, from *store.Store) error {
	all, err := from.Devices(ctx)
	if err != nil {
		return err
	}
	at, last := map[string][]directory.Device{}, map[string]time.Time{}
	for _, d := range all {
		gateway := d.ID
		if d.Kind == "sensor" {
			gateway = d.Gateway
			if d.Bed != "" && d.State != directory.DeviceDeleted && !strings.EqualFold(d.Model, converter) {
				at[d.Bed] = append(at[d.Bed], d)
			}
		}
		if d.LastSeen.After(last[gateway]) { // what a sensor says, its gateway says
			last[gateway] = d.LastSeen
		}
	}
	k.at, k.heard = at, last
	return nil
}

// bedside is what is at a bed.
func (x *house) bedside(ctx context.Context, bed string, now time.Time) (*atBed, error) {
	out := &atBed{Sensors: []bedSensor{}}
	has := map[string]bool{}
	for _, d := range x.at[bed] {
		s := bedSensor{Sensor: shortName(d.ID), Purpose: purposeOf(d.Model)}
		if d.State != directory.DeviceActive {
			s.State = d.State
			if at := d.KeptOut.Since.UTC(); !d.KeptOut.Since.IsZero() {
				s.KeptOutSince = &at
				if x.named && d.KeptOut.By != "" {
					s.KeptOutBy = x.h.nameOf(ctx, d.KeptOut.By)
				}
			}
		} else {
			has[s.Purpose] = true
		}
		if d.Gateway != "" {
			s.Gateway = shortName(d.Gateway)
			if heard := x.heard[d.Gateway]; now.Sub(heard) > gatewaySilentAfter {
				s.GatewaySilent = true
				if !heard.IsZero() {
					at := heard.UTC()
					s.GatewayHeard = &at
				}
			}
		}
		out.Sensors = append(out.Sensors, s)
	}
	if bed == "" || has[forOximetry] && has[forPressure] {
		return out, nil
	}
	left, err := x.h.cfg.Store.Departures(ctx, bed, now.Add(-leftFor))
	if err != nil {
		return nil, err
	}
	for _, d := range left {
		l := leftSensor{Sensor: shortName(d.Sensor), Purpose: purposeOf(d.Model), At: d.At.UTC()}
		if has[l.Purpose] || strings.EqualFold(d.Model, converter) {
			continue
		}
		i := slices.IndexFunc(x.rooms.beds, func(b directory.Bed) bool { return b.ID == d.Bed })
		if d.Bed == "" || i >= 0 && x.sees(x.rooms.beds[i]) {
			l.Off = d.Bed == ""
			if i >= 0 {
				l.BedName, l.WardName = x.rooms.beds[i].Name, x.rooms.wards[x.rooms.beds[i].Ward]
			}
			if x.named && d.Person != "" {
				l.By = x.h.nameOf(ctx, d.Person)
			}
		}
		out.Left = append(out.Left, l)
	}
	return out, nil
}

// bedsideMessage says what is at a patient's bed, when a live view begins and when it changes.
type bedsideMessage struct {
	Type    string `json:"type"` // "bedside"
	Patient string `json:"patient"`
	AtBed   *atBed `json:"at_bed"`
}

// bedsides tells what is at the beds of the viewed patients, and again what has changed, until ctx
// ends. What cannot be read now is tried again: the numbers go on without it.
func (v *liveViewer) bedsides(ctx context.Context, out chan<- any) {
	said := map[string]*atBed{}
	tick := time.NewTicker(bedsideEvery)
	defer tick.Stop()
	for {
		for _, m := range v.look(ctx, said) {
			select {
			case out <- m:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look is what of said has changed, which it brings up to date.
func (v *liveViewer) look(ctx context.Context, said map[string]*atBed) (all []bedsideMessage) {
	rooms, err := v.h.rooms(ctx)
	if err != nil {
		return nil
	}
	x, err := v.h.house(ctx, v.subject, rooms)
	if err != nil {
		return nil
	}
	now := v.h.cfg.Now()
	for _, id := range v.ids {
		p, err := v.h.cfg.Store.Patient(ctx, id)
		if err != nil {
			continue
		}
		b, err := x.bedside(ctx, p.Bed, now)
		if err != nil || said[id].same(b) {
			continue
		}
		said[id] = b
		all = append(all, bedsideMessage{"bedside", id, b})
	}
	return all
}

// same tells whether two say the same.
func (a *atBed) same(b *atBed) bool {
	return a != nil && slices.Equal(a.Left, b.Left) && slices.EqualFunc(a.Sensors, b.Sensors, func(x, y bedSensor) bool {
		if (x.GatewayHeard == nil) != (y.GatewayHeard == nil) || x.GatewayHeard != nil && !x.GatewayHeard.Equal(*y.GatewayHeard) {
			return false
		}
		x.GatewayHeard, y.GatewayHeard = nil, nil
		return x == y
	})
}

// trendAttempt counts attempts of a cuff that gave no value, in one step of a chart.
type trendAttempt struct {
	At     time.Time `json:"at"`
	Why    string    `json:"why"`    // a quality
	Source string    `json:"source"` // short name of the cuff
	Count  int       `json:"count"`
}

// attempts are a patient's, in the steps of a chart.
func (h *Handler) attempts(ctx context.Context, g access.Grant, id string, from, to time.Time, step time.Duration) ([]trendAttempt, error) {
	all, err := h.cfg.Store.Attempts(ctx, g, id, from, to, step)
	out := []trendAttempt{}
	for _, a := range all {
		out = append(out, trendAttempt{a.At.UTC(), a.Why.String(), shortName(a.Sensor), a.Count})
	}
	return out, err
}
