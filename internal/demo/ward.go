package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/workstation/client"
)

// ward is what the demo seeded on its first start and must know on later ones. It is kept in a 0600 file: it holds
// the sign-ins.
type ward struct {
	Patients []seededPatient `json:"patients"`
	Gateways []string        `json:"gateways"`
	Admin    signIn          `json:"admin"`
	SignIns  []signIn        `json:"sign_ins"`
	// ReadKey reads the first patient's ThingSpeak channel, with the doctor's rights.
	ReadKey string `json:"thingspeak_read_key"`
}

type seededPatient struct {
	ID      string `json:"id"`
	Bed     string `json:"bed"`
	Gateway string `json:"gateway"`
	Channel int64  `json:"channel"`
}

type signIn struct {
	Role     string `json:"role"`
	Login    string `json:"login"`
	Password string `json:"password"`
	Sees     string `json:"sees"`
}

// names are invented; any likeness is chance.
var names = []string{"Ada Brandt", "Bela Novak", "Chidi Okafor", "Dalia Haddad", "Emil Sørensen", "Farah Iqbal",
	"Goran Petrović", "Hana Suzuki", "Ines Carvalho", "Jonas Weber", "Kalea Kahale", "Liam Byrne"}

func patientName(i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s %d", names[i%len(names)], i/len(names)+1)
}

var wards = []struct{ id, name string }{{"ward-a", "Cardiology"}, {"ward-b", "Surgery"}}

// patientsPerGateway is how many beds share one gateway: an MCP3008 has eight channels, one a cuff.
const patientsPerGateway = 8

// gatewayOf places patient i of n: wards take turns, and a ward's beds fill its gateways.
func gatewayOf(i int) (ward int, gateway string) {
	ward = i % len(wards)
	return ward, fmt.Sprintf("gw-%c%d", 'a'+ward, i/len(wards)/patientsPerGateway+1)
}

// seed fills a fresh hub through its administration face, as a biomedical engineer would, and writes the gateways'
// configurations and tickets below dir.
func seed(ctx context.Context, c *client.Client, dir string, patients int, adminSignIn signIn) (*ward, error) {
	w := &ward{Admin: adminSignIn}
	post := func(path string, in, out any) error { return c.Do(ctx, http.MethodPost, "/api/admin/"+path, in, out) }
	for _, x := range wards {
		if err := post("wards", map[string]string{"id": x.id, "name": x.name}, nil); err != nil {
			return nil, err
		}
	}
	type sensorSpec struct {
		ID     string `json:"id"`
		Model  string `json:"model"`
		Serial string `json:"serial"`
		Bed    string `json:"bed,omitempty"`
	}
	sensors := map[string][]sensorSpec{}
	configs := map[string]*gateway.Config{}
	for i := range patients {
		ward, gw := gatewayOf(i)
		bed := fmt.Sprintf("%c-%d", 'a'+ward, i/len(wards)+1)
		if err := post("beds", map[string]string{"id": bed, "ward": wards[ward].id, "name": "Bed " + bed}, nil); err != nil {
			return nil, err
		}
		var made struct {
			ID      string `json:"id"`
			Channel int64  `json:"channel"`
		}
		if err := post("patients", map[string]any{"name": patientName(i), "bed": bed, "meant": true}, &made); err != nil {
			return nil, err
		}
		w.Patients = append(w.Patients, seededPatient{ID: made.ID, Bed: bed, Gateway: gw, Channel: made.Channel})

		adc, slot := gw+"-adc", i/len(wards)%patientsPerGateway
		if configs[gw] == nil {
			w.Gateways = append(w.Gateways, gw)
			sensors[gw] = append(sensors[gw], sensorSpec{ID: adc, Model: "MCP3008", Serial: "sim-" + adc})
			cfg := gateway.Default()
			cfg.OutboxMiB = 256
			cfg.Data = filepath.Join(dir, gw)
			cfg.Sensors = append(cfg.Sensors, gateway.Sensor{ID: adc, Chip: gateway.ChipMCP3008, Bus: spiBus(gw)})
			configs[gw] = &cfg
		}
		oximeter, cuff := "oxi-"+bed, "cuff-"+bed
		sensors[gw] = append(sensors[gw],
			sensorSpec{ID: oximeter, Model: "MAX30100", Serial: "sim-" + oximeter, Bed: bed},
			sensorSpec{ID: cuff, Model: "MPS20N0040D", Serial: "sim-" + cuff, Bed: bed})
		configs[gw].Sensors = append(configs[gw].Sensors,
			gateway.Sensor{ID: oximeter, Chip: gateway.ChipMAX30100, Bus: i2cBus(bed)},
			gateway.Sensor{ID: cuff, Chip: gateway.ChipMPS20N0040D, ADC: adc, Channel: slot})
	}
	for _, gw := range w.Gateways {
		if err := calibrate(configs[gw], w.bench(gw, "", time.Now())); err != nil {
			return nil, err
		}
		var ticket json.RawMessage
		if err := post("gateways", map[string]any{"id": gw, "sensors": sensors[gw]}, &ticket); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Join(dir, gw), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, gw, "ticket.json"), ticket, 0o600); err != nil {
			return nil, err
		}
		if err := writeYAML(filepath.Join(dir, gw, "gateway.yaml"), configs[gw]); err != nil {
			return nil, err
		}
	}
	if err := w.people(ctx, c.Base().String(), post); err != nil {
		return nil, err
	}
	return w, writeJSON(filepath.Join(dir, "demo.json"), w)
}

