package store

import (
	"context"
	"slices"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/delivery"
)

// SecurityEvents are what lasts by the inventory at now and all events that are kept, each the newest first, acknowledged or not.
func (s *Store) SecurityEvents(ctx context.Context, now time.Time) ([]directory.SecurityEvent, error) {
	noted, err := s.NotedSecurity(ctx)
	if err != nil {
		return nil, sealdb.Named("security events", err)
	}
	devices, err := s.Devices(ctx)
	if err != nil {
		return nil, sealdb.Named("security events", err)
	}
	clocks, err := s.Clocks(ctx)
	if err != nil {
		return nil, sealdb.Named("security events", err)
	}
	byID := map[string]directory.SecurityEvent{}
	for _, e := range noted {
		byID[e.ID] = e
	}
	var lasting []directory.SecurityEvent
	beds := map[string][]string{}
	add := func(kind, place, detail string, since time.Time) {
		id := directory.SecurityID(kind, place, "")
		if slices.ContainsFunc(lasting, func(e directory.SecurityEvent) bool { return e.ID == id }) {
			return
		}
		e := directory.SecurityEvent{ID: id, Kind: kind, Place: place, Detail: detail, First: since, Last: now, Times: 1, Lasts: true}
		if was, ok := byID[id]; ok {
			e.Seen, e.SeenBy = was.Seen, was.SeenBy
		}
		lasting = append(lasting, e)
	}
	for _, d := range devices {
		if d.Bed != "" {
			beds[d.ID] = append(beds[d.ID], d.Bed)
			if d.Gateway != "" && !slices.Contains(beds[d.Gateway], d.Bed) {
				beds[d.Gateway] = append(beds[d.Gateway], d.Bed)
			}
		}
		if d.State != directory.DeviceActive {
			continue
		}
		at := d.Gateway // what its sensors say, a gateway says once
		if at == "" {
			at = d.ID
		}
		if d.Trouble != "" {
			kind := directory.SecurityTrouble
			if d.Kind == "hub" {
				kind = directory.SecurityHubDisk
			}
			add(kind, at, d.Trouble, d.TroubledSince)
		}
		if c := clocks[d.ID]; c.Known && !(attribution.Clock{Known: true, Offset: c.Offset, Error: c.Error}).Sure() {
			add(directory.SecurityClock, at, delivery.ClockWords(c.Offset), c.At)
		}
	}
	noted = slices.DeleteFunc(noted, func(e directory.SecurityEvent) bool {
		return e.Kind == directory.SecurityTrouble || e.Kind == directory.SecurityClock || e.Kind == directory.SecurityHubDisk
	})
	all := append(lasting, noted...)
	for i := range all {
		all[i].Beds = beds[all[i].Place]
	}
	return all, nil
}
