package directory

import (
	"context"
	"database/sql"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
)

// MQTTStep is the part of the directory's schema about what MQTT clients sign in as. A channel that is deleted takes its rights along.
const MQTTStep = `
CREATE TABLE mqtt_devices (
  client TEXT PRIMARY KEY, hash BLOB NOT NULL, person TEXT NOT NULL REFERENCES persons(id), created INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX mqtt_devices_by_person ON mqtt_devices (person, client);
CREATE TABLE mqtt_rights (
  client TEXT NOT NULL REFERENCES mqtt_devices(client) ON DELETE CASCADE, channel INTEGER NOT NULL REFERENCES channels(id) ON DELETE CASCADE,
  publish INTEGER NOT NULL, subscribe INTEGER NOT NULL, PRIMARY KEY (client, channel)) WITHOUT ROWID;
CREATE INDEX mqtt_rights_by_channel ON mqtt_rights (channel);
`

// SaveMQTTDevice stores a device with its rights; ErrNotFound for an unknown person or channel.
func (s *Directory) SaveMQTTDevice(ctx context.Context, d access.MQTTDevice) error {
	return sealdb.Named("save mqtt device", s.db.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO mqtt_devices (client, hash, person, created) VALUES (?, ?, ?, ?)",
			d.ClientID, d.Hash[:], d.PersonID, sealdb.Micro(s.db.Now())); err != nil {
			return err
		}
		for _, r := range d.Rights {
			if _, err := tx.ExecContext(ctx, "INSERT INTO mqtt_rights (client, channel, publish, subscribe) VALUES (?, ?, ?, ?)",
				d.ClientID, r.Channel, r.Publish, r.Subscribe); err != nil {
				return err
			}
		}
		return nil
	}))
}

const selectMQTTDevice = `SELECT d.client, d.hash, d.person, coalesce(r.channel, 0), coalesce(r.publish, false), coalesce(r.subscribe, false)
	FROM mqtt_devices d LEFT JOIN mqtt_rights r ON r.client = d.client`

// mqttDevices reads rows of selectMQTTDevice, one a right, those of a device together.
func (s *Directory) mqttDevices(ctx context.Context, where string, arg string) (all []access.MQTTDevice, err error) {
	rows, err := s.db.QueryContext(ctx, selectMQTTDevice+where, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var d access.MQTTDevice
		var r access.MQTTRight
		var hash []byte
		if err := rows.Scan(&d.ClientID, &hash, &d.PersonID, &r.Channel, &r.Publish, &r.Subscribe); err != nil {
			return nil, err
		}
		copy(d.Hash[:], hash)
		if n := len(all); n == 0 || all[n-1].ClientID != d.ClientID {
			all = append(all, d)
		}
		if last := &all[len(all)-1]; r.Channel != 0 {
			last.Rights = append(last.Rights, r)
		}
	}
	return all, rows.Err()
}

// MQTTDevice is the device with this client id; ErrNotFound if there is none.
func (s *Directory) MQTTDevice(ctx context.Context, clientID string) (access.MQTTDevice, error) {
	all, err := s.mqttDevices(ctx, " WHERE d.client = ? ORDER BY r.channel", clientID)
	if err == nil && (len(all) == 0 || s.db.Barred(sealdb.BarMQTT, all[0].PersonID+" "+clientID)) {
		err = sealdb.ErrNotFound
	}
	if err != nil {
		return access.MQTTDevice{}, sealdb.Named("mqtt device", err)
	}
	return all[0], nil
}

// MQTTDevicesOf are a person's.
func (s *Directory) MQTTDevicesOf(ctx context.Context, personID string) ([]access.MQTTDevice, error) {
	all, err := s.mqttDevices(ctx, " WHERE d.person = ? ORDER BY d.client, r.channel", personID)
	return all, sealdb.Named("mqtt devices", err)
}

// DeleteMQTTDevice takes a person's device out of use; ErrNotFound if the person has none of that name.
func (s *Directory) DeleteMQTTDevice(ctx context.Context, personID, clientID string) error {
	return sealdb.Named("delete mqtt device", sealdb.Affected(s.db.UrgentExec(ctx, []sealdb.Bar{{Kind: sealdb.BarMQTT, ID: personID + " " + clientID}}, "DELETE FROM mqtt_devices WHERE client = ? AND person = ?", clientID, personID)))
}
