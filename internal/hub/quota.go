package hub

import (
	"fmt"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/view/admin"
	"vitalseal/internal/view/dashboard"
)

// QuotaConfig bounds what one person and one workstation may take, so that no one of them takes it all.
type QuotaConfig struct {
	// PersonEntries and PersonBytes are what the channels and TalkBacks that one person made may hold, HospitalEntries and HospitalBytes
	// those that administrators made.
	PersonEntries   int64 `yaml:"person_entries"`
	PersonBytes     int64 `yaml:"person_bytes"`
	HospitalEntries int64 `yaml:"hospital_entries"`
	HospitalBytes   int64 `yaml:"hospital_bytes"`
	// Writes are entries of channels a second, in the long run.
	PersonWrites  float64 `yaml:"person_writes_per_second"`
	StationWrites float64 `yaml:"workstation_writes_per_second"`
	// Audit entries, and their bytes, a second, in the long run.
	PersonAudit       float64 `yaml:"person_audit_entries_per_second"`
	StationAudit      float64 `yaml:"workstation_audit_entries_per_second"`
	PersonAuditBytes  float64 `yaml:"person_audit_bytes_per_second"`
	StationAuditBytes float64 `yaml:"workstation_audit_bytes_per_second"`
	// Live views that are open at once.
	LiveTotal   int `yaml:"live_views"`
	LiveStation int `yaml:"workstation_live_views"`
	LivePerson  int `yaml:"person_live_views"`
}

func defaultQuotas() QuotaConfig {
	s, a := channel.DefaultQuota(), access.DefaultAuditQuota()
	return QuotaConfig{PersonEntries: s.PersonEntries, PersonBytes: s.PersonBytes, HospitalEntries: s.HospitalEntries, HospitalBytes: s.HospitalBytes,
		PersonWrites: a.PersonWrites, StationWrites: a.StationWrites, PersonAudit: a.PersonEntries, StationAudit: a.StationEntries,
		PersonAuditBytes: a.PersonBytes, StationAuditBytes: a.StationBytes, LiveTotal: 512, LiveStation: 32, LivePerson: 32}
}

func (c QuotaConfig) validate() error {
	for _, f := range []struct {
		key   string
		value float64
	}{
		{"person_entries", float64(c.PersonEntries)}, {"person_bytes", float64(c.PersonBytes)}, {"hospital_entries", float64(c.HospitalEntries)},
		{"hospital_bytes", float64(c.HospitalBytes)}, {"person_writes_per_second", c.PersonWrites}, {"workstation_writes_per_second", c.StationWrites},
		{"person_audit_entries_per_second", c.PersonAudit}, {"workstation_audit_entries_per_second", c.StationAudit},
		{"person_audit_bytes_per_second", c.PersonAuditBytes}, {"workstation_audit_bytes_per_second", c.StationAuditBytes},
		{"live_views", float64(c.LiveTotal)}, {"workstation_live_views", float64(c.LiveStation)}, {"person_live_views", float64(c.LivePerson)},
	} {
		if !(f.value >= 0 && f.value <= 1e15) {
			return fmt.Errorf("hub: configuration: quotas: %s: %v is not within 0 (the default) to 1e15", f.key, f.value)
		}
	}
	return nil
}

func (c QuotaConfig) store() channel.Quota {
	return channel.Quota{PersonEntries: c.PersonEntries, PersonBytes: c.PersonBytes, HospitalEntries: c.HospitalEntries, HospitalBytes: c.HospitalBytes}
}

func (c QuotaConfig) audit() access.AuditQuota {
	return access.AuditQuota{PersonEntries: c.PersonAudit, StationEntries: c.StationAudit, PersonBytes: c.PersonAuditBytes, StationBytes: c.StationAuditBytes,
		PersonWrites: c.PersonWrites, StationWrites: c.StationWrites}
}

// liveOf tells administrators of a hub's live views.
func liveOf(board *dashboard.Handler) func() admin.Live {
	return func() admin.Live {
		b := board.LiveBounds()
		persons, stations := board.LiveViews()
		return admin.Live{Persons: persons, Stations: stations, PersonLimit: b.Person, StationLimit: b.Station, TotalLimit: b.Total, FirstOfAStation: dashboard.FirstViews}
	}
}

func (c QuotaConfig) live() dashboard.LiveBounds {
	return dashboard.LiveBounds{Total: c.LiveTotal, Station: c.LiveStation, Person: c.LivePerson}
}
