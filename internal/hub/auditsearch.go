package hub

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/admin"
)

// searched finds entries of the audit log for the auditor's page.
func (t *testimony) searched(ctx context.Context, q admin.AuditQuestion) (admin.AuditPage, error) {
	p, err := t.trail.Search(ctx, q.Size, q.Before, q.N, audit.Filter{From: q.From, To: q.To, Person: q.Person, Patient: q.Patient, Action: q.Action, Answer: q.Answer})
	switch {
	case errors.Is(err, audit.ErrTampered):
		t.log.Error("THE AUDIT LOG ON DISK IS NOT WHAT WAS SIGNED; stop the hub and keep the folder, it is evidence", "err", err)
		return admin.AuditPage{}, fmt.Errorf("hub: %w", err)
	case errors.Is(err, audit.ErrNoEntry):
		return admin.AuditPage{}, fmt.Errorf("%w: %w", admin.ErrAuditQuestion, err)
	case err != nil:
		return admin.AuditPage{}, fmt.Errorf("hub: %w", err)
	}
	return pageOf(p), nil
}

// pageOf is a page of the audit log as the administration face answers it.
func pageOf(p audit.Page) admin.AuditPage {
	out := admin.AuditPage{Entries: []admin.AuditFound{}, Next: p.Next}
	if !p.Looked.IsZero() {
		looked := p.Looked.UTC()
		out.Looked = &looked
	}
	for _, e := range p.Entries {
		proof := make([]string, len(e.Proof))
		for i, h := range e.Proof {
			proof[i] = base64.StdEncoding.EncodeToString(h[:])
		}
		out.Entries = append(out.Entries, admin.AuditFound{Seq: e.Seq, Line: e.Line, Proof: proof})
	}
	return out
}
