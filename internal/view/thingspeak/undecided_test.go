package thingspeak_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/thingspeak"
)

// TestUndecidedKeys: while the directory does not answer, a request with a right key is answered 503
// and a device is cut off without being told that its password is wrong or its message refused; no
// refusal is counted, and none is in the audit log.
func TestUndecidedKeys(t *testing.T) {
	for _, version := range []byte{4, 5} {
		w := newMQTTWard(t, thingspeak.Limits{})
		topic := fmt.Sprintf("channels/%d/publish", w.fridge)
		m, listener := w.login(t, version), w.dial(t, version)
		if err := w.store.Close(); err != nil {
			t.Fatal(err)
		}
		m.publish(topic, "field1=1", 1)
		for {
			pk, err := m.Read()
			if err != nil {
				break // it is sent again on the next connection
			}
			if pk.FixedHeader.Type == packets.Puback && pk.ReasonCode < 0x80 {
				t.Errorf("version %d: a message that was not stored is acknowledged: %+v", version, pk)
			}
			if pk.ReasonCode == packets.ErrNotAuthorized.Code {
				t.Errorf("version %d: refused: %+v", version, pk)
			}
		}
		if n, reason := w.face.Refusals(w.client); n != 0 {
			t.Errorf("version %d: %d refusals counted: %s", version, n, reason)
		}
		if code, err := listener.connect(w.hello(version)); err == nil {
			t.Errorf("version %d: a device is told %#x", version, code)
		}
		for _, x := range []struct{ target, key string }{
			{fmt.Sprintf("/channels/%d/feeds.json", w.ada.ID), w.readAda}, {fmt.Sprintf("/channels/%d/fields/1/last.txt", w.fridge), w.readFridge},
		} {
			if rec := w.do(http.MethodGet, x.target+"?api_key="+x.key, ""); rec.Code != http.StatusServiceUnavailable {
				t.Errorf("%s: %d %s", x.target, rec.Code, rec.Body)
			}
		}
		if rec := w.do(http.MethodGet, "/update?api_key="+w.writeFree+"&field1=1", ""); rec.Code != http.StatusServiceUnavailable || strings.TrimSpace(rec.Body.String()) != "0" {
			t.Errorf("update: %d %s", rec.Code, rec.Body)
		}
		all, err := w.trail.Recent(t.Context(), audit.MaxRecent)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if !e.Allowed && !e.Undecided() {
				t.Errorf("version %d: a refusal that no person caused: %+v", version, e)
			}
		}
	}
}
