package overlay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"vitalseal/internal/lab/weaken"
)

// clientHandshake and serverHandshake show each other certificates without proving that they are
// theirs, and encrypt nothing: what is left of a connection without TLS. It is for measuring what
// TLS costs.

func clientHandshake(ctx context.Context, raw net.Conn, conf *tls.Config) (*Conn, error) {
	if !weaken.Skip(weaken.InnerTLS) {
		return strictClientHandshake(ctx, raw, conf)
	}
	return bare(ctx, raw, func() (*Conn, error) {
		var own *tls.Certificate
		var err error
		if conf.GetClientCertificate != nil {
			if own, err = conf.GetClientCertificate(&tls.CertificateRequestInfo{}); err != nil {
				return nil, err
			}
		}
		if err := show(raw, own); err != nil {
			return nil, err
		}
		c, err := shown(raw, conf)
		if err != nil {
			return nil, err
		}
		var hello [1]byte
		_, err = io.ReadFull(raw, hello[:])
		return c, err
	})
}

func serverHandshake(ctx context.Context, raw net.Conn, conf *tls.Config) (*Conn, error) {
	if !weaken.Skip(weaken.InnerTLS) {
		return strictServerHandshake(ctx, raw, conf)
	}
	return bare(ctx, raw, func() (*Conn, error) {
		own, err := conf.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			return nil, err
		}
		c, err := shown(raw, conf)
		if err != nil {
			return nil, err
		}
		if err := show(raw, own); err != nil {
			return nil, err
		}
		_, err = raw.Write([]byte{greeting})
		return c, err
	})
}

func bare(ctx context.Context, raw net.Conn, do func() (*Conn, error)) (*Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	c, err := do()
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("overlay: handshake: %w: %w", ErrUnavailable, err)
	}
	return c, nil
}

// show writes a chain: how many, then each behind its length.
func show(raw net.Conn, own *tls.Certificate) error {
	var chain [][]byte
	if own != nil {
		chain = own.Certificate
	}
	b := []byte{byte(len(chain))} // #nosec G115 -- two at most, of our own making
	for _, c := range chain {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(c))), c...) // #nosec G115 -- likewise
	}
	_, err := raw.Write(b)
	return err
}

// shown reads the other's chain, and asks the connection's configuration whether it will do.
func shown(raw net.Conn, conf *tls.Config) (*Conn, error) {
	var n [1]byte
	if _, err := io.ReadFull(raw, n[:]); err != nil {
		return nil, err
	}
	s := tls.ConnectionState{Version: tls.VersionTLS13}
	if len(conf.NextProtos) > 0 {
		s.NegotiatedProtocol = conf.NextProtos[0]
	}
	for range n[0] {
		var length [2]byte
		if _, err := io.ReadFull(raw, length[:]); err != nil {
			return nil, err
		}
		der := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(raw, der); err != nil {
			return nil, err
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		s.PeerCertificates = append(s.PeerCertificates, c)
	}
	if err := conf.VerifyConnection(s); err != nil {
		return nil, err
	}
	c := &Conn{Conn: raw}
	if len(s.PeerCertificates) > 0 {
		id, err := unverified(s.PeerCertificates)
		if err != nil {
			return nil, err
		}
		c.cert, c.peer = s.PeerCertificates[0], id
	}
	return c, nil
}
