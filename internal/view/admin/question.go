package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"vitalseal/internal/hub/directory"
)

// question is what a request is answered with (409) instead of being done: what was found, which may be meant or a mistake. The same
// request with "meant": true does it.
type question struct{ found []string }

func (q *question) Error() string {
	return "admin: is this meant? " + strings.Join(q.found, "; ")
}

// What a sensor is for, by its model. Two for the same at one bed are questioned.
var models = map[string]string{"max30100": "oximeter", "mps20n0040d": "cuff", "mcp3008": "", "legacy": "legacy device"}

func purposeOf(d directory.Device) string { return models[strings.ToLower(d.Model)] }

func shortID(id string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(id, "spiffe://"), "/")
	return rest
}

// inUse tells whether a component of the inventory can still speak, now or after an administrator's word.
func inUse(d directory.Device) bool { return d.State != directory.DeviceDeleted && !d.Forgettable() }

// doubts are what looks like a mistake about new sensors: a model that this program does not know, a serial number that another one
// has, a second sensor for the same purpose at a bed. replaces are those that the new ones take the place of.
func (h *handler) doubts(ctx context.Context, sensors []directory.Device, replaces ...string) error {
	all, err := h.Store.Devices(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(d directory.Device) bool {
		return d.Kind != kindSensor || !inUse(d) || slices.ContainsFunc(sensors, func(s directory.Device) bool { return s.ID == d.ID })
	})
	var found []string
	for i, s := range sensors {
		if s.Kind != kindSensor {
			continue
		}
		if _, ok := models[strings.ToLower(s.Model)]; !ok {
			found = append(found, fmt.Sprintf("%s: the model %q is not known here; known are MAX30100, MPS20N0040D, MCP3008 and legacy", shortID(s.ID), s.Model))
		}
		for _, o := range slices.Concat(all, sensors[:i]) {
			if s.Serial != "" && o.Kind == kindSensor && strings.EqualFold(s.Serial, o.Serial) {
				found = append(found, fmt.Sprintf("%s: %s has the serial number %q already", shortID(s.ID), shortID(o.ID), o.Serial))
			}
		}
		found = append(found, atBed(s, slices.Concat(all, sensors[:i]), replaces)...)
	}
	if len(found) > 0 {
		return &question{found}
	}
	return nil
}

// atBed says which others at a sensor's bed speak of the same.
func atBed(s directory.Device, others []directory.Device, replaces []string) (found []string) {
	mine := purposeOf(s)
	for _, o := range others {
		if s.Bed == "" || o.Bed != s.Bed || o.Kind != kindSensor || o.ID == s.ID || slices.Contains(replaces, o.ID) {
			continue
		}
		theirs := purposeOf(o)
		switch {
		case mine != "" && mine == theirs:
			shown := "one of the two is shown, or both where they disagree"
			if mine == "cuff" {
				shown = "the one that measured last is shown"
			}
			found = append(found, fmt.Sprintf("%s: bed %s has %s already, a second %s; %s", shortID(s.ID), s.Bed, shortID(o.ID), mine, shown))
		case mine == "legacy device" && theirs != "" || theirs == "legacy device" && mine != "":
			found = append(found, fmt.Sprintf("%s: bed %s has %s already (%s); what the legacy device says is shown only while the other is silent", shortID(s.ID), s.Bed, shortID(o.ID), theirs))
		}
	}
	return found
}
