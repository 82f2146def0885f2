package sealdb

import "vitalseal/internal/hub/access"

// Unassigned is the subject of chunks whose sensor stood at no occupied bed when they were taken. It has a key of its own
// and no person is ever granted it; only an engine's standing grant opens it.
const Unassigned = "unassigned"

// Allowed is the one gate in front of everything that is opened or appended.
func (s *DB) Allowed(g access.Grant, a access.Action, r access.Resource) error {
	//defence:grant-check what is stored opens only against a grant
	if !g.Allows(a, r, s.Now()) {
		return ErrNotAllowed
	}
	return nil
}

// NumbersAllowed is the gate in front of a patient's numbers, which a wall screen may show too: without the name and wave.
func (s *DB) NumbersAllowed(g access.Grant, patient string) error {
	if s.Allowed(g, access.ViewDisplay, access.OnPatient(patient)) == nil {
		return nil
	}
	return s.Allowed(g, access.ViewPatient, access.OnPatient(patient))
}
