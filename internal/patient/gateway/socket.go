package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/way/outbox"
)

const (
	// socketFile is where a running gateway tells its status: a file may be old, an answer is not.
	socketFile = "status.sock"
	// maxStatus bounds a status that is read; socketTimeout how long telling or reading one takes.
	maxStatus     = 1 << 20
	socketTimeout = 3 * time.Second
)

// ListenStatus opens the socket on which a gateway tells its status, for its own user alone. An older one in its place is of a gateway
// that is gone: the outbox's lock keeps a second one out of the folder.
func ListenStatus(path string) (net.Listener, error) {
	_ = os.Remove(path)
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// serveStatus answers each connection to the socket with the status as it is at that moment. That there is no socket stops nothing.
func (l *ledger) serveStatus(ctx context.Context, listen func(string) (net.Listener, error), data string, q *outbox.Queue, log *slog.Logger) error {
	path := filepath.Join(data, socketFile)
	ln, err := listen(path)
	if err != nil {
		log.Warn("the status is told in its file only", "socket", path, "err", err)
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var answers sync.WaitGroup
	defer answers.Wait()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() == nil {
				log.Warn("the status is told in its file only", "socket", path, "err", err)
				return errors.Join(ln.Close())
			}
			return nil
		}
		answers.Go(func() {
			defer func() { _ = c.Close() }()
			if c.SetDeadline(time.Now().Add(socketTimeout)) == nil {
				_ = json.NewEncoder(c).Encode(l.status(q)) // who asked is gone otherwise
			}
		})
	}
}

// ErrNotRunning says that no gateway answers in a data folder.
var ErrNotRunning = errors.New("gateway: no gateway answers")

// ReadStatus asks the gateway that runs in a data folder for its status. If none answers, it gives what was last written to
// status.json with ErrNotRunning. raw is the JSON.
func ReadStatus(ctx context.Context, data string) (raw []byte, st Status, err error) {
	raw, err = askStatus(ctx, filepath.Join(data, socketFile))
	if err == nil {
		if err = json.Unmarshal(raw, &st); err == nil {
			return raw, st, nil
		}
	}
	silent := err
	path := filepath.Join(data, "status.json")
	f, err := os.Open(path) // #nosec G304 -- the administrator names the folder
	if err != nil {
		return nil, st, fmt.Errorf("gateway status: %w", err)
	}
	defer f.Close()
	if raw, err = io.ReadAll(io.LimitReader(f, maxStatus)); err != nil {
		return nil, st, fmt.Errorf("gateway status: %w", err)
	}
	if err := json.Unmarshal(raw, &st); err != nil {
		return nil, st, fmt.Errorf("gateway status: %s: %w", path, err)
	}
	return raw, st, fmt.Errorf("%w: %w", ErrNotRunning, silent)
}

func askStatus(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, socketTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(socketTimeout)); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(c, maxStatus))
}

// nearlyFull is so little free space that the next file of the outbox does not fit.
const nearlyFull = 1 << 20

// Troubles says in words what is wrong now and a user should see to, chips that do not work included; empty if all is well.
func (st Status) Troubles() (all []string) {
	if st.Storage.Failing {
		all = append(all, "the disk does not take readings: "+st.Storage.Problem)
	}
	if free := st.Storage.FreeBytes; !st.Storage.Failing && free != nil && *free < nearlyFull {
		all = append(all, fmt.Sprintf("the disk of the folder %s is nearly full: %d KiB are free; delete what does not belong there", st.Storage.Folder, *free>>10))
	}
	if st.Clock.Problem != "" {
		all = append(all, st.Clock.Problem)
	}
	for _, s := range st.Sensors {
		switch {
		case s.Refused != "":
			all = append(all, fmt.Sprintf("the hub turns sensor %s away: %s", s.Sensor, s.Refused))
		case !s.Connected:
			all = append(all, fmt.Sprintf("sensor %s is not connected to the hub", s.Sensor))
		}
		if s.Device != "" && s.Device != sensor.Working.String() { // empty: not looked at yet
			all = append(all, fmt.Sprintf("the chip of sensor %s does not work: %s", s.Sensor, strings.ReplaceAll(s.Device, "_", " ")))
		}
	}
	if st.Audit.Alarm != "" {
		all = append(all, "the hub's audit log: "+st.Audit.Alarm)
	}
	return all
}
