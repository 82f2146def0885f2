package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/access"
	"vitalseal/internal/channel"
	"vitalseal/internal/directory"
	"vitalseal/internal/store"
)

// stationLiveFlood opens live views from several sessions at one workstation.
func stationLiveFlood(ctx context.Context, t *Target) (Result, error) {
	elsewhere, err := t.newStation(ctx)
	if err != nil {
		return Result{}, err
	}
	doctor, err := elsewhere.signIn(ctx, t.who("doctor"))
	if err != nil {
		return Result{}, err
	}
	open := 0
	var seen []Seen
	err = meanwhile(ctx, t, func(during func() error) error {
		for range 5 {
			c, err := t.client(ctx, t.who("nurse"))
			if err != nil {
				return err
			}
			for range 8 {
				//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
				conn, res, err := websocket.Dial(ctx, t.base+"/api/live?waveforms=none&patient="+t.ward.Patients[0].ID, &websocket.DialOptions{HTTPClient: c.HTTP(), HTTPHeader: c.Cookies()})
				if err != nil {
					if res == nil {
						return err
					}
					seen = append(seen, Seen{Status: res.StatusCode})
					continue
				}
				defer func() { _ = conn.CloseNow() }()
				open++
			}
		}
		if err := elsewhere.sees(ctx, doctor, t.ward.Patients[0].ID); err != nil {
			return fmt.Errorf("%w: at another workstation: %w", errStill, err)
		}
		return during()
	})
	return flooded(err, open > 32, seen, "as many as wanted to", "bounded", "%d of 40 were opened", open)
}

// sees opens a live view at a workstation, and waits for a patient's numbers in it.
func (s *station) sees(ctx context.Context, in session, patient string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
	conn, res, err := websocket.Dial(ctx, "ws://hub/api/live?waveforms=none&patient="+patient, &websocket.DialOptions{HTTPClient: s.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + in.Access}}})
	if err != nil {
		if res != nil {
			err = fmt.Errorf("%d: %w", res.StatusCode, err)
		}
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		var m struct{ Type, Patient string }
		if err := json.Unmarshal(b, &m); err != nil {
			return err
		}
		if m.Type == "numerics" && m.Patient == patient {
			return nil
		}
	}
}

// nurseOf makes a nurse of a ward with one patient.
func (o *office) nurseOf(ctx context.Context, login string) (access.Subject, error) {
	if err := o.store.CreateWard(ctx, directory.Ward{ID: "ward", Name: "Ward"}); err != nil && !errors.Is(err, store.ErrExists) {
		return access.Subject{}, err
	}
	id, err := o.store.CreatePerson(ctx, access.Person{Login: login, DisplayName: "Somebody", Role: access.RoleNurse, Wards: []string{"ward"}}, "none")
	return access.Subject{Person: access.Person{ID: id}, Workstation: officeDesk, SessionStarted: time.Now(), Proven: time.Now(), SecondFactor: true}, err
}

func (o *office) bed(ctx context.Context) (patient string, err error) {
	if err := o.store.CreateWard(ctx, directory.Ward{ID: "ward", Name: "Ward"}); err != nil && !errors.Is(err, store.ErrExists) {
		return "", err
	}
	if err := errors.Join(o.store.CreateBed(ctx, directory.Bed{ID: "bed", Ward: "ward", Name: "Bed"})); err != nil {
		return "", err
	}
	if patient, err = o.store.CreatePatient(ctx, "Somebody"); err != nil {
		return "", err
	}
	return patient, o.store.Admit(ctx, patient, "bed", time.Now().Add(-time.Hour))
}

