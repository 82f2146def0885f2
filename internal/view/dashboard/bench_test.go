package dashboard_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/measurement/vitals"
)

// BenchmarkAccessShare is a request for one patient's numbers over HTTP, session, decision and audit entry included, and how
// much of it these three are: the same three are done again by themselves, between the requests, on the same store and log.
func BenchmarkAccessShare(b *testing.B) {
	w := newWard(b)
	w.append("a-1", numerics(time.Now(), good(vitals.HeartRate, 72), good(vitals.SpO2, 97)))
	nurse := w.signedIn("nurse")
	in, err := w.signin.SignIn(b.Context(), "nurse", password, station)
	if err != nil {
		b.Fatal(err)
	}
	var request, authenticate, decide, audited []time.Duration
	since := func(to *[]time.Duration, f func()) {
		began := time.Now()
		f()
		*to = append(*to, time.Since(began))
	}
	for b.Loop() {
		since(&request, func() {
			if status, body := nurse.do(http.MethodGet, "/api/patients/"+w.ada, nil, nil); status != http.StatusOK {
				b.Fatal(status, body)
			}
		})
		var s access.Subject
		since(&authenticate, func() { s, err = w.signin.Authenticate(b.Context(), in.Tokens.Access, station) })
		if err != nil {
			b.Fatal(err)
		}
		since(&decide, func() {
			if _, err := w.engine.Filter(b.Context(), s, access.ViewPatient, []access.PatientRef{{ID: w.ada, Ward: "ward-a"}}); err != nil {
				b.Fatal(err)
			}
		})
		since(&audited, func() { _, err = w.engine.Decide(b.Context(), s, access.ViewPatient, access.OnPatient(w.ada)) })
		if err != nil {
			b.Fatal(err)
		}
	}
	p50 := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2].Nanoseconds()) / 1000
	}
	total, session, decision, both := p50(request), p50(authenticate), p50(decide), p50(audited)
	b.ReportMetric(total, "request-p50-µs")
	b.ReportMetric(session, "session-p50-µs")
	b.ReportMetric(decision, "decision-p50-µs")
	b.ReportMetric(both-decision, "audit-p50-µs")
	b.ReportMetric(100*(session+both)/(total-session-both), "added-percent")
}
