package attack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"vitalseal/internal/directory"
)

func ticketTwice(ctx context.Context, o *office) (_ Result, err error) {
	secret, ids := sha256.Sum256([]byte(rand.Text())), []string{officeDesk}
	if err := o.store.CreateDevice(ctx, directory.Device{ID: officeDesk, Kind: "workstation"}); err != nil {
		return Result{}, err
	}
	if err := o.store.CreateTicket(ctx, secret, ids, time.Now().Add(time.Hour)); err != nil {
		return Result{}, err
	}
	if _, err := o.store.RedeemTicket(ctx, secret, ids, time.Now()); err != nil {
		return Result{}, fmt.Errorf("the first time: %w", err)
	}
	_, err = o.store.RedeemTicket(ctx, secret, ids, time.Now())
	_, other := o.store.RedeemTicket(ctx, sha256.Sum256([]byte(rand.Text())), ids, time.Now())
	if other == nil {
		return through("any secret enrols", "a secret that was never made")
	}
	return judge(err == nil, failure(err), "enrolled twice", "refused", "%v; an invented secret: %v", err, other)
}