// auditFlood asks without end.
func auditFlood(ctx context.Context, t *Target) (_ Result, err error) {
	o, err := newOfficeWith(ctx, t, nil, access.WithAuditQuota(access.AuditQuota{PersonEntries: 2, StationEntries: 8}))
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	patient, err := o.bed(ctx)
	if err != nil {
		return Result{}, err
	}
	nurse, err := o.nurseOf(ctx, "flood")
	if err != nil {
		return Result{}, err
	}
	colleague, err := o.nurseOf(ctx, "colleague")
	if err != nil {
		return Result{}, err
	}
	answered := 0
	var errs []error
	for range 500 {
		if _, err := o.engine.Decide(ctx, nurse, access.ViewPatient, access.OnPatient(patient)); err != nil {
			errs = append(errs, err)
			continue
		}
		answered++
	}
	if _, err := o.engine.Decide(ctx, colleague, access.ViewPatient, access.OnPatient(patient)); err != nil {
		return Result{}, fmt.Errorf("a colleague at the same workstation: %w", err)
	}
	return judge(answered >= 500, failure(errs...), "an entry of the log for each", "refused by the quota", "%d of 500 were answered", answered)
}

// entryFlood stores without end.
func entryFlood(ctx context.Context, t *Target) (_ Result, err error) {
	o, err := newOfficeWith(ctx, t, []store.Option{store.WithQuota(channel.Quota{PersonEntries: 2000, PersonBytes: 1 << 20})})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	g := o.engine.Standing("flood", access.WriteChannel, access.ViewChannel)
	nurse, err := o.nurseOf(ctx, "flood")
	if err != nil {
		return Result{}, err
	}
	var errs []error
	stored, at := 0, time.Now().Add(-time.Hour).Truncate(time.Second)
	for range 5 {
		c, err := o.store.CreateChannel(ctx, channel.Channel{Name: "flood", Owner: nurse.Person.ID})
		if err != nil {
			return Result{}, err
		}
		bulk := make([]channel.Entry, 900)
		for i := range bulk {
			v := strconv.Itoa(i)
			bulk[i] = channel.Entry{Created: at.Add(time.Duration(i) * time.Second), Fields: [8]*string{&v}}
		}
		if _, err = o.store.AppendEntries(ctx, g, c.ID, bulk); err != nil {
			errs = append(errs, err)
			continue
		}
		stored += len(bulk)
	}
	other, err := o.nurseOf(ctx, "other")
	if err != nil {
		return Result{}, err
	}
	c, err := o.store.CreateChannel(ctx, channel.Channel{Name: "other", Owner: other.Person.ID})
	if err == nil {
		_, err = o.store.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "x"})
	}
	if err != nil {
		return Result{}, fmt.Errorf("another person's channel: %w", err)
	}
	return judge(stored > 2000, failure(errs...), "as much as wanted to", "refused by the quota", "%d of 4500 entries were stored, 2000 are allowed", stored)
}

// revocationFlood disables a person while many write.
func revocationFlood(ctx context.Context, o *office) (_ Result, err error) {
	nurse, err := o.nurseOf(ctx, "flood")
	if err != nil {
		return Result{}, err
	}
	const writers = 64
	var written atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	flood, stop := context.WithCancel(ctx)
	defer all.Wait()
	defer stop()
	for range writers {
		all.Go(func() {
			for flood.Err() == nil {
				if _, err := o.store.CreatePatient(flood, "Somebody"); err != nil && flood.Err() == nil {
					failed.Store(&err)
					return
				}
				written.Add(1)
			}
		})
	}
	for written.Load() < writers && failed.Load() == nil && ctx.Err() == nil { // all of them wait by now
		time.Sleep(time.Millisecond)
	}
	before := written.Load()
	if err := o.store.SetPersonDisabled(ctx, nurse.Person.ID, true); err != nil {
		return Result{}, err
	}
	first := written.Load() - before
	stop()
	all.Wait()
	if err := failed.Load(); err != nil {
		return Result{}, *err
	}
	if p, err := o.store.Person(ctx, nurse.Person.ID); err != nil || !p.Disabled {
		return through("not disabled", "%v", err)
	}
	return judge(first > writers/2, word("disabled ahead of those who waited"), "it waited for those who came before", "it went first", "%d of %d who waited went before", first, writers)
}
