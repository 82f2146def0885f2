package vitals

import "time"

// Freshness says whether a value may still stand for the patient's present. It is the one rule of
// every face; the dashboard's pages have the same bounds (web/src/words.ts). The zero Freshness is
// NoData.
type Freshness uint8

// The freshness of a value, from not to be shown to the present.
const (
	NoData Freshness = iota // too old to say anything about now: never a number
	ToCome                  // its time has not come: it is not the newest, whatever it says
	Stale                   // old: shown only with its age beside it, never as a bare number
	Fresh                   // the present
)

// The bounds of freshness.
const (
	// StaleAfter and NoDataAfter are for what is measured every second.
	StaleAfter  = 5 * time.Second
	NoDataAfter = 120 * time.Second
	// SpotStaleAfter and SpotNoDataAfter are for what a cuff measures now and then.
	SpotStaleAfter  = time.Hour
	SpotNoDataAfter = 4 * time.Hour
	// MaxAhead is how far a gateway's clock may be ahead of the hub's before its times count as
	// times to come.
	MaxAhead = 5 * time.Second
)

// Spot reports whether the kind is measured now and then, and not every second.
func (k Kind) Spot() bool { return k == Systolic || k == Diastolic || k == MeanArterial }

// FreshnessOf is how fresh a value of kind k is that was measured at at, now.
func FreshnessOf(k Kind, at, now time.Time) Freshness {
	stale, none := StaleAfter, NoDataAfter
	if k.Spot() {
		stale, none = SpotStaleAfter, SpotNoDataAfter
	}
	switch age := now.Sub(at); {
	case age < -MaxAhead:
		return ToCome
	case age <= stale:
		return Fresh
	case age <= none:
		return Stale
	}
	return NoData
}
