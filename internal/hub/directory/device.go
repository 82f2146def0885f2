package directory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// The states of a Device.
const (
	DeviceInvited  = "invited"  // has a ticket, is not enrolled
	DeviceActive   = "active"   // enrolled
	DeviceDisabled = "disabled" // kept out for now; its chunks wait at the gateway (Retry)
	DeviceDeleted  = "deleted"  // kept out for good; its chunks are set aside (Rejected)
)

// Device is one component in the inventory.
type Device struct {
	ID         string // SPIFFE id
	Kind       string // "gateway", "sensor", "workstation", "router", "hub"
	Model      string
	Serial     string
	Gateway    string   // SPIFFE id of the gateway a sensor hangs on
	Mode       string   // ModeDisplay, or empty
	Wards      []string // of a display workstation: the wards whose beds it shows
	ZitiID     string
	State      string // one of the Device constants; empty at CreateDevice means invited
	Bed        string // where it is placed now; set by PlaceDevice, ignored by CreateDevice
	EnrolledBy string

	LastSeen time.Time // zero: never; after a restart up to half a minute too old
	Version  string    // of its software, as it last said
	Enrolled time.Time // when its ticket was redeemed; zero: never
	// The newest certificate that was issued for it. Empty and zero before it enrolled.
	Certificate Certificate
	// NextKey is the key of a certificate that was issued at a rotation and that the component has not used yet.
	NextKey string
	Rotate  bool // it must bring a new key when it renews next

	// Trouble is what is wrong with it, as it says itself, and since when; empty: nothing. Alert is what the hub last had to refuse of
	// it, or let in against the rule, and when; empty: nothing ever.
	Trouble, Alert             string
	TroubledSince, LastAlerted time.Time

	KeptOut KeptOut
}

// ModeDisplay is a workstation that shows a ward's beds without a sign-in.
const ModeDisplay = "display"

// Certificate is what the inventory keeps of a certificate.
type Certificate struct {
	SHA256              string // of the whole certificate, hexadecimal
	KeySHA256           string // of its public key (SubjectPublicKeyInfo), hexadecimal
	NotBefore, NotAfter time.Time
}

// Why a ticket was refused. The difference is for the log and the administrator, not for the presenter.
var (
	// ErrTicketExpired means its time is over.
	ErrTicketExpired = errors.New("store: ticket has expired")
	// ErrTicketUsed means it was redeemed before.
	ErrTicketUsed = errors.New("store: ticket has been used")
	// ErrTicketMismatch means other components came with it than it was made for.
	ErrTicketMismatch = errors.New("store: ticket is for other components")
)

func checkState(state string) error {
	if !slices.Contains([]string{DeviceInvited, DeviceActive, DeviceDisabled, DeviceDeleted}, state) {
		return fmt.Errorf("%w: state must be invited, active, disabled or deleted", sealdb.ErrInvalid)
	}
	return nil
}

// CreateDevice adds a component; ErrExists if the id is known.
func (s *Directory) CreateDevice(ctx context.Context, d Device) error {
	if d.State == "" {
		d.State = DeviceInvited
	}
	if err := errors.Join(sealdb.CheckIdentity("device id", d.ID), sealdb.CheckID("device kind", d.Kind), sealdb.CheckText("model", d.Model, 0, sealdb.MaxName),
		sealdb.CheckText("serial", d.Serial, 0, sealdb.MaxName), sealdb.CheckText("gateway", d.Gateway, 0, sealdb.MaxID), sealdb.CheckText("ziti id", d.ZitiID, 0, sealdb.MaxID),
		sealdb.CheckText("enrolled by", d.EnrolledBy, 0, sealdb.MaxID), checkState(d.State), checkMode(d)); err != nil {
		return sealdb.Named("create device", err)
	}
	wards, err := json.Marshal(append([]string{}, d.Wards...))
	if err != nil {
		return sealdb.Named("create device", err)
	}
	err = s.db.InTx(ctx, func(tx *sql.Tx) error {
		for _, w := range d.Wards {
			if err := sealdb.Exists(ctx, tx, "ward", "wards", w); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO devices (id, kind, model, serial, gateway, ziti, state, enrolled_by, mode, wards, version, enrolled)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, d.ID, d.Kind, d.Model, d.Serial, d.Gateway, d.ZitiID, d.State, d.EnrolledBy,
			d.Mode, string(wards), d.Version, sealdb.ToOptional(d.Enrolled))
		return err
	})
	s.db.DevicesChanged()
	return sealdb.Named("create device "+d.ID, err)
}

