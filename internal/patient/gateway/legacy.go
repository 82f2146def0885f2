package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway/legacy"
	"vitalseal/internal/patient/sensor"
)

// deviceSink hands what a legacy device sends to its writer.
type deviceSink struct{ w *writer }

// Numerics implements legacy.Sink. Nothing is lost when it refuses, because the device is told.
func (s deviceSink) Numerics(entries []vitals.Bundle, deviceClock bool) bool {
	select {
	case s.w.in <- taken{vitals.Chunk{Signal: vitals.Numerics, Start: entries[0].At, Bundles: entries}, deviceClock}:
		return true
	default:
		return false
	}
}

// Event implements legacy.Sink.
func (s deviceSink) Event(at time.Time, code, detail string) { s.w.event(at, code, detail) }

// Working implements legacy.Sink.
func (s deviceSink) Working(is bool) {
	state := sensor.Absent
	if is {
		state = sensor.Working
	}
	s.w.led.device(s.w.id, state)
}

// HubTime implements legacy.Sink.
func (s deviceSink) HubTime(at time.Time) time.Time { return s.w.clock.right(at) }

// Close implements legacy.Sink.
func (s deviceSink) Close() { s.w.close() }

// ErrNotLegacy says that a key is for a sensor that is no legacy device.
var ErrNotLegacy = errors.New("gateway: not a legacy device")

// MakeLegacyKey is legacy.MakeKey for a device of this configuration; ErrNotLegacy if it has none of that
// name.
func MakeLegacyKey(cfg Config, name string) (string, error) {
	for _, s := range cfg.Sensors {
		if s.ID == name && s.Chip == legacy.Chip {
			return legacy.MakeKey(cfg.Data, name)
		}
	}
	return "", fmt.Errorf("%w: %q is no sensor of chip %s in the configuration", ErrNotLegacy, name, legacy.Chip)
}

// validateLegacy checks what Validate does not know of chips on buses.
func (c Config) validateLegacy(bad func(string, string, ...any) error) error {
	l := c.Legacy
	for _, a := range []struct{ key, address string }{{"legacy.listen_http", l.ListenHTTP}, {"legacy.listen_mqtt", l.ListenMQTT}} {
		if a.address == "" {
			continue
		}
		at, err := netip.ParseAddrPort(a.address)
		if ip := at.Addr().Unmap(); err != nil || !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast() {
			return bad(a.key, "%q is not a local address of this gateway with a port, such as 10.0.8.1:8080; name the one that the devices' own network reaches", a.address)
		}
	}
	switch {
	case l.UpdateEvery != 0 && (l.UpdateEvery < 100*time.Millisecond || l.UpdateEvery > time.Hour):
		return bad("legacy.update_every", "%v is not within 100ms to 1h", l.UpdateEvery)
	case l.MaxAge != 0 && (l.MaxAge < time.Second || l.MaxAge > 7*24*time.Hour):
		return bad("legacy.max_age", "%v is not within 1s to 168h", l.MaxAge)
	}
	channels, devices := map[int64]string{}, 0
	for i, s := range c.Sensors {
		key := func(name string) string { return fmt.Sprintf("sensors[%d].%s", i, name) }
		if s.Chip != legacy.Chip {
			if s.Legacy != nil {
				return bad(key("legacy"), "only a chip %s has it", legacy.Chip)
			}
			continue
		}
		devices++
		switch {
		case s.Legacy == nil || s.Legacy.Channel < 1:
			return bad(key("legacy.channel"), "missing; give the device a channel number from 1, which its topics and paths name")
		case channels[s.Legacy.Channel] != "":
			return bad(key("legacy.channel"), "%d is also %s's", s.Legacy.Channel, channels[s.Legacy.Channel])
		case s.Bus != "" || s.ADC != "" || s.Channel != 0 || s.ZeroAtStart || s.Calibration != (sensor.Calibration{}):
			return bad(key("chip"), "%s has no bus, adc, channel, calibration or zero_at_start", s.Chip)
		}
		channels[s.Legacy.Channel] = s.ID
		if _, err := s.Legacy.Kinds(); err != nil {
			return bad(key("legacy.fields"), "%v", err)
		}
	}
	switch {
	case devices > legacy.MaxDevices:
		return bad("sensors", "%d of chip %s, at most %d", devices, legacy.Chip, legacy.MaxDevices)
	case devices > 0 && !l.On():
		return bad("legacy", "listen_http or listen_mqtt is missing: the devices of chip %s have nowhere to send to", legacy.Chip)
	case devices == 0 && l.On():
		return bad("legacy", "no sensor has chip %s: no device could send anything", legacy.Chip)
	}
	return nil
}
