package flood

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/view/api"
	"vitalseal/internal/view/dashboard"
)

// underway begins the largest bulk update there is, of a nurse's channel, and returns once some of
// it is on disk. done gives its error. early says that all of it was there at once.
func underway(ctx context.Context, o *office.Office) (nurse access.Subject, channelID int64, done <-chan error, early bool, err error) {
	if nurse, err = o.Nurse(ctx, "bulk"); err != nil {
		return nurse, 0, nil, false, err
	}
	c, err := o.Store.CreateChannel(ctx, channel.Channel{Name: "bulk", Owner: nurse.Person.ID})
	if err != nil {
		return nurse, 0, nil, false, err
	}
	v, at := "1", time.Now().Add(-24*time.Hour).Truncate(time.Second)
	bulk := make([]channel.Entry, channel.MaxBulk)
	for i := range bulk {
		bulk[i] = channel.Entry{Created: at.Add(time.Duration(i) * time.Second), Fields: [8]*string{&v}}
	}
	end := make(chan error, 1)
	go func() {
		_, err := o.Store.AppendEntries(ctx, o.Engine.Standing("bulk", access.WriteChannel), c.ID, bulk)
		end <- err
	}()
	for {
		all, err := o.Store.Usages(ctx, 1)
		if err != nil {
			return nurse, c.ID, end, false, err
		}
		if len(all) > 0 && all[0].Entries > 0 {
			return nurse, c.ID, end, all[0].Entries >= channel.MaxBulk, nil
		}
		select {
		case <-ctx.Done():
			return nurse, c.ID, end, false, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// over reports whether something has ended; its error stays to be read.
func over(done <-chan error) bool { return len(done) > 0 }

// bulkRevocation has a person disabled while the person's bulk update is stored.
func bulkRevocation(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	patient, err := o.Bed(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	nurse, _, done, early, err := underway(ctx, o)
	if err != nil {
		return attack.Result{}, err
	}
	if _, err := o.Engine.Decide(ctx, nurse, access.ViewPatient, access.OnPatient(patient)); err != nil {
		return attack.Result{}, fmt.Errorf("the nurse reads before: %w", err)
	}
	if err := o.Store.SetPersonDisabled(ctx, nurse.Person.ID, true); err != nil {
		return attack.Result{}, err
	}
	waited := early || over(done)
	_, reads := o.Engine.Decide(ctx, nurse, access.ViewPatient, access.OnPatient(patient))
	if err := <-done; err != nil {
		return attack.Result{}, fmt.Errorf("the bulk update: %w", err)
	}
	if reads == nil {
		return attack.Through("read on", "a disabled nurse is let in")
	}
	return attack.Judge(waited, attack.Failure(reads), "the administrator waited for all of it", "disabled while it was stored", "%d entries", channel.MaxBulk)
}

// bulkFlood stores for another person while a bulk update is stored, and reads the channel of which
// only a part is there.
func bulkFlood(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	other, err := o.Nurse(ctx, "other")
	if err != nil {
		return attack.Result{}, err
	}
	c, err := o.Store.CreateChannel(ctx, channel.Channel{Name: "other", Owner: other.Person.ID})
	if err != nil {
		return attack.Result{}, err
	}
	g := o.Engine.Standing("bulk", access.WriteChannel, access.ViewChannel)
	_, channelID, done, early, err := underway(ctx, o)
	if err != nil {
		return attack.Result{}, err
	}
	part, err := o.Store.EntriesByID(ctx, g, channelID, 0, channel.MaxBulk, 1, false)
	if err == nil {
		_, err = o.Store.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "x"})
	}
	if err != nil {
		return attack.Result{}, err
	}
	waited := early || over(done)
	if err := <-done; err != nil {
		return attack.Result{}, fmt.Errorf("the bulk update: %w", err)
	}
	if !waited && len(part) > 0 {
		return attack.Through("a part is read", "before all of it was stored")
	}
	return attack.Judge(waited, attack.Word("another's entry between its pieces, none of them read"), "another person waited for all of it", "stored in pieces", "%d entries", channel.MaxBulk)
}

// liveStations opens live views at several workstations until all are taken, and then one at a
// workstation that has none.
func liveStations(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	patient, err := o.Bed(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	const station = "X-Attack-Station" // stands for the proof of the inner TLS
	gate, err := api.NewGate(api.Config{SignIn: o.SignIn, Workstation: func(r *http.Request) string { return r.Header.Get(station) }})
	if err != nil {
		return attack.Result{}, err
	}
	board, err := dashboard.New(dashboard.Config{Store: o.Store, Access: o.Engine, SignIn: o.SignIn, Log: o.Log, Live: dashboard.LiveBounds{Total: 12}, Gate: gate})
	if err != nil {
		return attack.Result{}, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return attack.Result{}, err
	}
	server := &http.Server{Handler: board, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }() // until it is closed
	defer func() { err = errors.Join(err, server.Close()) }()
	hash, err := o.SignIn.HashPassword(ctx, office.Password)
	if err != nil {
		return attack.Result{}, err
	}
	for _, login := range []string{"flood", "ward"} {
		if _, err := o.Store.CreatePerson(ctx, access.Person{Login: login, DisplayName: "Somebody", Role: access.RoleNurse, Wards: []string{"ward"}}, hash); err != nil {
			return attack.Result{}, err
		}
	}
	view := func(login, at string, n int) (open int, seen []attack.Seen, err error) {
		name := "spiffe://" + office.Domain + "/workstation/" + at
		in, err := o.SignIn.SignIn(ctx, login, office.Password, name)
		if err != nil {
			return 0, nil, err
		}
		for range n {
			//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
			conn, res, err := websocket.Dial(ctx, "http://"+l.Addr().String()+"/api/live?waveforms=none&patient="+patient,
				&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + in.Tokens.Access}, station: {name}}})
			switch {
			case err == nil:
				open++
				context.AfterFunc(ctx, func() { _ = conn.CloseNow() })
			case res == nil:
				return open, seen, err
			default:
				seen = append(seen, attack.Seen{Status: res.StatusCode})
			}
		}
		return open, seen, nil
	}
	taken := 0
	var seen []attack.Seen
	for i := range 4 { // the last of them finds all taken beyond its first ones
		open, refusals, err := view("flood", fmt.Sprint("taken-", i), 8)
		if err != nil {
			return attack.Result{}, err
		}
		taken, seen = taken+open, append(seen, refusals...)
	}
	open, _, err := view("ward", "ward", 1)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(open == 0, seen, "a ward opens no view", "the ward's first view is its own", "%d of 32 were opened elsewhere", taken)
}
