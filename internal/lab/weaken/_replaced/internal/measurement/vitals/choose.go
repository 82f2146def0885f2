package vitals

import (
	"time"

	"vitalseal/internal/lab/weaken"
)

// rank finds all sources alike, so that the newest wins.
func (s *source) rank(k Kind, now time.Time) int {
	if weaken.Skip(weaken.OneSource) {
		return 0
	}
	return s.strictRank(k, now)
}
