package signin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"vitalseal/internal/hub/access"
)

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
func (svc *Service) NewMQTTDevice(ctx context.Context, s access.Subject, rights []access.MQTTRight) (password string, d access.MQTTDevice, err error) {
	if s.Key != nil {
		return "", d, &access.Denied{Action: access.ManageOwnKeys, Resource: access.OnSystem(), Reason: "a key makes no devices"}
	}
	if len(rights) == 0 || len(rights) > maxDeviceRights {
		return "", d, fmt.Errorf("%w: a device is for 1 to %d channels", access.ErrInvalid, maxDeviceRights)
	}
	d = access.MQTTDevice{PersonID: s.Person.ID, Rights: slices.Clone(rights)}
	slices.SortFunc(d.Rights, func(a, b access.MQTTRight) int { return int(a.Channel - b.Channel) })
	for i, r := range d.Rights {
		what := "mqtt device: subscribe"
		switch {
		case r.Channel < 1, i > 0 && d.Rights[i-1].Channel == r.Channel:
			return "", access.MQTTDevice{}, fmt.Errorf("%w: channel %d: each channel once, from 1", access.ErrInvalid, r.Channel)
		case !r.Publish && !r.Subscribe:
			return "", access.MQTTDevice{}, fmt.Errorf("%w: channel %d: neither publish nor subscribe", access.ErrInvalid, r.Channel)
		case r.Publish:
			what = "mqtt device: publish"
			if _, err := svc.access.Decide(ctx, s, access.WriteChannel, access.OnChannel(r.Channel)); err != nil {
				return "", access.MQTTDevice{}, err
			}
		}
		if _, err := svc.access.DecideFor(ctx, s, access.ManageOwnKeys, access.OnChannel(r.Channel), what); err != nil {
			return "", access.MQTTDevice{}, err
		}
	}
	have, err := svc.dir.MQTTDevicesOf(ctx, s.Person.ID)
	if err != nil {
		return "", access.MQTTDevice{}, fmt.Errorf("signin: mqtt device: %w", err)
	}
	if len(have) >= maxDevices {
		return "", access.MQTTDevice{}, fmt.Errorf("%w: at most %d MQTT devices a person; delete one first", access.ErrInvalid, maxDevices)
	}
	d.ClientID, password = newKey(), newKey()+newKey()
	d.Hash = sha256.Sum256([]byte(password))
	if err := svc.dir.SaveMQTTDevice(ctx, d); err != nil {
		return "", access.MQTTDevice{}, fmt.Errorf("signin: mqtt device: %w", err)
	}
	return password, d, nil
}

// MQTTDevices are s's own.
func (svc *Service) MQTTDevices(ctx context.Context, s access.Subject) ([]access.MQTTDevice, error) {
	if s.Session == "" {
		return nil, access.ErrNoSession
	}
	return svc.dir.MQTTDevicesOf(ctx, s.Person.ID)
}

// DeleteMQTTDevice takes one of s's own devices out of use.
func (svc *Service) DeleteMQTTDevice(ctx context.Context, s access.Subject, clientID string) error {
	if s.Session == "" {
		return access.ErrNoSession
	}
	if err := svc.record(ctx, s.Person, s.Workstation, string(access.ManageOwnKeys), true, "delete mqtt device"); err != nil {
		return err
	}
	return svc.dir.DeleteMQTTDevice(ctx, s.Person.ID, clientID)
}

// MQTTClient is a device that has signed in. It is not a Subject: a device does nothing but by one of its rights.
type MQTTClient struct {
	Device  access.MQTTDevice
	subject access.Subject
}

// On is who asks when the client publishes to a channel, or subscribes to it: its person, narrowed to that as by a key. ok is false
// if the device has no such right.
func (c MQTTClient) On(channel int64, publish bool) (s access.Subject, ok bool) {
	i := slices.IndexFunc(c.Device.Rights, func(r access.MQTTRight) bool { return r.Channel == channel })
	//defence:device-rights a device does what it has a right to
	if i < 0 || publish && !c.Device.Rights[i].Publish || !publish && !c.Device.Rights[i].Subscribe {
		return access.Subject{}, false
	}
	s = c.subject
	s.Key = &access.APIKey{PersonID: s.Person.ID, Channel: channel, Write: publish}
	return s, true
}

// AuthenticateMQTT is who an MQTT client is. Everything that is not a device of an enabled person, at a workstation, with its
// own user name and password, is ErrNoSession.
func (svc *Service) AuthenticateMQTT(ctx context.Context, clientID, user, password, workstation string) (MQTTClient, error) {
	if !deviceText.MatchString(clientID) || user != clientID || !devicePass.MatchString(password) || !access.IsWorkstation(workstation) {
		return MQTTClient{}, access.ErrNoSession
	}
	d, err := svc.dir.MQTTDevice(ctx, clientID)
	hash := sha256.Sum256([]byte(password))
	//defence:device-password a device's password is compared
	if err == nil && subtle.ConstantTimeCompare(hash[:], d.Hash[:]) != 1 {
		err = access.ErrNotFound
	}
	if err != nil {
		return MQTTClient{}, mqttError(err)
	}
	return svc.mqttClient(ctx, d, workstation)
}

// RenewMQTT looks a client up again that goes on: its device and its person may be gone.
func (svc *Service) RenewMQTT(ctx context.Context, c MQTTClient) (MQTTClient, error) {
	d, err := svc.dir.MQTTDevice(ctx, c.Device.ClientID)
	if err == nil && d.Hash != c.Device.Hash {
		err = access.ErrNotFound
	}
	if err != nil {
		return MQTTClient{}, mqttError(err)
	}
	return svc.mqttClient(ctx, d, c.subject.Workstation)
}

func (svc *Service) mqttClient(ctx context.Context, d access.MQTTDevice, workstation string) (MQTTClient, error) {
	p, err := svc.dir.Person(ctx, d.PersonID)
	if err == nil && p.Disabled {
		err = access.ErrNotFound
	}
	if err != nil {
		return MQTTClient{}, mqttError(err)
	}
	return MQTTClient{d, access.Subject{Person: p, Workstation: workstation}}, nil
}

func mqttError(err error) error {
	if errors.Is(err, access.ErrNotFound) {
		return access.ErrNoSession
	}
	return fmt.Errorf("%w: signin: mqtt device: %w", access.ErrUndecided, err)
}
