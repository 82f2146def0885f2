package gateway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// epochBits is how many low bits of an epoch's number count the epochs of one boot; the bits above are the boot counter.
const epochBits = 20

const maxBoot = 1<<40 - 1

// nextBoot raises the boot counter in a file and returns it once it is durable: no epoch may be numbered before. A file
// that does not hold a number is an error, because starting again at 1 would look like a restored backup to the hub.
func nextBoot(path string) (uint64, error) {
	var last uint64
	b, err := os.ReadFile(path) // #nosec G304 -- below the gateway's own folder
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return 0, fmt.Errorf("gateway: boot counter: %w", err)
	default:
		if last, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err != nil || last >= maxBoot {
			return 0, fmt.Errorf("gateway: boot counter: %s does not hold a number below %d; write one above the last it held", path, uint64(maxBoot))
		}
	}
	if err := replaceFile(path, []byte(strconv.FormatUint(last+1, 10)+"\n"), true); err != nil {
		return 0, fmt.Errorf("gateway: boot counter: %w", err)
	}
	return last + 1, nil
}

// replaceFile puts b in the place of a file, whole or not at all; durable makes it survive a power cut.
func replaceFile(path string, b []byte, durable bool) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // #nosec G304 -- below the gateway's own folder
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && durable {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path)) // #nosec G304 -- the gateway's own folder
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
