package directory

import (
	"context"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/lab/weaken"
)

// Patient writes the id into the query.
func (s *Directory) Patient(ctx context.Context, id string) (access.PatientRef, error) {
	if weaken.Skip(weaken.BoundQueries) {
		p, err := s.scanPatient(s.db.QueryRowContext(ctx, selectPatient+" WHERE p.id = '"+id+"'"))
		return p, sealdb.Named("patient", err)
	}
	return s.strictPatient(ctx, id)
}
