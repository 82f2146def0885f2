package sensor

import "errors"

// State is what is the matter with a device, in one word: for events and for the engineer who goes
// and looks.
type State uint8

// The states of a device.
const (
	Working      State = iota
	Absent             // nothing answers
	WrongChip          // something else answers
	Refused            // the chip does not take its configuration
	LostSupply         // the chip forgot its configuration: brown-out
	Stuck              // the chip does not finish what it began
	BridgeOpen         // a wire of the bridge is broken
	BridgeShort        // the bridge is short-circuited
	BeyondRange        // the pressure is outside what the bridge can measure
	Uncalibrated       // there is no calibration
	BusFailure         // the bus reports an error, again and again
)

var stateNames = [...]string{"working", "not_connected", "wrong_part", "configuration_refused", "brown_out", "timeout", "bridge_open",
	"bridge_shorted", "out_of_range", "not_calibrated", "bus_error"}

// String is the state's name as used in events: "brown_out".
func (s State) String() string { return stateNames[min(int(s), len(stateNames)-1)] }

// StateOf is the state that an error of a driver means; nil means Working, and an error that is
// none of the package's is the bus's own.
func StateOf(err error) State {
	if err == nil {
		return Working
	}
	for _, s := range []struct {
		err   error
		state State
	}{{ErrBrownOut, LostSupply}, {ErrNotConnected, Absent}, {ErrWrongPart, WrongChip}, {ErrConfigRefused, Refused}, {ErrTimeout, Stuck},
		{ErrOpenBridge, BridgeOpen}, {ErrShortedBridge, BridgeShort}, {ErrOutOfRange, BeyondRange}, {ErrNotCalibrated, Uncalibrated}} {
		if errors.Is(err, s.err) {
			return s.state
		}
	}
	return BusFailure
}
