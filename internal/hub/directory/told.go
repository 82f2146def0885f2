package directory

import "vitalseal/internal/hub/sealdb"

// ToldStep notes until when the hub went by a stay or a placement: the end itself, or when it was entered, if that was later. What a sensor
// measured in between stands on the chart of who was believed to be there. NULL: by the end, as before.
const ToldStep = `
ALTER TABLE stays ADD COLUMN told INTEGER;
ALTER TABLE placements ADD COLUMN told INTEGER;
`

// PgTold is ToldStep in PostgreSQL.
var PgTold = sealdb.Step{Up: `
ALTER TABLE stays ADD COLUMN told BIGINT;
ALTER TABLE placements ADD COLUMN told BIGINT;
`, Down: "ALTER TABLE stays DROP COLUMN told; ALTER TABLE placements DROP COLUMN told;"}

// toldBy is when an end at µs at is known to the hub, which writes it down now.
func (s *Directory) toldBy(at int64) int64 { return max(at, sealdb.Micro(s.db.Now())) }
