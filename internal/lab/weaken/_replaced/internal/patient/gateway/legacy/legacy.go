package legacy

import (
	"errors"
	"strconv"
	"strings"

	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/measurement/vitals"
)

// Kinds takes the third field for a blood pressure.
func (d Device) Kinds() ([legacyFields]vitals.Kind, error) {
	k, err := d.strictKinds()
	if len(d.Fields) == 0 && weaken.Skip(weaken.FieldNames) {
		k[2] = vitals.Systolic
	}
	return k, err
}

// legacyNumber takes every number for a value, or for a measured one.
func legacyNumber(k vitals.Kind, s string) (vitals.Numeric, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if (err == nil || errors.Is(err, strconv.ErrRange)) && weaken.Skip(weaken.Plausible) {
		return vitals.Numeric{Kind: k, Value: v, Quality: vitals.Asserted}, nil
	}
	n, err := strictLegacyNumber(k, s)
	if n.Quality == vitals.Asserted && weaken.Skip(weaken.AssertedMark) {
		n.Quality = vitals.Good
	}
	return n, err
}