// people creates the sign-ins beside the administrator's, changes their one-time passwords, and makes the doctor's ThingSpeak key.
func (w *ward) people(ctx context.Context, address string, post func(path string, in, out any) error) error {
	if len(w.Patients) == 0 {
		return errors.New("demo: no patients")
	}
	var all []string
	for _, p := range w.Patients {
		all = append(all, p.ID)
	}
	for _, x := range []struct {
		signIn
		body map[string]any
	}{
		{signIn{Role: "doctor", Login: "doctor", Sees: "every patient"}, map[string]any{"display_name": "Dr. Mira Lang", "patients": all}},
		{signIn{Role: "nurse", Login: "nurse", Sees: wards[0].name + " only"}, map[string]any{"display_name": "Nurse Tomas Ek", "wards": []string{wards[0].id}}},
		{signIn{Role: "patient", Login: "patient", Sees: "itself, bed " + w.Patients[0].Bed}, map[string]any{"display_name": patientName(0), "self": w.Patients[0].ID}},
		{signIn{Role: "auditor", Login: "auditor", Sees: "no patient; the audit log, security events, approvals"}, map[string]any{"display_name": "Irma Vogt"}},
	} {
		x.body["login"], x.body["role"] = x.Login, x.Role
		if err := post("persons", x.body, &x.signIn); err != nil {
			return err
		}
		c, err := client.New(address)
		if err != nil {
			return err
		}
		if x.signIn, err = firstSignIn(ctx, c, x.signIn); err != nil {
			return err
		}
		w.SignIns = append(w.SignIns, x.signIn)
		if x.Role == "doctor" {
			var key struct {
				Key string `json:"key"`
			}
			if err := c.Do(ctx, http.MethodPost, "/api/account/keys", map[string]any{"channel": w.Patients[0].Channel}, &key); err != nil {
				return err
			}
			w.ReadKey = key.Key
		}
		if err := c.SignOut(ctx); err != nil {
			return err
		}
	}
	return nil
}

// firstSignIn signs in with a one-time password and changes it for one that lasts, which it returns.
func firstSignIn(ctx context.Context, c *client.Client, s signIn) (signIn, error) {
	if err := c.SignIn(ctx, s.Login, s.Password); err != nil {
		return s, fmt.Errorf("demo: first sign-in of %s: %w", s.Login, err)
	}
	lasting := rand.Text()
	if err := c.Do(ctx, http.MethodPost, "/api/account/password", map[string]string{"old": s.Password, "new": lasting}, nil); err != nil {
		return s, fmt.Errorf("demo: first password of %s: %w", s.Login, err)
	}
	s.Password = lasting
	return s, nil
}

func i2cBus(bed string) string { return "bed-" + bed + "/i2c" }
func spiBus(gw string) string  { return gw + "/spi" }

// demoProfile is simulated patient i; its first cuff measurement comes soon after start.
func demoProfile(i int, start time.Time) bench.Profile {
	p := bench.DemoProfile(i)
	p.Start = start.UTC().Truncate(time.Second)
	return p
}

// bench describes what is behind a gateway's buses; the gateway's own configuration only names the buses.
func (w *ward) bench(gw, replay string, start time.Time) bench.Description {
	d := bench.Description{Version: 1}
	adc := bench.BusDescription{Name: spiBus(gw), MCP3008: map[int]string{}}
	for i, p := range w.Patients {
		if p.Gateway != gw {
			continue
		}
		one := bench.PatientDescription{Name: p.Bed, Profile: demoProfile(i, start)}
		if i == 0 {
			one.Replay = replay
		}
		d.Patients = append(d.Patients, one)
		d.Buses = append(d.Buses, bench.BusDescription{Name: i2cBus(p.Bed), MAX30100: p.Bed})
		adc.MCP3008[i/len(wards)%patientsPerGateway] = p.Bed
	}
	d.Buses = append(d.Buses, adc)
	return d
}

// calibrate does what a technician does with a reference manometer: it finds each cuff's two points.
func calibrate(cfg *gateway.Config, d bench.Description) error {
	b, err := bench.New(d, bench.Options{})
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	for i, s := range cfg.Sensors {
		if s.Chip != gateway.ChipMPS20N0040D {
			continue
		}
		bus := ""
		for _, a := range cfg.Sensors {
			if a.ID == s.ADC {
				bus = a.Bus
			}
		}
		if cfg.Sensors[i].Calibration, err = b.Calibration(bus, s.Channel); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	return nil
}

// signIn is the sign-in of a role.
func (w *ward) signIn(role string) signIn {
	for _, s := range w.SignIns {
		if s.Role == role {
			return s
		}
	}
	return signIn{}
}
