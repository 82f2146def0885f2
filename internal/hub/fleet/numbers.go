package fleet

import (
	"context"

	"vitalseal/internal/way/overlay"
)

// ResetNumbers forgets how high a component, and the sensors of a gateway, counted starts and epochs, and ends their connections: the
// next start that connects is taken as it is. It repairs a sensor that a forged number silenced.
func (v *Inventory) ResetNumbers(ctx context.Context, spiffeID string) error {
	ids, err := v.store.ResetNumbers(ctx, spiffeID)
	if err != nil {
		return err
	}
	for _, one := range ids {
		id, err := overlay.ParseID(one)
		if err != nil {
			return err
		}
		v.log.Warn("an administrator reset the numbers of a component: its next start is taken whatever its boot counter is", "identity", one)
		v.endLive(id)
	}
	return nil
}
