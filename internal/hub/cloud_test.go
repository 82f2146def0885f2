package hub_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/hub/sink"
	"vitalseal/internal/hub/sink/egress"
	"vitalseal/internal/way/overlay"
)

// TestTheWayToTheCloud goes from an import into a free channel through an egress to a cloud, sealed, and back to a user who may open it;
// and a disabled egress leads nowhere.
func TestTheWayToTheCloud(t *testing.T) {
	var mu sync.Mutex // guards the two below
	var wire strings.Builder
	var envelopes []string
	cloud := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		wire.Write(b)
		var in struct{ Updates []map[string]string }
		_ = json.Unmarshal(b, &in)
		for _, u := range in.Updates {
			envelopes = append(envelopes, u["field1"])
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(cloud.Close)
	taken := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string{}, envelopes...)
	}

	d := newDeployment(t)
	must(t, d.stop())
	work := t.TempDir()
	d.cfg.Cloud.CAFile, d.cfg.Cloud.Interval = filepath.Join(work, "ca.pem"), time.Second
	must(t, os.WriteFile(d.cfg.Cloud.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cloud.Certificate().Raw}), 0o600))
	d.start()
	admin, _ := d.firstAdmin(work)
	ctx := t.Context()
	var ticket json.RawMessage
	must(t, admin.Do(ctx, http.MethodPost, "/api/admin/egresses", map[string]string{"id": "out-1"}, &ticket))
	file := filepath.Join(work, "out.ticket")
	must(t, os.WriteFile(file, ticket, 0o600))
	ep := d.net.Connect(d.enrol(file, filepath.Join(work, "out"))["out-1"], slog.New(slog.DiscardHandler))
	ln, err := ep.Listen(ctx, overlay.ServiceCloud)
	must(t, err)
	ectx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	const name = "example.com:443" // the name in the test server's certificate
	go func() {
		ended <- (&egress.Server{Allow: name, Log: slog.New(slog.DiscardHandler), DialTCP: func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", cloud.Listener.Addr().String())
		}}).Serve(ectx, ln)
	}()
	t.Cleanup(func() { cancel(); must(t, <-ended); must(t, ep.Close()) })

	var channel struct{ ID int64 }
	must(t, admin.Do(ctx, http.MethodPost, "/api/admin/channels", map[string]any{"name": "Fridge", "fields": []string{"temperature"}}, &channel))
	path := fmt.Sprintf("/api/cloud/channels/%d", channel.ID)
	must(t, admin.Do(ctx, http.MethodPut, path, map[string]any{"server": "https://example.com", "remote_channel": 77, "write_key": "K"}, nil))
	say := func(value string) {
		t.Helper()
		in := map[string]any{"entries": []sink.ImportEntry{{Created: time.Now().Add(2 * time.Second), Fields: [8]*string{&value}}}}
		must(t, admin.Do(ctx, http.MethodPost, path+"/import", in, nil))
	}
	say("-21.75")
	eventually(t, "an envelope in the cloud", func() error {
		if len(taken()) == 0 {
			return fmt.Errorf("nothing yet\n%s", d.log)
		}
		return nil
	})
	mu.Lock()
	if strings.Contains(wire.String(), "21.75") {
		t.Error("the value is on the wire")
	}
	mu.Unlock()
	var out sink.OpenAnswer
	must(t, admin.Do(ctx, http.MethodPost, path+"/open", map[string]any{"envelopes": taken()}, &out))
	if len(out.Envelopes) != 1 || len(out.Envelopes[0]) != 1 || *out.Envelopes[0][0].Fields["field1"] != -21.75 {
		t.Errorf("opened %+v", out)
	}

	must(t, admin.Do(ctx, http.MethodPost, "/api/admin/identities/egress/out-1/disable", nil, nil))
	say("-22")
	eventually(t, "a problem for the administrator", func() error {
		var all []struct{ Problem string }
		must(t, admin.Do(ctx, http.MethodGet, "/api/cloud/channels", nil, &all))
		if len(all) != 1 || all[0].Problem != sink.ProblemAway {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	if n := len(taken()); n != 1 {
		t.Errorf("%d envelopes went through a disabled egress", n-1)
	}
}
