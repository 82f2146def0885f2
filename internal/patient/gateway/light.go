package gateway

import (
	"fmt"
	"time"

	"vitalseal/internal/patient/sensor"
)

const (
	// ambientNoticed is how much light from outside, as a code, is worth measuring again each healthEvery.
	ambientNoticed = 0.01 * 65536
	// ambientPause is the least time between two looks at it: each costs a tenth of a second of samples.
	ambientPause = 2 * time.Second
	// ambientDark is how often to look while no finger is seen through noticeable light from outside.
	ambientDark = 10 * time.Second
	clipped     = 65528 // codes from here on are the converter's limit
)

// lightKeeper keeps a MAX30100's light in range and knows how much of it does not come from the LEDs. It belongs to its
// oximeter's goroutine.
type lightKeeper struct {
	dev      *sensor.MAX30100
	control  *sensor.CurrentControl
	ambient  sensor.Optical
	measured time.Time
	before   sensor.Light
}

func newLightKeeper(dev *sensor.MAX30100) *lightKeeper {
	return &lightKeeper{dev: dev, control: sensor.NewCurrentControl(float64(dev.Rate()), sensor.CurrentDefault, sensor.CurrentDefault)}
}

// measure looks how much light comes from outside.
func (l *lightKeeper) measure(now time.Time) error {
	l.measured = now
	o, err := l.dev.Ambient()
	if err != nil {
		return err
	}
	l.ambient = o
	return nil
}

// lit is the part of a sample that the LEDs made. A sample at the converter's limit stays there.
func (l *lightKeeper) lit(s sensor.Optical) sensor.Optical {
	if s.Infrared < clipped {
		s.Infrared -= min(s.Infrared, l.ambient.Infrared)
	}
	if s.Red < clipped {
		s.Red -= min(s.Red, l.ambient.Red)
	}
	return s
}

// look is given samples as read. paused says that the chip was kept from measuring for a moment; what, if not empty, says
// what is different now, so that older samples mean nothing any more.
func (l *lightKeeper) look(now time.Time, samples []sensor.Optical) (what string, paused bool, err error) {
	var lit [16]sensor.Optical
	for i, s := range samples {
		lit[i] = l.lit(s)
	}
	before := *l.control
	wanted := l.control.Observe(lit[:len(samples)])
	state := l.control.State()
	turned := state != l.before && l.before != sensor.LightUnknown && (state == sensor.LightDark || l.before == sensor.LightDark || state == sensor.LightGlare)
	l.before = state
	since := now.Sub(l.measured)
	noticed := float64(max(l.ambient.Infrared, l.ambient.Red)) >= ambientNoticed
	due := wanted || turned || noticed && (since >= healthEvery || state == sensor.LightDark && since >= ambientDark)
	if due && (since < 0 || since >= ambientPause) {
		last := l.ambient
		if err := l.measure(now); err != nil {
			return "", true, err
		}
		paused = true
		if differs(last.Infrared, l.ambient.Infrared) || differs(last.Red, l.ambient.Red) {
			// Not the finger changed but the light around it: the currents stay until that is taken away.
			*l.control = before
			l.control.Restart()
			return fmt.Sprintf("light from outside %.1f %% of full scale", float64(max(l.ambient.Infrared, l.ambient.Red))/655.36), true, nil
		}
	}
	if !wanted {
		return "", paused, nil
	}
	infrared, red := l.control.Currents()
	if err := l.dev.SetCurrents(infrared, red); err != nil {
		return "", paused, err
	}
	return fmt.Sprintf("infrared %g mA, red %g mA", infrared.MilliAmps(), red.MilliAmps()), paused, nil
}

// differs says whether two levels of light from outside differ by so much that it matters.
func differs(a, b uint16) bool { return float64(max(a, b)-min(a, b)) >= ambientNoticed/2 }
