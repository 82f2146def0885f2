package audit

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"vitalseal/internal/shared/disk"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	checkpointName = "checkpoint"
	origin         = "vitalseal.internal/audit/v1" // first line of every checkpoint
	keyName        = "vitalseal-audit"
	maxCheckpoint  = 4 << 10
	maxKeyFile     = 4 << 10
)

// loadKey reads the signing key, or makes one if it may: a log that is signed already needs the key
// it was signed with.
func loadKey(path string, mayCreate bool) (note.Signer, string, error) {
	b, err := disk.ReadPrivate(path, maxKeyFile)
	if errors.Is(err, os.ErrNotExist) && mayCreate {
		b, err = createKey(path)
	}
	if err != nil {
		return nil, "", fmt.Errorf("audit: signing key: %w", err)
	}
	private, public, _ := strings.Cut(strings.TrimSuffix(string(b), "\n"), "\n")
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, "", fmt.Errorf("audit: signing key: %s is not a key file of this log", path)
	}
	// The two lines must belong together, or the log would publish a key that proves nothing.
	verifier, err := note.NewVerifier(public)
	if err != nil || verifier.KeyHash() != signer.KeyHash() || verifier.Name() != signer.Name() {
		return nil, "", fmt.Errorf("audit: signing key: the public key in %s does not belong to the private one", path)
	}
	return signer, public, nil
}

// createKey writes a new key, whole or not at all.
func createKey(path string) ([]byte, error) {
	private, public, err := note.GenerateKey(rand.Reader, keyName)
	if err != nil {
		return nil, err
	}
	b := []byte(private + "\n" + public + "\n")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return b, replaceFile(path, b, (*os.File).Sync)
}

// writeCheckpoint signs (size, root) and replaces the checkpoint file.
func writeCheckpoint(dir string, signer note.Signer, size int64, root tlog.Hash, sync func(*os.File) error) (Checkpoint, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit: checkpoint: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, checkpointName), signed, sync); err != nil {
		return Checkpoint{}, fmt.Errorf("audit: checkpoint: %w", err)
	}
	return Checkpoint{size, root, string(signed)}, nil
}

// readCheckpoint reads and verifies the checkpoint of the log in dir. A missing one is
// os.ErrNotExist and ErrTampered at once: a log writes it before its first entry.
func readCheckpoint(dir, verifierKey string) (Checkpoint, error) {
	f, err := os.Open(filepath.Join(dir, checkpointName)) // #nosec G304 -- our own name
	if errors.Is(err, os.ErrNotExist) {
		return Checkpoint{}, fmt.Errorf("%w: no checkpoint: %w", ErrTampered, err)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit: checkpoint: %w", err)
	}
	defer f.Close() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, maxCheckpoint+1))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit: checkpoint: %w", err)
	}
	return ParseCheckpoint(string(b), verifierKey)
}

// openNote is the note in b, signed by the verifier's key.
//
//defence:audit-sign checkpoints are signed
func openNote(b []byte, v note.Verifier) (*note.Note, error) {
	return note.Open(b, note.VerifierList(v))
}

func parseCheckpoint(b []byte, verifierKey string) (size int64, root tlog.Hash, err error) {
	verifier, err := newVerifier(verifierKey)
	if err != nil {
		return 0, tlog.Hash{}, err
	}
	if len(b) > maxCheckpoint {
		return 0, tlog.Hash{}, fmt.Errorf("%w: checkpoint of more than %d bytes", ErrTampered, maxCheckpoint)
	}
	n, err := openNote(b, verifier)
	if err != nil {
		var other *note.UnverifiedNoteError
		if errors.As(err, &other) {
			return 0, tlog.Hash{}, fmt.Errorf("%w: checkpoint %w", ErrTampered, ErrOtherKey)
		}
		return 0, tlog.Hash{}, fmt.Errorf("%w: checkpoint not signed by this key: %w", ErrTampered, err)
	}
	// Only the exact bytes that were written count: package note overlooks unused bits in a
	// signature's last character.
	if len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0 ||
		string(b) != fmt.Sprintf("%s\n— %s %s\n", n.Text, n.Sigs[0].Name, n.Sigs[0].Base64) {
		return 0, tlog.Hash{}, fmt.Errorf("%w: checkpoint with something added", ErrTampered)
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64); err != nil {
		return 0, tlog.Hash{}, fmt.Errorf("%w: checkpoint with a changed signature", ErrTampered)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != origin || lines[3] != "" {
		return 0, tlog.Hash{}, fmt.Errorf("%w: not a checkpoint of this kind of log", ErrTampered)
	}
	size, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return 0, tlog.Hash{}, fmt.Errorf("%w: checkpoint without a size", ErrTampered)
	}
	h, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(h) != len(root) {
		return 0, tlog.Hash{}, fmt.Errorf("%w: checkpoint without a root", ErrTampered)
	}
	return size, tlog.Hash(h), nil
}

// replaceFile puts b at path with mode 0600 so that after a kill there is the old content or the
// new, nothing else.
func replaceFile(path string, b []byte, sync func(*os.File) error) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the caller's own directory
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
