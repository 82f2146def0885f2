package accuracy

import (
	"fmt"
	"math"

	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/measurement/vitals"
)

// oneFinger is the verdict on a recording of red and infrared.
type oneFinger struct {
	ear, attached            bool
	oxygen, heart            float64 // reference
	gotOxygen, gotHeart      vitals.Numeric
	curve                    string
	readings, withValue      int
	oxygenSeconds, refusedBy int
}

func judgeOximeter(path string) (judged, error) {
	oxygen, heart, attached, err := recording.FingerReference(path)
	if err != nil {
		return nil, err
	}
	x, err := recording.Load(path, recording.ReadTwoLights)
	if err != nil {
		return nil, err
	}
	p, err := Curve{Name: oxiWearModel(x.Ear)}.oximeter(x.Rate)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", recording.ErrRecording, path, err)
	}
	w := x.Wave()
	v := oneFinger{ear: x.Ear, attached: attached, oxygen: oxygen, heart: heart, curve: p.Calibration(),
		gotOxygen: vitals.Absent(vitals.SpO2, vitals.Settling), gotHeart: vitals.Absent(vitals.HeartRate, vitals.Settling)}
	// The value that was shown last counts: it rests on the most signal.
	for _, r := range feed(p, w, w.Seconds()).readings {
		v.readings++
		if r.heart.Quality.HasValue() || r.oxygen.Quality.HasValue() {
			v.withValue++
		}
		if r.oxygen.Quality.HasValue() || !v.gotOxygen.Quality.HasValue() {
			v.gotOxygen = r.oxygen
		}
		if r.heart.Quality.HasValue() || !v.gotHeart.Quality.HasValue() {
			v.gotHeart = r.heart
		}
	}
	return v, nil
}

// value is a numeric's value, NaN if it has none.
func value(n vitals.Numeric) float64 {
	if !n.Quality.HasValue() {
		return math.NaN()
	}
	return n.Value
}

func (v oneFinger) figures() []Figure {
	oxygen, heart := v.oxygen, v.heart
	if !v.attached {
		oxygen, heart = math.NaN(), math.NaN()
	}
	return []Figure{{"reference_spo2_percent", oxygen}, {"spo2_percent", value(v.gotOxygen)}, {"reference_heart_rate_bpm", heart}, {"heart_rate_bpm", value(v.gotHeart)}}
}

func (v oneFinger) note() string {
	switch {
	case !v.attached && v.withValue > 0:
		return "a value without a finger"
	case !v.attached:
		return "no finger, no value: " + v.gotHeart.Quality.String()
	case !v.gotOxygen.Quality.HasValue():
		return "no SpO2: " + v.gotOxygen.Quality.String()
	}
	return "calibration " + v.curve
}

// sumOximeters judges the finger recordings; the ear's, another place with another sensor's light, count apart.
func sumOximeters(all []judged) []Figure {
	type group struct {
		errors errorsOf
		files  int
	}
	var finger, ear group
	var heart errorsOf
	open, shown := 0, 0
	for _, j := range all {
		v := j.(oneFinger)
		if !v.attached {
			open++
			shown += min(1, v.withValue)
			continue
		}
		g := &finger
		if v.ear {
			g = &ear
		}
		g.files++
		if v.gotOxygen.Quality.HasValue() {
			g.errors.add(v.gotOxygen.Value, v.oxygen)
		}
		if v.gotHeart.Quality.HasValue() && !math.IsNaN(v.heart) {
			heart.add(v.gotHeart.Value, v.heart)
		}
	}
	return []Figure{{"arms_percent", finger.errors.rms()}, {"refused_percent", percent(finger.files-len(finger.errors), finger.files)},
		{"mean_error_percent", finger.errors.mean()}, {"finger_files", float64(finger.files)},
		{"ear_arms_percent", ear.errors.rms()}, {"ear_refused_percent", percent(ear.files-len(ear.errors), ear.files)}, {"ear_files", float64(ear.files)},
		{"heart_rate_mae_bpm", heart.mae()}, {"unattached_files", float64(open)}, {"unattached_with_value", float64(shown)}}
}
