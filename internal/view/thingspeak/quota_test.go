package thingspeak_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/view/thingspeak"
)

// TestFullAndTooFast: who has stored as much as they may gets 507, who writes faster than they may 429, both with words; an
// administrator sees both.
func TestFullAndTooFast(t *testing.T) {
	w := newWard(t)
	refused := func(quota string) (n int64) {
		for _, r := range w.engine.QuotaRefusals() {
			if r.Quota == quota {
				n += r.Count
			}
		}
		return n
	}
	if _, err := w.store.SetLimit(t.Context(), channel.Limit{Kind: channel.LimitHospital, Name: channel.LimitEntries, Value: 2}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1", "2"} {
		if rec := w.do("GET", "/update?field1=1&api_key="+w.writeFree, ""); rec.Code != http.StatusOK || rec.Body.String() != want {
			t.Fatal(rec.Code, rec.Body)
		}
	}
	if rec := w.do("GET", "/update.json?field1=1&api_key="+w.writeFree, ""); rec.Code != http.StatusInsufficientStorage || !strings.Contains(rec.Body.String(), "error_quota") {
		t.Errorf("full: %d %s", rec.Code, rec.Body)
	}
	if rec := w.bulk(w.fridge, w.writeFree, tooMany(2)); rec.Code != http.StatusInsufficientStorage || !strings.Contains(rec.Body.String(), "delete entries") {
		t.Errorf("full, in bulk: %d %s", rec.Code, rec.Body)
	}
	if n := refused("entries and bytes stored by a person"); n != 2 {
		t.Errorf("%d refusals of a full quota are seen: %+v", n, w.engine.QuotaRefusals())
	}
	if _, err := w.store.SetLimit(t.Context(), channel.Limit{Kind: channel.LimitHospital, Name: channel.LimitEntries}); err != nil {
		t.Fatal(err)
	}
	slow, err := access.New(w.store, w.trail, nil, slog.New(slog.DiscardHandler), access.WithAuditQuota(access.AuditQuota{PersonWrites: 0.1, StationWrites: 100}))
	if err != nil {
		t.Fatal(err)
	}
	w.engine = slow
	w.limit(thingspeak.Limits{}) // 40 seconds' worth at once: four entries
	if rec := w.bulk(w.fridge, w.writeFree, tooMany(5)); rec.Code != http.StatusTooManyRequests || !strings.Contains(rec.Body.String(), "error_too_many_requests") {
		t.Errorf("too fast: %d %s", rec.Code, rec.Body)
	}
	if n := refused("channel entries of a person"); n != 1 {
		t.Errorf("%d refusals of what was too fast: %+v", n, w.engine.QuotaRefusals())
	}
}
