package connect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/shared/disk"
)

const (
	// ProofHeader says on the end of the audit log, as a page asks for it, what this program found:
	// "proven", or "unknown" where it remembers nothing of the log yet. What does not prove itself
	// is not passed on.
	ProofHeader = "X-Vitalseal-Audit-Proof"

	provenPath  = "/api/admin/audit/proven"
	logsPath    = "/connect/logs"
	shownSuffix = "shown.conflict"
)

// judge proves the end of the audit log on its way to a page, by what this workstation remembers
// and without the page's help: the page comes from the hub. An answer that does not prove itself is
// kept as evidence and replaced by an error, and the alarm stays.
func (d *Door) judge(r *http.Response) error {
	r.Header.Del(ProofHeader)
	if r.Request.URL.Path != provenPath || r.StatusCode != http.StatusOK || d.witness == nil {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, audit.MaxTailJSON+1))
	_ = r.Body.Close()
	if err != nil {
		return fmt.Errorf("connect: the end of the audit log: %w", err)
	}
	tail, err := audit.ParseTail(b)
	if err == nil {
		err = d.witness.Shown(tail)
	}
	switch {
	case errors.Is(err, audit.ErrNoEntry):
		r.Header.Set(ProofHeader, "unknown")
	case err == nil:
		r.Header.Set(ProofHeader, "proven")
	default:
		d.cfg.Log.Error("THE AUDIT LOG THAT THE HUB SHOWS DOES NOT PROVE ITSELF: it was not shown; keep the file, it is evidence", "err", err, "file", d.shownFile())
		if kept := d.keepShown(b); kept != nil {
			d.cfg.Log.Error("the evidence could not be kept", "err", kept)
		}
		b, err = json.Marshal(map[string]string{"error": "This workstation's own program has checked the hub's answer: the entries are not those of the log that it remembers. They are not shown. Tell the security officer now; the answer is kept as evidence in " + d.shownFile()})
		if err != nil {
			return err
		}
		r.StatusCode, r.Status = http.StatusBadGateway, ""
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(ProofHeader, "refused")
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	r.Header.Set("Content-Length", fmt.Sprint(len(b)))
	return nil
}

func (d *Door) shownFile() string { return filepath.Join(d.cfg.Data, shownSuffix) }

// keepShown keeps the first answer that did not prove itself, and alarms from then on.
func (d *Door) keepShown(b []byte) error {
	d.shown.Store(true)
	if _, err := os.Lstat(d.shownFile()); err == nil {
		return nil
	}
	return disk.Replace(d.shownFile(), b, true)
}

// shownBefore reports whether such an answer is kept.
func (d *Door) shownBefore() bool {
	_, err := os.Lstat(d.shownFile())
	return err == nil
}

// logs answers the page with what this workstation itself remembers of the hubs' logs, for it to
// compare. The hub does not see it.
func (d *Door) logs(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != logsPath || r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		out := struct {
			Logs  []audit.Sighting   `json:"logs"`
			State audit.WitnessState `json:"state"`
		}{Logs: []audit.Sighting{}}
		if d.witness != nil {
			out.Logs, out.State = append(out.Logs, d.witness.Sightings()...), d.witness.State()
		}
		out.State.Alarm = d.alarm()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		d.mark(w.Header())
		_ = json.NewEncoder(w).Encode(out) // a client that went away
	})
}

// plainBody asks the hub for an answer that this program can read.
func plainBody(out *http.Request) {
	if strings.HasPrefix(out.URL.Path, provenPath) {
		out.Header.Del("Accept-Encoding")
	}
}
