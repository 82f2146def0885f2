package access_test

import (
	"bytes"
	"context"
	"maps"
	"time"

	"vitalseal/internal/access"
)

func (d *directory) Factors(_ context.Context, person string) ([]access.Factor, error) {
	return filter(d, d.factors, func(f access.Factor) bool { return f.PersonID == person })
}

// beforeWrite calls what a test wants to happen between a factor's read and its write.
func (d *directory) beforeWrite() {
	d.mu.Lock()
	f := d.writing
	d.mu.Unlock()
	if f != nil {
		f()
	}
}

func (d *directory) SaveFactor(_ context.Context, f access.Factor) error {
	d.beforeWrite()
	return put(d, d.factors, f.ID, f)
}

func (d *directory) SwapFactor(_ context.Context, was, now access.Factor) error {
	d.beforeWrite()
	return d.change(func() error {
		if old, ok := d.factors[was.ID]; !ok || !bytes.Equal(old.Data, was.Data) {
			return access.ErrConflict
		}
		d.factors[was.ID] = now
		return nil
	})
}

func (d *directory) ReplaceFactors(_ context.Context, f access.Factor) error {
	return d.change(func() error {
		maps.DeleteFunc(d.factors, func(_ string, old access.Factor) bool { return old.PersonID == f.PersonID && old.Kind == f.Kind })
		d.factors[f.ID] = f
		return nil
	})
}

// OpenGlass and CountGlasses are as the store's; uncounted is what both fail with.
func (d *directory) OpenGlass(_ context.Context, g access.Glass, since time.Time, most int) (out access.Glass, err error) {
	err = d.change(func() error {
		c := d.count(g, since)
		switch {
		case d.uncounted != nil:
			return d.uncounted
		case c.Open != "":
			out = d.glasses[c.Open]
			out.Expires = g.Expires
		case !c.Same && c.Others >= most:
			return access.ErrGlassRate
		default:
			out = g
		}
		d.glasses[out.ID] = out
		return nil
	})
	return out, err
}

func (d *directory) CountGlasses(_ context.Context, g access.Glass, since time.Time) (c access.GlassCount, err error) {
	err = d.change(func() error { c = d.count(g, since); return d.uncounted })
	if d.counted != nil {
		d.counted(g)
	}
	return c, err
}

func (d *directory) count(g access.Glass, since time.Time) (c access.GlassCount) {
	others := map[string]bool{}
	for _, x := range d.glasses {
		if !x.Opened.Before(since) {
			c.All++
		}
		if x.PersonID != g.PersonID || x.Expires.Before(since.Add(access.GlassLife)) {
			continue
		}
		if x.PatientID != g.PatientID {
			others[x.PatientID] = true
			continue
		}
		c.Same = true
		if x.Session == g.Session && x.Workstation == g.Workstation && x.ReviewedBy == "" && g.Opened.Before(x.Expires) && !x.Opened.Before(g.Expires.Add(-access.GlassLongest)) {
			c.Open = x.ID
		}
	}
	c.Others = len(others)
	return c
}

// onceWriting has f called before the next write of a password, factor or session, and not again.
func (d *directory) onceWriting(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writing = func() {
		d.mu.Lock()
		d.writing = nil
		d.mu.Unlock()
		f()
	}
}
