package overlay

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
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

func (refuseAll) Redeem(context.Context, string, []ID, []*x509.Certificate) error {
	return ErrTicketInvalid
}
func (refuseAll) Promote(context.Context, []ID) error { return errors.New("promoted without a ticket") }

// DecideRenewal decides b as a request on the renew service by the sensor "fuzz", of whom a new key
// is demanded.
func DecideRenewal(b []byte) {
	var request renewRequest
	if json.Unmarshal(b, &request) != nil {
		return
	}
	a, err := NewAuthority("fuzz.internal")
	if err != nil {
		panic(err)
	}
	peer := ID{Domain: "fuzz.internal", Kind: KindSensor, Name: "fuzz"}
	identity, err := IssueIdentity(a, peer, nil, nil, time.Hour)
	if err != nil {
		panic(err)
	}
	conn := &Conn{peer: peer, cert: identity.SVID()}
	r := Renewals{Admit: func(context.Context, *Conn, string) (bool, error) { return true, nil }}
	out, err := renewOne(context.Background(), a, r, time.Hour, request, false, conn)
	if err != nil || out.SVID == nil {
		return
	}
	svid, err := x509.ParseCertificate(out.SVID)
	if err != nil {
		panic(err)
	}
	if who, err := verifySVID([]*x509.Certificate{svid}, a.Root(), a.Domain(), time.Now(), false); err != nil || who != peer {
		panic("issued for another")
	}
}

// Fits is what Enrol asks of its folder.
var Fits = fits

// UsedHere is what Enrol adds to ErrTicketUsed.
var UsedHere = usedHere

// DecideClock decides a good request of a client whose clock reads now (nil: it does not say), and
// tells whether the ticket was redeemed.
func DecideClock(ctx context.Context, now *time.Time) (redeemed bool, err error) {
	a, err := NewAuthority("clock.internal")
	if err != nil {
		return false, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return false, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return false, err
	}
	e := &redeemer{}
	_, _, err = enrolOne(ctx, a, e, time.Hour, enrolRequest{Version: 1, Secret: NewTicketSecret(), Now: now,
		Requests: []enrolElement{{ID: "spiffe://clock.internal/sensor/x", CSR: csr}}})
	return e.redeemed, err
}

type redeemer struct{ redeemed bool }

func (r *redeemer) Redeem(context.Context, string, []ID, []*x509.Certificate) error {
	r.redeemed = true
	return nil
}
func (*redeemer) Promote(context.Context, []ID) error { return nil }
