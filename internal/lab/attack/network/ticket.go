package network

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
)

func ticketTwice(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	secret, ids := sha256.Sum256([]byte(rand.Text())), []string{office.Desk}
	if err := o.Store.CreateDevice(ctx, directory.Device{ID: office.Desk, Kind: "workstation"}); err != nil {
		return attack.Result{}, err
	}
	if err := o.Store.CreateTicket(ctx, secret, ids, time.Now().Add(time.Hour)); err != nil {
		return attack.Result{}, err
	}
	if _, err := o.Store.RedeemTicket(ctx, secret, ids, time.Now()); err != nil {
		return attack.Result{}, fmt.Errorf("the first time: %w", err)
	}
	_, err = o.Store.RedeemTicket(ctx, secret, ids, time.Now())
	_, other := o.Store.RedeemTicket(ctx, sha256.Sum256([]byte(rand.Text())), ids, time.Now())
	if other == nil {
		return attack.Through("any secret enrols", "a secret that was never made")
	}
	return attack.Judge(err == nil, attack.Failure(err), "enrolled twice", "refused", "%v; an invented secret: %v", err, other)
}
