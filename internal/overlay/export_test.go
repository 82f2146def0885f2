package overlay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"
)

// DecideFrame reads b as a request for enrolment and decides it, without the connection around it.
func DecideFrame(ctx context.Context, b []byte) {
	var request enrolRequest
	if readFrame(bytes.NewReader(b), &request) != nil {
		return
	}
	a, err := NewAuthority("fuzz.internal")
	if err != nil {
		panic(err)
	}
	ids, svids, err := enrolOne(ctx, a, refuseAll{}, time.Hour, request)
	if err == nil || ids != nil || svids != nil {
		panic("issued without a ticket")
	}
	if err := writeFrame(io.Discard, enrolResponse{Version: 1, Error: errorCode(err)}); err != nil {
		panic(err)
	}
}

type refuseAll struct{}

func (refuseAll) Redeem(context.Context, string, []ID, ID) error { return ErrTicketInvalid }
func (refuseAll) Promote(context.Context, []ID) error            { return errors.New("promoted without a ticket") }
