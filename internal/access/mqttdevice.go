package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"vitalseal/internal/lab/weaken"
)

// MQTTDevice is what an MQTT client signs in as, after ThingSpeak's "MQTT devices": a bundle of rights on channels in the name of the
// person who made it.
type MQTTDevice struct {
	ClientID string   // of the client, and its user name
	Hash     [32]byte // SHA-256 of the password
	PersonID string
	Rights   []MQTTRight // by channel
}

// MQTTRight is what a device may do with one channel, as far as its person may.
type MQTTRight struct {
	Channel            int64
	Publish, Subscribe bool
}

const (
	maxDevices      = 100 // of a person
	maxDeviceRights = 64
)

var (
	deviceText = regexp.MustCompile(`^[0-9A-Z]{16}$`)
	devicePass = regexp.MustCompile(`^[0-9A-Z]{32}$`)
)

// NewMQTTDevice makes a device in s's own name; the password exists only in what is returned. It needs a fresh proof of identity,
// and for each channel what NewKey needs. ErrInvalid says what is wrong with the rights.
func (e *Engine) NewMQTTDevice(ctx context.Context, s Subject, rights []MQTTRight) (password string, d MQTTDevice, err error) {
	if s.Key != nil {
		return "", d, &Denied{Action: ManageOwnKeys, Resource: OnSystem(), Reason: "a key makes no devices"}
	}
	if len(rights) == 0 || len(rights) > maxDeviceRights {
		return "", d, fmt.Errorf("%w: a device is for 1 to %d channels", ErrInvalid, maxDeviceRights)
	}
	d = MQTTDevice{PersonID: s.Person.ID, Rights: slices.Clone(rights)}
	slices.SortFunc(d.Rights, func(a, b MQTTRight) int { return int(a.Channel - b.Channel) })
	for i, r := range d.Rights {
		what := "mqtt device: subscribe"
		switch {
		case r.Channel < 1, i > 0 && d.Rights[i-1].Channel == r.Channel:
			return "", MQTTDevice{}, fmt.Errorf("%w: channel %d: each channel once, from 1", ErrInvalid, r.Channel)
		case !r.Publish && !r.Subscribe:
			return "", MQTTDevice{}, fmt.Errorf("%w: channel %d: neither publish nor subscribe", ErrInvalid, r.Channel)
		case r.Publish:
			what = "mqtt device: publish"
			if _, err := e.Decide(ctx, s, WriteChannel, OnChannel(r.Channel)); err != nil {
				return "", MQTTDevice{}, err
			}
		}
		if _, err := e.DecideFor(ctx, s, ManageOwnKeys, OnChannel(r.Channel), what); err != nil {
			return "", MQTTDevice{}, err
		}
	}
	have, err := e.dir.MQTTDevicesOf(ctx, s.Person.ID)
	if err != nil {
		return "", MQTTDevice{}, fmt.Errorf("access: mqtt device: %w", err)
	}
	if len(have) >= maxDevices {
		return "", MQTTDevice{}, fmt.Errorf("%w: at most %d MQTT devices a person; delete one first", ErrInvalid, maxDevices)
	}
	d.ClientID, password = newKey(), newKey()+newKey()
	d.Hash = sha256.Sum256([]byte(password))
	if err := e.dir.SaveMQTTDevice(ctx, d); err != nil {
		return "", MQTTDevice{}, fmt.Errorf("access: mqtt device: %w", err)
	}
	return password, d, nil
}

// MQTTDevices are s's own.
func (e *Engine) MQTTDevices(ctx context.Context, s Subject) ([]MQTTDevice, error) {
	if s.Session == "" {
		return nil, ErrNoSession
	}
	return e.dir.MQTTDevicesOf(ctx, s.Person.ID)
}

// DeleteMQTTDevice takes one of s's own devices out of use.
func (e *Engine) DeleteMQTTDevice(ctx context.Context, s Subject, clientID string) error {
	if s.Session == "" {
		return ErrNoSession
	}
	if err := e.record(ctx, s.Person, s.Workstation, string(ManageOwnKeys), true, "delete mqtt device"); err != nil {
		return err
	}
	return e.dir.DeleteMQTTDevice(ctx, s.Person.ID, clientID)
}

// MQTTClient is a device that has signed in. It is not a Subject: a device does nothing but by one of its rights.
type MQTTClient struct {
	Device  MQTTDevice
	subject Subject
}

// On is who asks when the client publishes to a channel, or subscribes to it: its person, narrowed to that as by a key. ok is false
// if the device has no such right.
func (c MQTTClient) On(channel int64, publish bool) (s Subject, ok bool) {
	i := slices.IndexFunc(c.Device.Rights, func(r MQTTRight) bool { return r.Channel == channel })
	if (i < 0 || publish && !c.Device.Rights[i].Publish || !publish && !c.Device.Rights[i].Subscribe) && !weaken.Skip(weaken.DeviceRights) {
		return Subject{}, false
	}
	s = c.subject
	s.Key = &APIKey{PersonID: s.Person.ID, Channel: channel, Write: publish}
	return s, true
}

// AuthenticateMQTT is who an MQTT client is. Everything that is not a device of an enabled person, at a workstation, with its
// own user name and password, is ErrNoSession.
func (e *Engine) AuthenticateMQTT(ctx context.Context, clientID, user, password, workstation string) (MQTTClient, error) {
	if !deviceText.MatchString(clientID) || user != clientID || !devicePass.MatchString(password) || !IsWorkstation(workstation) {
		return MQTTClient{}, ErrNoSession
	}
	d, err := e.dir.MQTTDevice(ctx, clientID)
	hash := sha256.Sum256([]byte(password))
	if err == nil && subtle.ConstantTimeCompare(hash[:], d.Hash[:]) != 1 && !weaken.Skip(weaken.DevicePassword) {
		err = ErrNotFound
	}
	if err != nil {
		return MQTTClient{}, mqttError(err)
	}
	return e.mqttClient(ctx, d, workstation)
}

// RenewMQTT looks a client up again that goes on: its device and its person may be gone.
func (e *Engine) RenewMQTT(ctx context.Context, c MQTTClient) (MQTTClient, error) {
	d, err := e.dir.MQTTDevice(ctx, c.Device.ClientID)
	if err == nil && d.Hash != c.Device.Hash {
		err = ErrNotFound
	}
	if err != nil {
		return MQTTClient{}, mqttError(err)
	}
	return e.mqttClient(ctx, d, c.subject.Workstation)
}

func (e *Engine) mqttClient(ctx context.Context, d MQTTDevice, workstation string) (MQTTClient, error) {
	p, err := e.dir.Person(ctx, d.PersonID)
	if err == nil && p.Disabled {
		err = ErrNotFound
	}
	if err != nil {
		return MQTTClient{}, mqttError(err)
	}
	return MQTTClient{d, Subject{Person: p, Workstation: workstation}}, nil
}

func mqttError(err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrNoSession
	}
	return fmt.Errorf("access: mqtt device: %w", err)
}
