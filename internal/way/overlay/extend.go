package overlay

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"vitalseal/internal/way/overlay/mgmt"
)

// clientAPI is the prefix of the interface that every identity may use for itself.
const clientAPI = "/edge/client/v1"

// ProbeZiti tells whether the network knows a configuration's certificate: nil if it signs in with
// it, ErrRefused if the controller refuses it, ErrUnavailable without an answer.
func ProbeZiti(ctx context.Context, config []byte) error {
	c, err := mgmt.FromIdentity(config)
	if err != nil {
		return err
	}
	defer c.Close()
	return signIn(ctx, c)
}

func signIn(ctx context.Context, c *mgmt.Client) error {
	err := c.LoginAt(ctx, clientAPI)
	switch {
	case errors.Is(err, mgmt.ErrUnauthorized):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.Is(err, mgmt.ErrUnavailable):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// ExtendZiti has the network extend the certificate of a configuration: it sends a certificate
// request (PEM) and gives the new certificate (PEM, leaf first) to keep, which returns the new
// configuration after it has put it on disk; only then does the controller take the new one in the
// place of the old one. Sessions of the identity stay.
func ExtendZiti(ctx context.Context, config, csr []byte, keep func(cert string) ([]byte, error)) ([]byte, error) {
	c, err := mgmt.FromIdentity(config)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := signIn(ctx, c); err != nil {
		return nil, err
	}
	// Our sign-in's own session ends with us; others of this identity are not touched.
	defer func() {
		_ = c.Call(context.WithoutCancel(ctx), http.MethodDelete, clientAPI+"/current-api-session", nil, nil)
	}()
	var authenticators []struct {
		ID     string `json:"id"`
		Method string `json:"method"`
	}
	if err := c.Call(ctx, http.MethodGet, clientAPI+"/current-identity/authenticators", nil, &authenticators); err != nil {
		return nil, err
	}
	id := ""
	for _, a := range authenticators {
		if a.Method == "cert" {
			id = a.ID
		}
	}
	if id == "" {
		return nil, errors.New("overlay: extend: the network knows no certificate of this identity")
	}
	path := clientAPI + "/current-identity/authenticators/" + url.PathEscape(id)
	var signed struct {
		Cert string `json:"clientCert"`
	}
	if err := c.Call(ctx, http.MethodPost, path+"/extend", map[string]string{"clientCertCsr": string(csr)}, &signed); err != nil {
		return nil, err
	}
	fresh, err := keep(signed.Cert)
	if err != nil {
		return nil, err
	}
	return fresh, c.Call(ctx, http.MethodPost, path+"/extend-verify", map[string]string{"clientCert": signed.Cert}, nil)
}

// ZitiCertificate reads the certificate out of a configuration of OpenZiti's; nil for one of
// another network.
func ZitiCertificate(config []byte) *x509.Certificate {
	c, err := mgmt.ParseIdentity(config)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode([]byte(strings.TrimPrefix(c.ID.Cert, "pem:")))
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}

// ZitiID is the network's own id of the identity whose configuration this is, as its certificate
// names it; "" for a configuration of another network. It is for finding one's own entry there,
// never for saying who a peer is.
func ZitiID(config []byte) string {
	if cert := ZitiCertificate(config); cert != nil {
		return cert.Subject.CommonName
	}
	return ""
}
