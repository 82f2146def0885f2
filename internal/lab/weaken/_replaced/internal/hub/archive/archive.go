package archive

import (
	"context"

	"vitalseal/internal/lab/weaken"
)

// wardsOf is where a patient lies now.
func (s *Archive) wardsOf(ctx context.Context, patient string) ([]string, error) {
	if weaken.Skip(weaken.WardHistory) {
		p, err := s.dir.Patient(ctx, patient)
		return []string{p.Ward}, err
	}
	return s.strictWardsOf(ctx, patient)
}
