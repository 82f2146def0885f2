package gateway

import "testing"

// SmallOutbox makes outbox_mib count units of so many bytes until the test ends.
func SmallOutbox(t *testing.T, unit int64) {
	before := outboxUnit
	outboxUnit = unit
	t.Cleanup(func() { outboxUnit = before })
}
