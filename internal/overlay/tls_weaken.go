//go:build weaken

package overlay

import (
	"crypto/x509"
	"net"

	"vitalseal/internal/lab/weaken"
)

// unverified believes the name in whatever certificate comes.
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

// calledBy is whom the network says.
func calledBy(c net.Conn, proven ID) ID {
	if said, ok := c.(interface{ SourceIdentifier() string }); ok && weaken.Skip(weaken.OwnName) {
		if id, err := ParseID(said.SourceIdentifier()); err == nil {
			return id
		}
	}
	return proven
}
