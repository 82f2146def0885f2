package accesstest

import (
	"bytes"
	"context"
	"maps"
	"time"

	"vitalseal/internal/hub/access"
)

// Factors implements access.Credentials.
func (d *Directory) Factors(_ context.Context, person string) ([]access.Factor, error) {
	return filter(d, d.AllFactors, func(f access.Factor) bool { return f.PersonID == person })
}

// beforeWrite calls what a test wants to happen between a factor's read and its write.
func (d *Directory) beforeWrite() {
	d.Mu.Lock()
	f := d.Writing
	d.Mu.Unlock()
	if f != nil {
		f()
	}
}

// SaveFactor implements access.Credentials.
func (d *Directory) SaveFactor(_ context.Context, f access.Factor) error {
	d.beforeWrite()
	return put(d, d.AllFactors, f.ID, f)
}

// SwapFactor implements access.Credentials.
func (d *Directory) SwapFactor(_ context.Context, was, now access.Factor) error {
	d.beforeWrite()
	return d.change(func() error {
		if old, ok := d.AllFactors[was.ID]; !ok || !bytes.Equal(old.Data, was.Data) {
			return access.ErrConflict
		}
		d.AllFactors[was.ID] = now
		return nil
	})
}

// ReplaceFactors implements access.Credentials.
func (d *Directory) ReplaceFactors(_ context.Context, f access.Factor) error {
	return d.change(func() error {
		maps.DeleteFunc(d.AllFactors, func(_ string, old access.Factor) bool { return old.PersonID == f.PersonID && old.Kind == f.Kind })
		d.AllFactors[f.ID] = f
		return nil
	})
}

// OpenEmergency and CountEmergencies are as the store's; uncounted is what both fail with.
func (d *Directory) OpenEmergency(_ context.Context, g access.EmergencyAccess, since time.Time, most int) (out access.EmergencyAccess, err error) {
	err = d.change(func() error {
		c := d.tally(g, since)
		switch {
		case d.Uncounted != nil:
			return d.Uncounted
		case c.Open != "":
			out = d.AllEmergencies[c.Open]
			out.Expires = g.Expires
		case !c.Same && c.Others >= most:
			return access.ErrEmergencyRate
		default:
			out = g
		}
		d.AllEmergencies[out.ID] = out
		return nil
	})
	return out, err
}

// CountEmergencies implements access.Emergencies.
func (d *Directory) CountEmergencies(_ context.Context, g access.EmergencyAccess, since time.Time) (c access.EmergencyCount, err error) {
	err = d.change(func() error { c = d.tally(g, since); return d.Uncounted })
	if d.Counted != nil {
		d.Counted(g)
	}
	return c, err
}

func (d *Directory) tally(g access.EmergencyAccess, since time.Time) (c access.EmergencyCount) {
	others := map[string]bool{}
	for _, x := range d.AllEmergencies {
		if !x.Opened.Before(since) {
			c.All++
		}
		if x.PersonID != g.PersonID || x.Expires.Before(since.Add(access.EmergencyLife)) {
			continue
		}
		if x.PatientID != g.PatientID {
			others[x.PatientID] = true
			continue
		}
		c.Same = true
		if x.Session == g.Session && x.Workstation == g.Workstation && x.ReviewedBy == "" && g.Opened.Before(x.Expires) && !x.Opened.Before(g.Expires.Add(-access.EmergencyLongest)) {
			c.Open = x.ID
		}
	}
	c.Others = len(others)
	return c
}

// OnceWriting has f called before the next write of a password, factor or session, and not again.
func (d *Directory) OnceWriting(f func()) {
	d.Mu.Lock()
	defer d.Mu.Unlock()
	d.Writing = func() {
		d.Mu.Lock()
		d.Writing = nil
		d.Mu.Unlock()
		f()
	}
}
