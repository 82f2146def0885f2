package flood

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

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/load"
	"vitalseal/internal/lab/attack/office"
)

// stationLiveFlood opens live views from several sessions at one workstation.
func stationLiveFlood(ctx context.Context, t *attack.Target) (attack.Result, error) {
	elsewhere, err := t.NewStation(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	doctor, err := elsewhere.SignIn(ctx, t.Who("doctor"))
	if err != nil {
		return attack.Result{}, err
	}
	open := 0
	var seen []attack.Seen
	err = load.Meanwhile(ctx, t, func(during func() error) error {
		for range 5 {
			c, err := t.Client(ctx, t.Who("nurse"))
			if err != nil {
				return err
			}
			for range 8 {
				//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
				conn, res, err := websocket.Dial(ctx, t.Base+"/api/live?waveforms=none&patient="+t.Ward.Patients[0].ID, &websocket.DialOptions{HTTPClient: c.HTTP(), HTTPHeader: c.Cookies()})
				if err != nil {
					if res == nil {
						return err
					}
					seen = append(seen, attack.Seen{Status: res.StatusCode})
					continue
				}
				defer func() { _ = conn.CloseNow() }()
				open++
			}
		}
		if err := sees(ctx, elsewhere, doctor, t.Ward.Patients[0].ID); err != nil {
			return fmt.Errorf("%w: at another workstation: %w", load.ErrStill, err)
		}
		return during()
	})
	return load.Flooded(err, open > 32, seen, "as many as wanted to", "bounded", "%d of 40 were opened", open)
}

// sees opens a live view at a workstation, and waits for a patient's numbers in it.
func sees(ctx context.Context, s *attack.Station, in attack.Session, patient string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
	conn, res, err := websocket.Dial(ctx, "ws://hub/api/live?waveforms=none&patient="+patient, &websocket.DialOptions{HTTPClient: s.HTTP, HTTPHeader: http.Header{"Authorization": {"Bearer " + in.Access}}})
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

// auditFlood asks without end.
func auditFlood(ctx context.Context, t *attack.Target) (_ attack.Result, err error) {
	o, err := office.NewWith(ctx, t, nil, access.WithAuditQuota(access.AuditQuota{PersonEntries: 2, StationEntries: 8}))
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	patient, err := o.Bed(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	nurse, err := o.Nurse(ctx, "flood")
	if err != nil {
		return attack.Result{}, err
	}
	colleague, err := o.Nurse(ctx, "colleague")
	if err != nil {
		return attack.Result{}, err
	}
	answered := 0
	var errs []error
	for range 500 {
		if _, err := o.Engine.Decide(ctx, nurse, access.ViewPatient, access.OnPatient(patient)); err != nil {
			errs = append(errs, err)
			continue
		}
		answered++
	}
	if _, err := o.Engine.Decide(ctx, colleague, access.ViewPatient, access.OnPatient(patient)); err != nil {
		return attack.Result{}, fmt.Errorf("a colleague at the same workstation: %w", err)
	}
	return attack.Judge(answered >= 500, attack.Failure(errs...), "an entry of the log for each", "refused by the quota", "%d of 500 were answered", answered)
}

// entryFlood stores without end.
func entryFlood(ctx context.Context, t *attack.Target) (_ attack.Result, err error) {
	o, err := office.NewWith(ctx, t, []store.Option{store.WithQuota(channel.Quota{PersonEntries: 2000, PersonBytes: 1 << 20})})
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	g := o.Engine.Standing("flood", access.WriteChannel, access.ViewChannel)
	nurse, err := o.Nurse(ctx, "flood")
	if err != nil {
		return attack.Result{}, err
	}
	var errs []error
	stored, at := 0, time.Now().Add(-time.Hour).Truncate(time.Second)
	for range 5 {
		c, err := o.Store.CreateChannel(ctx, channel.Channel{Name: "flood", Owner: nurse.Person.ID})
		if err != nil {
			return attack.Result{}, err
		}
		bulk := make([]channel.Entry, 900)
		for i := range bulk {
			v := strconv.Itoa(i)
			bulk[i] = channel.Entry{Created: at.Add(time.Duration(i) * time.Second), Fields: [8]*string{&v}}
		}
		if _, err = o.Store.AppendEntries(ctx, g, c.ID, bulk); err != nil {
			errs = append(errs, err)
			continue
		}
		stored += len(bulk)
	}
	other, err := o.Nurse(ctx, "other")
	if err != nil {
		return attack.Result{}, err
	}
	c, err := o.Store.CreateChannel(ctx, channel.Channel{Name: "other", Owner: other.Person.ID})
	if err == nil {
		_, err = o.Store.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "x"})
	}
	if err != nil {
		return attack.Result{}, fmt.Errorf("another person's channel: %w", err)
	}
	return attack.Judge(stored > 2000, attack.Failure(errs...), "as much as wanted to", "refused by the quota", "%d of 4500 entries were stored, 2000 are allowed", stored)
}

// revocationFlood disables a person while many write.
func revocationFlood(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	nurse, err := o.Nurse(ctx, "flood")
	if err != nil {
		return attack.Result{}, err
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
				if _, err := o.Store.CreatePatient(flood, "Somebody"); err != nil && flood.Err() == nil {
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
	if err := o.Store.SetPersonDisabled(ctx, nurse.Person.ID, true); err != nil {
		return attack.Result{}, err
	}
	first := written.Load() - before
	stop()
	all.Wait()
	if err := failed.Load(); err != nil {
		return attack.Result{}, *err
	}
	if p, err := o.Store.Person(ctx, nurse.Person.ID); err != nil || !p.Disabled {
		return attack.Through("not disabled", "%v", err)
	}
	return attack.Judge(first > writers/2, attack.Word("disabled ahead of those who waited"), "it waited for those who came before", "it went first", "%d of %d who waited went before", first, writers)
}
