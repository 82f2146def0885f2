package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/access"
	"vitalseal/internal/channel"
	"vitalseal/internal/view/api"
	"vitalseal/internal/view/dashboard"
)

// underway begins the largest bulk update there is, of a nurse's channel, and returns once some of it is on disk. done gives its error.
// early says that all of it was there at once.
func (o *office) underway(ctx context.Context) (nurse access.Subject, channelID int64, done <-chan error, early bool, err error) {
	if nurse, err = o.nurseOf(ctx, "bulk"); err != nil {
		return nurse, 0, nil, false, err
	}
	c, err := o.store.CreateChannel(ctx, channel.Channel{Name: "bulk", Owner: nurse.Person.ID})
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
		_, err := o.store.AppendEntries(ctx, o.engine.Standing("bulk", access.WriteChannel), c.ID, bulk)
		end <- err
	}()
	for {
		all, err := o.store.Usages(ctx, 1)
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
func bulkRevocation(ctx context.Context, o *office) (_ Result, err error) {
	patient, err := o.bed(ctx)
	if err != nil {
		return Result{}, err
	}
	nurse, _, done, early, err := o.underway(ctx)
	if err != nil {
		return Result{}, err
	}
	if _, err := o.engine.Decide(ctx, nurse, access.ViewPatient, access.OnPatient(patient)); err != nil {
		return Result{}, fmt.Errorf("the nurse reads before: %w", err)
	}
	if err := o.store.SetPersonDisabled(ctx, nurse.Person.ID, true); err != nil {
		return Result{}, err
	}
	waited := early || over(done)
	_, reads := o.engine.Decide(ctx, nurse, access.ViewPatient, access.OnPatient(patient))
	if err := <-done; err != nil {
		return Result{}, fmt.Errorf("the bulk update: %w", err)
	}
	if reads == nil {
		return through("read on", "a disabled nurse is let in")
	}
	return judge(waited, failure(reads), "the administrator waited for all of it", "disabled while it was stored", "%d entries", channel.MaxBulk)
}

// bulkFlood stores for another person while a bulk update is stored, and reads the channel of which only a part is there.
func bulkFlood(ctx context.Context, o *office) (_ Result, err error) {
	other, err := o.nurseOf(ctx, "other")
	if err != nil {
		return Result{}, err
	}
	c, err := o.store.CreateChannel(ctx, channel.Channel{Name: "other", Owner: other.Person.ID})
	if err != nil {
		return Result{}, err
	}
	g := o.engine.Standing("bulk", access.WriteChannel, access.ViewChannel)
	_, channelID, done, early, err := o.underway(ctx)
	if err != nil {
		return Result{}, err
	}
	part, err := o.store.EntriesByID(ctx, g, channelID, 0, channel.MaxBulk, 1, false)
	if err == nil {
		_, err = o.store.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "x"})
	}
	if err != nil {
		return Result{}, err
	}
	waited := early || over(done)
	if err := <-done; err != nil {
		return Result{}, fmt.Errorf("the bulk update: %w", err)
	}
	if !waited && len(part) > 0 {
		return through("a part is read", "before all of it was stored")
	}
	return judge(waited, word("another's entry between its pieces, none of them read"), "another person waited for all of it", "stored in pieces", "%d entries", channel.MaxBulk)
}

// liveStations opens live views at several workstations until all are taken, and then one at a workstation that has none.
func liveStations(ctx context.Context, o *office) (_ Result, err error) {
	patient, err := o.bed(ctx)
	if err != nil {
		return Result{}, err
	}
	const station = "X-Attack-Station" // stands for the proof of the inner TLS
	gate, err := api.NewGate(api.Config{SignIn: o.signin, Workstation: func(r *http.Request) string { return r.Header.Get(station) }})
	if err != nil {
		return Result{}, err
	}
	board, err := dashboard.New(dashboard.Config{Store: o.store, Access: o.engine, SignIn: o.signin, Log: o.log, Live: dashboard.LiveBounds{Total: 12}, Gate: gate})
	if err != nil {
		return Result{}, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Result{}, err
	}
	server := &http.Server{Handler: board, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }() // until it is closed
	defer func() { err = errors.Join(err, server.Close()) }()
	hash, err := o.signin.HashPassword(ctx, officePassword)
	if err != nil {
		return Result{}, err
	}
	for _, login := range []string{"flood", "ward"} {
		if _, err := o.store.CreatePerson(ctx, access.Person{Login: login, DisplayName: "Somebody", Role: access.RoleNurse, Wards: []string{"ward"}}, hash); err != nil {
			return Result{}, err
		}
	}
	view := func(login, at string, n int) (open int, seen []Seen, err error) {
		name := "spiffe://" + officeDomain + "/workstation/" + at
		in, err := o.signin.SignIn(ctx, login, officePassword, name)
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
				seen = append(seen, Seen{Status: res.StatusCode})
			}
		}
		return open, seen, nil
	}
	taken := 0
	var seen []Seen
	for i := range 4 { // the last of them finds all taken beyond its first ones
		open, refusals, err := view("flood", fmt.Sprint("taken-", i), 8)
		if err != nil {
			return Result{}, err
		}
		taken, seen = taken+open, append(seen, refusals...)
	}
	open, _, err := view("ward", "ward", 1)
	if err != nil {
		return Result{}, err
	}
	return judge(open == 0, seen, "a ward opens no view", "the ward's first view is its own", "%d of 32 were opened elsewhere", taken)
}