func checkMode(d Device) error {
	switch {
	case d.Mode != "" && d.Mode != ModeDisplay:
		return fmt.Errorf("%w: mode must be empty or %s", sealdb.ErrInvalid, ModeDisplay)
	case d.Mode == ModeDisplay && d.Kind != "workstation":
		return fmt.Errorf("%w: only a workstation can be a display", sealdb.ErrInvalid)
	case len(d.Wards) > maxRelations:
		return fmt.Errorf("%w: at most %d wards", sealdb.ErrInvalid, maxRelations)
	case d.Mode == "" && len(d.Wards) > 0:
		return fmt.Errorf("%w: wards are a display's", sealdb.ErrInvalid)
	}
	return nil
}

const selectDevice = `SELECT d.id, d.kind, d.model, d.serial, d.gateway, d.ziti, d.state, coalesce(p.bed, ''), d.enrolled_by, d.seen,
	d.mode, d.wards, d.version, d.enrolled, d.cert, d.cert_begins, d.cert_ends, d.public_key, d.next_key, d.rotate, d.trouble, d.troubled, d.alert, d.alerted, d.kept_out, d.kept_out_by
	FROM devices d LEFT JOIN placements p ON p.device = d.id AND p.ends IS NULL`

func (s *Directory) scanDevice(r sealdb.Scanner) (d Device, err error) {
	var seen, enrolled, begins, ends, troubled, alerted, keptOut *int64
	var wards string
	err = r.Scan(&d.ID, &d.Kind, &d.Model, &d.Serial, &d.Gateway, &d.ZitiID, &d.State, &d.Bed, &d.EnrolledBy, &seen,
		&d.Mode, &wards, &d.Version, &enrolled, &d.Certificate.SHA256, &begins, &ends, &d.Certificate.KeySHA256, &d.NextKey, &d.Rotate, &d.Trouble, &troubled, &d.Alert, &alerted, &keptOut, &d.KeptOut.By)
	if err == nil && wards != "[]" {
		err = json.Unmarshal([]byte(wards), &d.Wards)
	}
	if state, ok := s.BarredDevice(d.ID); ok {
		d.State = state
	}
	if d.KeptOut.Since = sealdb.FromOptional(keptOut); d.State != DeviceDisabled && d.State != DeviceDeleted {
		d.KeptOut = KeptOut{}
	}
	d.LastSeen = sealdb.Later(sealdb.FromOptional(seen), s.seen.last(d.ID))
	d.TroubledSince, d.LastAlerted = sealdb.FromOptional(troubled), sealdb.FromOptional(alerted)
	d.Enrolled, d.Certificate.NotBefore, d.Certificate.NotAfter = sealdb.FromOptional(enrolled), sealdb.FromOptional(begins), sealdb.FromOptional(ends)
	return d, err
}

// Device is the component with this id.
func (s *Directory) Device(ctx context.Context, id string) (Device, error) {
	d, err := s.scanDevice(s.db.QueryRowContext(ctx, selectDevice+" WHERE d.id = ?", id))
	if err != nil {
		return Device{}, sealdb.Named("device", err)
	}
	return d, nil
}

// Devices are all components by id.
func (s *Directory) Devices(ctx context.Context) ([]Device, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (Device, error) { return s.scanDevice(r) }, selectDevice+" ORDER BY d.id")
	return all, sealdb.Named("devices", err)
}

// SensorsAt are the sensors at a bed now, by id.
func (s *Directory) SensorsAt(ctx context.Context, bed string) ([]Device, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (Device, error) { return s.scanDevice(r) },
		selectDevice+` WHERE d.kind = 'sensor' AND d.id IN (SELECT device FROM placements WHERE bed = ?1 AND begins <= ?2 AND (ends IS NULL OR ends > ?2)) ORDER BY d.id`,
		bed, sealdb.Micro(s.db.Now()))
	return all, sealdb.Named("sensors at bed", err)
}

// AdmitDevice makes a component active that is invited, or is so already; ErrNotFound if it is in neither state (any more).
func (s *Directory) AdmitDevice(ctx context.Context, id string) error {
	err := sealdb.Affected(s.db.ExecContext(ctx, "UPDATE devices SET state = ? WHERE id = ? AND state IN (?, ?)", DeviceActive, id, DeviceInvited, DeviceActive))
	s.db.DevicesChanged()
	return sealdb.Named("admit device", err)
}

// PlaceDevice puts a component at a bed from at on, and takes it from where it was at that moment; an empty bed only takes it
// away. Where it already stands, nothing changes. ErrConflict if its history reaches beyond at.
func (s *Directory) PlaceDevice(ctx context.Context, device, bed string, at time.Time) error {
	return s.PlaceDeviceBy(ctx, device, bed, "", at)
}

