package connect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"vitalseal/internal/shared/disk"
)

const connectFile = "connect.json"

// FilePath is where a door with this data folder tells programs of its user how to reach it.
func FilePath(data string) string { return filepath.Join(data, connectFile) }

// writeFile tells programs how to reach the door.
func (d *Door) writeFile() error {
	content := struct {
		URL     string `json:"url"`
		Address string `json:"address"`
		CA      string `json:"ca,omitempty"`
		Secret  string `json:"secret,omitempty"`
	}{URL: d.URL(), Address: d.ln.Addr().String()}
	if d.ca != nil {
		content.CA, content.Secret = string(d.ca.pem), d.launches.secret
	}
	b, err := json.MarshalIndent(content, "", "  ") // #nosec G117 -- the file is what the secret is for; 0600
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	d.file = append(b, '\n')
	if err := os.MkdirAll(d.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := disk.Replace(FilePath(d.cfg.Data), d.file, true); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// removeFile takes it back, if it is still ours.
func (d *Door) removeFile() {
	if d.cfg.Data == "" {
		return
	}
	if now, err := os.ReadFile(FilePath(d.cfg.Data)); err == nil && bytes.Equal(now, d.file) {
		_ = os.Remove(FilePath(d.cfg.Data)) // what it says ends with us anyway
	}
}

// CA is the certificate authority of a data folder, made if there is none yet: the file that
// browsers must trust, and its SHA-256 fingerprint in hexadecimal.
func CA(data string, log *slog.Logger) (file, sha256 string, err error) {
	a, err := openAuthority(data, log)
	if err != nil {
		return "", "", err
	}
	return filepath.Join(data, caFile), fingerprint(a.cert), nil
}
