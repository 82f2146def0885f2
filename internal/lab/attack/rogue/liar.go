package rogue

import (
	"context"
	"encoding/json"
	"errors"
	"net"

	edge_apis "github.com/openziti/sdk-golang/edge-apis"
	"github.com/openziti/sdk-golang/ziti"

	"vitalseal/internal/way/overlay"
)

// Liar is an underlay that dials with OpenZiti's client while claiming another's name as its caller
// id, as a patched client does.
type Liar struct {
	zc ziti.Context
}

// lyingSession is a session of the controller in which the client claims a name.
type lyingSession struct {
	edge_apis.ApiSession
	claim string
}

func (s *lyingSession) GetIdentityName() string { return s.claim }

// NewLiar is a client with the identity of config that claims the name claim.
func NewLiar(config []byte, claim string) (*Liar, error) {
	var c ziti.Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, errors.New("not an OpenZiti identity")
	}
	zc, err := ziti.NewContext(&c)
	if err != nil {
		return nil, err
	}
	l := &Liar{zc}
	if err := zc.Authenticate(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	inside, ok := zc.(*ziti.ContextImpl)
	if !ok {
		return nil, errors.Join(errors.New("the SDK's context is of another kind"), l.Close())
	}
	lie := edge_apis.ApiSession(&lyingSession{inside.CtrlClt.GetCurrentApiSession(), claim})
	inside.CtrlClt.ApiSession.Store(&lie)
	return l, nil
}

// Dial implements overlay.Underlay.
func (l *Liar) Dial(_ context.Context, service string) (net.Conn, error) { return l.zc.Dial(service) }

// Listen implements overlay.Underlay: a liar dials only.
func (l *Liar) Listen(context.Context, string) (net.Listener, error) {
	return nil, overlay.ErrUnavailable
}

// Close implements overlay.Underlay.
func (l *Liar) Close() error {
	l.zc.Close()
	return nil
}