// PlaceDeviceBy is PlaceDevice with the id of the person who does it, for Departures.
func (s *Directory) PlaceDeviceBy(ctx context.Context, device, bed, person string, at time.Time) error {
	if err := s.db.CheckAt(at); err != nil {
		return sealdb.Named("place device", err)
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		if err := sealdb.Exists(ctx, tx, "device", "devices", device); err != nil {
			return err
		}
		if bed != "" {
			if err := sealdb.Exists(ctx, tx, "bed", "beds", bed); err != nil {
				return err
			}
		}
		var now string
		var late int
		if err := tx.QueryRowContext(ctx, `SELECT coalesce((SELECT bed FROM placements WHERE device = ?1 AND ends IS NULL AND begins <= ?2), ''),
			(SELECT count(*) FROM placements WHERE device = ?1 AND (begins >= ?2 OR ends > ?2))`, device, sealdb.Micro(at)).Scan(&now, &late); err != nil {
			return err
		}
		switch {
		case now == bed:
			return nil
		case late > 0:
			return fmt.Errorf("%w: the device's history reaches beyond this time", sealdb.ErrConflict)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE placements SET ends = ?, told = ?, mover = ? WHERE device = ? AND ends IS NULL", sealdb.Micro(at), s.toldBy(sealdb.Micro(at)), person, device); err != nil || bed == "" {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO placements (device, bed, begins) VALUES (?, ?, ?)", device, bed, sealdb.Micro(at))
		return err
	})
	s.db.PlacesChanged()
	return sealdb.Named("place device", err)
}

// touches remembers when components were last seen, so that not every sign of life is a commit.
type touches struct {
	mu sync.Mutex // guards m
	m  map[string]touch
}

type touch struct{ seen, written time.Time }

const touchEvery = 30 * time.Second

func (t *touches) init() { t.m = map[string]touch{} }

func (t *touches) last(id string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[id].seen
}

// note remembers at and says whether it is time to write it.
func (t *touches) note(id string, at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.m[id]
	due := at.Sub(was.written) >= touchEvery
	if due {
		was.written = at
	}
	if len(t.m) >= sealdb.MaxCached {
		clear(t.m)
	}
	t.m[id] = touch{sealdb.Later(was.seen, at), was.written}
	return due
}

// TouchDevice notes that a component is alive now. It is cheap: it writes at most twice a minute.
func (s *Directory) TouchDevice(ctx context.Context, id string) error {
	if now := s.db.Now(); s.seen.note(id, now) {
		return sealdb.Named("touch device", sealdb.Affected(s.db.ExecContext(ctx, "UPDATE devices SET seen = ? WHERE id = ?", sealdb.Micro(now), id)))
	}
	return nil
}

// CreateTicket stores the hash of a one-time secret that lets exactly these components enrol before expires.
func (s *Directory) CreateTicket(ctx context.Context, secretHash [32]byte, ids []string, expires time.Time) error {
	if len(ids) == 0 || len(ids) > maxRelations {
		return sealdb.Named("create ticket", fmt.Errorf("%w: a ticket is for 1 to %d components", sealdb.ErrInvalid, maxRelations))
	}
	for _, id := range ids {
		if err := sealdb.CheckIdentity("component", id); err != nil {
			return sealdb.Named("create ticket", err)
		}
	}
	b, err := json.Marshal(ids)
	if err != nil {
		return sealdb.Named("create ticket", err)
	}
	_, err = s.db.ExecContext(ctx, "INSERT INTO tickets (hash, ids, expires) VALUES (?, ?, ?)", secretHash[:], string(b), sealdb.Micro(expires))
	return sealdb.Named("create ticket", err)
}

// RedeemTicket uses up a ticket, once, for exactly the components it was made for in any order, and gives their ids.
// ErrNotFound, ErrTicketUsed, ErrTicketExpired or ErrTicketMismatch leave it as it was.
func (s *Directory) RedeemTicket(ctx context.Context, secretHash [32]byte, ids []string, now time.Time) ([]string, error) {
	var want []string
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		var list string
		var expires int64
		var redeemed *int64
		if err := tx.QueryRowContext(ctx, "SELECT ids, expires, redeemed FROM tickets WHERE hash = ?", secretHash[:]).
			Scan(&list, &expires, &redeemed); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(list), &want); err != nil {
			return err
		}
		a, b := slices.Clone(ids), slices.Clone(want)
		slices.Sort(a)
		slices.Sort(b)
		switch {
		//defence:ticket-once a ticket counts once
		case redeemed != nil:
			return ErrTicketUsed
		case sealdb.Micro(now) >= expires:
			return ErrTicketExpired
		case !slices.Equal(a, b):
			return ErrTicketMismatch
		}
		_, err := tx.ExecContext(ctx, "UPDATE tickets SET redeemed = ? WHERE hash = ?", sealdb.Micro(now), secretHash[:])
		return err
	})
	if err != nil {
		return nil, sealdb.Named("redeem ticket", err)
	}
	return want, nil
}

// BarredDevice is the state that a component is in, though only memory says so yet.
func (s *Directory) BarredDevice(id string) (state string, ok bool) {
	s.db.EachBarred(sealdb.BarDevice, func(b string) {
		device, to, _ := strings.Cut(b, " ")
		if device == id && state != DeviceDeleted {
			state, ok = to, true
		}
	})
	return state, ok
}
