package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Copy copies the log in dir into the folder to, which must be empty or not exist, also while the
// log is being written. The copy has at least all that was signed when Copy began, and perhaps
// entries behind it, the last of them torn: like a log whose writer was killed, which Open mends.
// The signing key is not in it.
func Copy(dir, to string) error {
	// The checkpoint first: what it signs is in the segments already. The other way round a log
	// that is written meanwhile would have signed more than the copy holds, which is what a log
	// that was cut looks like.
	signed, err := os.ReadFile(filepath.Join(dir, checkpointName)) // #nosec G304 -- the operator names the folder
	if err != nil {
		return fmt.Errorf("audit: copy: %w", err)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("audit: copy: %w", err)
	}
	in, err := os.ReadDir(to)
	if err != nil {
		return fmt.Errorf("audit: copy: %w", err)
	}
	if len(in) > 0 {
		return fmt.Errorf("audit: copy: %s is not empty: it has %s", to, in[0].Name())
	}
	// A listing may miss what is made while it goes on, and have what is made after that. Of a
	// second one, those that the first one reached have no hole.
	first, err := listSegments(dir)
	if err == nil && len(first) == 0 {
		err = fmt.Errorf("%w: no entries beside the checkpoint", ErrTampered)
	}
	if err != nil {
		return err
	}
	segments, err := listSegments(dir)
	if err != nil {
		return err
	}
	for _, s := range segments {
		if s.first > first[len(first)-1].first {
			break
		}
		b, err := os.ReadFile(s.path)
		if err == nil {
			err = writeNew(filepath.Join(to, filepath.Base(s.path)), b)
		}
		if err != nil {
			return fmt.Errorf("audit: copy: %w", err)
		}
	}
	if err := writeNew(filepath.Join(to, checkpointName), signed); err != nil {
		return fmt.Errorf("audit: copy: %w", err)
	}
	return syncDir(to)
}

func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator names the folder
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
