package signin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"vitalseal/internal/hub/access"
)

// ErrProvider means that the OpenID provider did not answer, or that it cannot now: whether a person
// may sign in was not decided. It comes with an access.ErrUndecided, is no refusal, and counts as
// none.
var ErrProvider = errors.New("signin: the OpenID provider does not answer")

// errUnanswered means that the role may be in the user information, which was not answered.
var errUnanswered = errors.New("no role claim, and no answer about the user")

// outages counts requests to the provider that it did not answer, or answered with what says that it
// cannot now: the libraries do not tell these apart from an answer that is not valid.
type outages struct{ n atomic.Int64 }

type outagesKey struct{}

// watched is a context in which outages are counted.
func watched(ctx context.Context, o *outages) context.Context {
	return context.WithValue(ctx, outagesKey{}, o)
}

// boundedAnswers reads no more than maxProviderAnswer of an answer, where the libraries read all
// that comes, and counts outages.
type boundedAnswers struct {
	next  http.RoundTripper
	later *outages // of requests that the libraries make on their own, such as for keys
}

// RoundTrip implements http.RoundTripper.
func (b boundedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	next := b.next
	if next == nil {
		next = http.DefaultTransport
	}
	met, _ := r.Context().Value(outagesKey{}).(*outages)
	if met == nil {
		met = b.later
	}
	res, err := next.RoundTrip(r)
	if err != nil {
		met.n.Add(1)
		return nil, err
	}
	if res.StatusCode >= http.StatusInternalServerError || res.StatusCode == http.StatusTooManyRequests {
		met.n.Add(1)
	}
	res.Body = &watchedBody{http.MaxBytesReader(nil, res.Body, maxProviderAnswer), met}
	return res, nil
}

// watchedBody counts an answer that breaks off as an outage, and one that is too long as none.
type watchedBody struct {
	io.ReadCloser
	met *outages
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var long *http.MaxBytesError
	if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &long) {
		b.met.n.Add(1)
	}
	return n, err
}

// signInUndecided says that a sign-in at the provider was not decided, and writes that down.
func (svc *Service) signInUndecided(ctx context.Context, workstation string, cause error) error {
	svc.log.WarnContext(ctx, "sign-in at the OpenID provider not decided: it does not answer, or says that it cannot now; check that the hub reaches it", "err", withoutSecrets(cause))
	why := "the OpenID provider did not answer"
	if errors.Is(cause, errUnanswered) {
		why = reasonUnanswered
	}
	return fmt.Errorf("%w: %w", ErrProvider, svc.access.SignInUndecided(ctx, workstation, actionSignIn, why, cause))
}

// undecidedBy is a failure that outages explain.
func undecidedBy(err error) error {
	return fmt.Errorf("%w: %w: %w", ErrProvider, access.ErrUndecided, err)
}
