package hub

import (
	"context"
	"fmt"
	"time"

	"vitalseal/internal/hub/access"
)

// The values of Config.TwoPersons.
const (
	TwoPersonsAuto = "auto" // as administrators and approvers have switched it
	TwoPersonsOff  = "off"  // one administrator is enough
)

// sayTwoPersonsEvery is how often the log says that one administrator alone is enough.
const sayTwoPersonsEvery = time.Hour

func (c Config) validateTwoPersons() error {
	if c.TwoPersons != "" && c.TwoPersons != TwoPersonsAuto && c.TwoPersons != TwoPersonsOff {
		return fmt.Errorf("hub: configuration: two_persons: %q is not %s or %s", c.TwoPersons, TwoPersonsAuto, TwoPersonsOff)
	}
	return nil
}

// sayTwoPersons repeats the warning of the start until ctx ends.
func sayTwoPersons(ctx context.Context, engine *access.Engine) {
	t := time.NewTicker(sayTwoPersonsEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			engine.SayTwoPersons(ctx)
		}
	}
}
