package attack

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"

	edge_apis "github.com/openziti/sdk-golang/edge-apis"
	"github.com/openziti/sdk-golang/ziti"

	"vitalseal/internal/overlay"
)

// liar is an underlay that dials with OpenZiti's client while claiming another's name as its caller id, as a patched client
// does.
type liar struct {
	zc ziti.Context
}

type lyingSession struct {
	edge_apis.ApiSession
	claim string
}

func (s *lyingSession) GetIdentityName() string { return s.claim }

func newLiar(config []byte, claim string) (*liar, error) {
	var c ziti.Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, errors.New("not an OpenZiti identity")
	}
	zc, err := ziti.NewContext(&c)
	if err != nil {
		return nil, err
	}
	l := &liar{zc}
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

func (l *liar) Dial(_ context.Context, service string) (net.Conn, error) { return l.zc.Dial(service) }

func (l *liar) Listen(context.Context, string) (net.Listener, error) {
	return nil, overlay.ErrUnavailable
}

func (l *liar) Close() error {
	l.zc.Close()
	return nil
}

func callerID(ctx context.Context, t *Target) (Result, error) {
	r, err := t.sensors(ctx)
	if err != nil {
		return Result{}, err
	}
	me, victim := r.ids["one"], r.ids["two"]
	l, err := newLiar(me.Config(), victim.ID().String())
	if err != nil {
		return Result{}, err
	}
	k, err := t.greet(ctx, overlay.NewEndpoint(me, l, t.log))
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = k.c.Close() }()
	m, err := begin(me, victim.ID().String(), t.nextEpoch())
	if err != nil {
		return Result{}, err
	}
	o, why, err := k.send(frameAnnouncement, m.said)
	if err != nil {
		return Result{}, err
	}
	return judge(o == outcomeAccepted, word("%s", acked(o, why)), "the hub took it for the victim", "the hub went by the certificate", "caller id %s, certificate %s: outcome %d, reason %d", victim.ID().Name, me.ID().Name, o, why)
}

// noise are the same random bytes each time.
func noise(seed int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(seed))) // #nosec G404 G115 -- repeatable noise, no secret
	b := make([]byte, 1+r.IntN(400))
	for i := range b {
		b[i] = byte(r.Uint32()) // #nosec G115 -- eight of the bits
	}
	return b
}
