package directory

// DeviceStep is the part of the directory's schema about what the inventory knows of a component.
const DeviceStep = `
ALTER TABLE devices ADD COLUMN mode TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN wards TEXT NOT NULL DEFAULT '[]';
ALTER TABLE devices ADD COLUMN version TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN enrolled INTEGER;
ALTER TABLE devices ADD COLUMN cert TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN cert_begins INTEGER;
ALTER TABLE devices ADD COLUMN cert_ends INTEGER;
ALTER TABLE devices ADD COLUMN public_key TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN next_key TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN rotate INTEGER NOT NULL DEFAULT 0;
UPDATE devices SET enrolled = 0 WHERE state IN ('active', 'disabled');
`
