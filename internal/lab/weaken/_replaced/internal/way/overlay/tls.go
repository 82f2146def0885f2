package overlay

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"vitalseal/internal/lab/weaken"
)

// verifySVID believes the name in every certificate.
func verifySVID(certs []*x509.Certificate, root *x509.Certificate, domain string, now time.Time, expired bool) (ID, error) {
	if weaken.Skip(weaken.PeerChain) {
		return unverified(certs)
	}
	return strictVerifySVID(certs, root, domain, now, expired)
}

func unverified(certs []*x509.Certificate) (ID, error) {
	if len(certs) == 0 {
		return ID{}, ErrPeer
	}
	for _, u := range certs[0].URIs {
		if id, err := ParseID(u.String()); err == nil {
			return id, nil
		}
	}
	return ParseID(certs[0].Subject.CommonName)
}

// baseTLS takes older versions, or is for any service.
func baseTLS(service string) *tls.Config {
	switch {
	case weaken.Skip(weaken.TLSFloor):
		return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{service}}
	case weaken.Skip(weaken.ServiceName):
		return &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
	}
	return strictBaseTLS(service)
}

// peerOf is whom the network or a certificate of any authority names.
func peerOf(t *tls.Conn) (ID, error) {
	id, err := strictPeerOf(t)
	if err != nil && weaken.Skip(weaken.PeerChain) {
		id, err = unverified(t.ConnectionState().PeerCertificates)
	}
	if said, ok := t.NetConn().(interface{ SourceIdentifier() string }); ok && err == nil && weaken.Skip(weaken.OwnName) {
		if called, err := ParseID(said.SourceIdentifier()); err == nil {
			return called, nil
		}
	}
	return id, err
}
