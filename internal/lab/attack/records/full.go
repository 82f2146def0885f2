package records

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// Full is the attack that fills the disk of the audit log.
func Full() []attack.Attack {
	return []attack.Attack{
		{ID: "disk-full", Threat: "silence the screens, and act without a trace", Position: "who has filled the hub's disk down to the reserve", Fast: true,
			Does:     "the store is held as the hub holds it then; a sensor delivers, a nurse opens the patient, a person writes to a channel",
			Expected: "the reading is shown live, once, and comes again later; the access is in the audit log; the channel's entry is refused",
			Right:    attack.Reads("shown live and kept by the gateway", "in the audit log", "entries do not use up the reserve"), Control: weaken.ShowUnstored, Run: fullDisk},
	}
}

// fullDisk holds the store as the hub's own guard does (package hub): the disk of the machine that
// runs the suite cannot be filled without harm, and a small one cannot be mounted without root.
func fullDisk(ctx context.Context, t *attack.Target) (_ attack.Result, err error) {
	o, err := office.New(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	patient, err := o.Bed(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	nurse, err := o.Nurse(ctx, "nurse")
	if err != nil {
		return attack.Result{}, err
	}
	sensor := overlay.ID{Domain: office.Domain, Kind: overlay.KindSensor, Name: "oxi"}.String()
	err = o.Store.CreateDevice(ctx, directory.Device{ID: sensor, Kind: overlay.KindSensor, State: directory.DeviceActive})
	if err == nil {
		err = o.Store.PlaceDevice(ctx, sensor, "bed", time.Now().Add(-time.Hour))
	}
	if err != nil {
		return attack.Result{}, err
	}
	channelID, err := o.Store.CreateChannel(ctx, channel.Channel{Name: "fridge", Owner: nurse.Person.ID})
	if err != nil {
		return attack.Result{}, err
	}
	g := o.Engine.Standing("full", access.AppendVitals, access.ViewPatient, access.WriteChannel)
	live, err := o.Store.Watch(ctx, []access.Grant{g}, vitals.Numerics)
	if err != nil {
		return attack.Result{}, err
	}
	defer live.Close()
	beat := func(seq uint64, rate float64) (delivery.Outcome, error) {
		at := time.Now().UTC().Truncate(time.Millisecond)
		c := vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, rate, vitals.Good)}}}}
		got, _, err := o.Store.Append(ctx, g, archive.Arrival{Sensor: sensor, Chunk: c, Received: at,
			Header: seal.Header{Sensor: sensor, Signal: uint8(c.Signal), Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}, Seq: seq, Start: at}})
		return got, err
	}
	o.Store.HoldReadings(true)
	got, err := beat(0, 66)
	if got != delivery.Retry || !store.Full(err) {
		return attack.Result{}, fmt.Errorf("with a full disk a reading is %s: %w", got, err)
	}
	var seen []attack.Seen
	if _, err := o.Store.AppendEntry(ctx, g, channelID.ID, channel.Entry{Status: "x"}); store.Full(err) {
		seen = append(seen, attack.Word("entries do not use up the reserve")...)
	} else {
		seen = append(seen, attack.Failure(err)...)
	}
	if _, err := o.Engine.Decide(ctx, nurse, access.ViewPatient, access.OnPatient(patient)); err != nil {
		return attack.Result{}, fmt.Errorf("with a full disk a nurse is refused: %w", err)
	}
	newest, err := o.Trail.Recent(ctx, 1)
	if err != nil {
		return attack.Result{}, err
	}
	if len(newest) == 1 && newest[0].Person == nurse.Person.ID && newest[0].Patient == patient && newest[0].Allowed {
		seen = append(seen, attack.Word("in the audit log")...)
	} else {
		return attack.Through("without a trace", "%d entries", len(newest))
	}
	// There is room again. What was not shown then is not shown before this.
	o.Store.HoldReadings(false)
	if got, err := beat(1, 77); err != nil || got != delivery.Accepted {
		return attack.Result{}, fmt.Errorf("with room again a reading is %s: %w", got, err)
	}
	u, err := live.Next(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	shown := u.Chunk.Bundles[0].Numerics[0].Value
	if u.Patient == patient && shown == 66 {
		seen = append(seen, attack.Word("shown live and kept by the gateway")...)
	}
	return attack.Judge(shown != 66, seen, "the screens are silent", "the screens go on", "the first number that is shown is %g; the reading's outcome is %s", shown, got)
}
