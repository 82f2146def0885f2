package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"vitalseal/internal/shared/disk"
)

const (
	launchHeader   = "X-Vitalseal-Launch"
	maxConnectFile = 64 << 10
)

// ConnectFile is what `vitalseal connect` writes into its data folder as connect.json, for programs of the user who
// started it: how to reach it, how to know it, and the secret that it asks for. doc/connect.md describes it.
type ConnectFile struct {
	URL     string `json:"url"`     // https://vitalseal.localhost:PORT; http with --plain
	Address string `json:"address"` // numeric loopback address that URL's host is reached at; no name is looked up
	CA      string `json:"ca"`      // PEM; empty with --plain
	Secret  string `json:"secret"`  // for the header X-Vitalseal-Launch; empty with --plain
}

// FromFile makes a client of the connect address that a connect.json describes. It refuses a file that others may read.
func FromFile(path string) (*Client, error) {
	f, err := ReadConnectFile(path)
	if err != nil {
		return nil, err
	}
	return f.Client()
}

// ReadConnectFile reads a connect.json. Errors: os.ErrNotExist, and what is wrong with the file.
func ReadConnectFile(path string) (f ConnectFile, err error) {
	b, err := disk.ReadPrivate(path, maxConnectFile)
	if errors.Is(err, disk.ErrShared) {
		return f, fmt.Errorf("client: %w; start `vitalseal connect` again to have a new one written", err)
	}
	if err != nil {
		return f, fmt.Errorf("client: %w", err)
	}
	if json.Unmarshal(b, &f) != nil { // the cause could quote the secret
		return f, fmt.Errorf("client: %s is not a connect.json of `vitalseal connect`", path)
	}
	return f, nil
}

// Client makes a client of what the file describes.
func (f ConnectFile) Client() (*Client, error) {
	bad := func(what string) (*Client, error) { return nil, fmt.Errorf("client: connect.json: %s", what) }
	u, err := url.Parse(f.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return bad("url: not an http or https address")
	}
	host, _, err := net.SplitHostPort(f.Address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return bad("address: not a numeric loopback address")
	}
	transport := &http.Transport{
		// The name is ours and always means this address; asking a name service about it could only mislead.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, f.Address)
		},
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns:        8,
		IdleConnTimeout:     30 * time.Second,
	}
	switch u.Scheme {
	case "https":
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(f.CA)) {
			return bad("ca: no certificate")
		}
		if f.Secret == "" {
			return bad("secret: missing")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	case "http":
		if f.Secret != "" {
			return nil, errors.New("client: connect.json: a secret must not travel in plain HTTP")
		}
	}
	c, err := newClient(u, transport)
	if err != nil {
		return nil, err
	}
	c.launch = f.Secret
	return c, nil
}
