//go:build !weaken

package openziti

import "vitalseal/internal/overlay"

// plain is for the test build alone: in the product there is no way but through the network.
func plain() overlay.Underlay { return nil }
