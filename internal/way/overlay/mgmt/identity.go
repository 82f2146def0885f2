package mgmt

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Identity is what an identity file of OpenZiti says: controllers' addresses, and in ID a
// certificate, its key and the authorities of the controller, each PEM with "pem:" before it.
type Identity struct {
	API  string   `json:"ztAPI"`
	APIs []string `json:"ztAPIs"`
	ID   struct {
		Cert string `json:"cert"`
		Key  string `json:"key"`
		CA   string `json:"ca"`
	} `json:"id"`
}

// ParseIdentity decodes an identity file. Its error does not quote the file, which holds a key.
func ParseIdentity(config []byte) (c Identity, err error) {
	if err := json.Unmarshal(config, &c); err != nil {
		return c, errors.New("not an OpenZiti identity")
	}
	return c, nil
}

// FromIdentity is a client of the controller that signs in as the identity of a file.
func FromIdentity(config []byte) (*Client, error) {
	c, err := ParseIdentity(config)
	if err != nil {
		return nil, err
	}
	api := c.API
	if api == "" && len(c.APIs) > 0 {
		api = c.APIs[0]
	}
	u, err := url.Parse(api)
	if err != nil {
		return nil, fmt.Errorf("controller address: %w", err)
	}
	cert, err := tls.X509KeyPair([]byte(strings.TrimPrefix(c.ID.Cert, "pem:")), []byte(strings.TrimPrefix(c.ID.Key, "pem:")))
	if err != nil {
		return nil, fmt.Errorf("certificate and key: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(strings.TrimPrefix(c.ID.CA, "pem:"))) {
		return nil, errors.New("no certificate authority")
	}
	return New(Config{URL: "https://" + u.Host, Roots: roots, Certificate: &cert})
}
