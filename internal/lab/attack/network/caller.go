package network

import (
	"context"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/way/overlay"
)

func callerID(ctx context.Context, t *attack.Target) (attack.Result, error) {
	r, err := rogue.Shared(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	me, victim := r.IDs["one"], r.IDs["two"]
	l, err := rogue.NewLiar(me.Config(), victim.ID().String())
	if err != nil {
		return attack.Result{}, err
	}
	k, err := rogue.Greet(ctx, t, overlay.NewEndpoint(me, l, t.Log))
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = k.Conn.Close() }()
	m, err := rogue.Begin(me, victim.ID().String(), rogue.NextEpoch(t))
	if err != nil {
		return attack.Result{}, err
	}
	o, why, err := k.Send(rogue.FrameAnnouncement, m.Announcement)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(o == rogue.OutcomeAccepted, attack.Word("%s", rogue.Acked(o, why)), "the hub took it for the victim", "the hub went by the certificate", "caller id %s, certificate %s: outcome %d, reason %d", victim.ID().Name, me.ID().Name, o, why)
}
