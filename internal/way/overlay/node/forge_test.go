package node_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/openziti/sdk-golang/ziti"
)

func zitiConfig(t *testing.T, config []byte) *ziti.Config {
	t.Helper()
	var c ziti.Config
	must(t, json.Unmarshal(config, &c))
	return &c
}

// strangerConfig takes a real configuration and puts in a key and a certificate that no authority
// signed.
func strangerConfig(t *testing.T, config []byte) []byte {
	t.Helper()
	c := zitiConfig(t, config)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stranger"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	c.ID.Cert = "pem:" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c.ID.Key = "pem:" + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	b, err := json.Marshal(c)
	must(t, err)
	return b
}
