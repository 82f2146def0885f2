package openziti

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/openziti/sdk-golang/ziti"

	"vitalseal/internal/way/overlay"
)

// probeTimeout bounds one look at whether an address answers.
const probeTimeout = time.Second

var _ overlay.Clock = (*Network)(nil)

// Time asks the controller that signed a one-time token for its time, which is to the second. No
// other is believed: the token's signature must be of the key that the controller shows in its TLS
// handshake, as for Enrol.
func (n *Network) Time(ctx context.Context, token string) (time.Time, error) {
	token = strings.TrimSpace(token)
	claims := jwt.RegisteredClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		return time.Time{}, errors.New("openziti: time: not a one-time token")
	}
	at, err := url.Parse(claims.Issuer)
	if err != nil || at.Scheme != "https" || at.Host == "" {
		return time.Time{}, errors.New("openziti: time: the token names no controller")
	}
	signed := func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("no certificate")
		}
		_, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return s.PeerCertificates[0].PublicKey, nil },
			jwt.WithoutClaimsValidation(), jwt.WithValidMethods([]string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512"}))
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, // #nosec G402 -- signed, on the next line, proves the controller by the token's signature
		VerifyConnection:   signed}}
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+at.Host+"/edge/client/v1/version", nil)
	if err != nil {
		return time.Time{}, fmt.Errorf("openziti: time: %w", err)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: probeTimeout}).Do(rq)
	if err != nil {
		return time.Time{}, fmt.Errorf("openziti: time: %w", err)
	}
	_ = resp.Body.Close()
	told, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}, errors.New("openziti: time: the controller told none")
	}
	return told, nil
}

// controller is the address of the controller in an identity's configuration, HOST:PORT; "" if it
// names none.
func controller(config []byte) string {
	var c ziti.Config
	if json.Unmarshal(config, &c) != nil {
		return ""
	}
	api := c.ZtAPI
	if api == "" && len(c.ZtAPIs) > 0 {
		api = c.ZtAPIs[0]
	}
	u, err := url.Parse(api)
	if err != nil {
		return ""
	}
	return u.Host
}

// unreachable says more of why a dial failed, where the failure says nothing of which address it
// was: whether the controller at address answers at all, and what to look at.
func unreachable(ctx context.Context, address string, cause error) error {
	failed := fmt.Errorf("%w: %s", overlay.ErrUnavailable, overlay.Redact(cause.Error()))
	if errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, context.Canceled) {
		failed = fmt.Errorf("%w: %w", overlay.ErrUnavailable, cause)
	}
	if address == "" || errors.Is(cause, context.Canceled) || errors.Is(cause, net.ErrClosed) {
		return failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%w; the overlay's controller at %s cannot be reached from this machine (%w): check that it runs, that its name resolves here, and the way to that port", failed, address, err)
	}
	_ = c.Close()
	return failed
}
