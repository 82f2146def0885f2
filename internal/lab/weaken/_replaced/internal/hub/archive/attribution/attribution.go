package attribution

import (
	"time"

	"vitalseal/internal/lab/weaken"
)

// Judge believes every time.
func (h SensorHistory) Judge(a Arrival) (ahead time.Duration, wait bool) {
	if weaken.Skip(weaken.Clock) {
		return 0, false
	}
	return h.strictJudge(a)
}
