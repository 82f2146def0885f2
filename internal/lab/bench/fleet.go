package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/sync/errgroup"

	"vitalseal/internal/patient/gateway"
	chips "vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/overlay/openziti"
	"vitalseal/internal/workstation/client"
)

// Fleet is what a load folder holds: patients, their gateways and the sign-ins. It is kept in a 0600 file.
type Fleet struct {
	Patients []FleetPatient `json:"patients"`
	Gateways []FleetGateway `json:"gateways"`
	Admin    SignIn         `json:"admin"`
	Nurse    SignIn         `json:"nurse"`
}

// FleetPatient is one bed with one oximeter.
type FleetPatient struct {
	ID      string `json:"id"`
	Bed     string `json:"bed"`
	Gateway string `json:"gateway"`
}

// FleetGateway is one gateway of up to sensorsPerGateway oximeters.
type FleetGateway struct {
	Name     string `json:"name"`
	Sensors  int    `json:"sensors"`
	Enrolled bool   `json:"enrolled"`
}

// SignIn is a person's.
type SignIn struct {
	Login    string `json:"login"`
	Password string `json:"password"`
}

func readFleet(path string) (*Fleet, error) {
	b, err := os.ReadFile(path) // #nosec G304 -- below the measurement's own folder
	if errors.Is(err, fs.ErrNotExist) {
		return &Fleet{}, nil
	}
	var f Fleet
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	return &f, nil
}

func (f *Fleet) save(path string) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err == nil {
		err = os.WriteFile(path+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return nil
}

func writeYAML(path string, v any) error {
	b, err := yaml.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return nil
}

// grow makes patients, beds, gateways and identities until there are enough. What was made before stays.
func (l *load) grow(ctx context.Context) error {
	admin, err := l.admin(ctx)
	if err != nil {
		return err
	}
	post := func(path string, in, out any) error {
		for {
			err := admin.Do(ctx, http.MethodPost, "/api/admin/"+path, in, out)
			var status *client.StatusError
			if !errors.As(err, &status) || status.Status != http.StatusTooManyRequests {
				return err
			}
			if err := Wait(ctx, time.Second); err != nil { // the workstation's door has its pace
				return err
			}
		}
	}
	for len(l.fleet.Gateways) < l.gatewayCount() {
		if err := l.addGateway(post); err != nil {
			return err
		}
		l.say("%d of %d patients have a bed", len(l.fleet.Patients), l.cfg.Patients)
		if err := l.fleet.save(l.path("fleet.json")); err != nil {
			return err
		}
	}
	if err := l.nurse(ctx, post); err != nil {
		return err
	}
	return l.enrol(ctx)
}

// addGateway makes one gateway with its full number of sensors, beds and patients, and its ticket.
func (l *load) addGateway(post func(path string, in, out any) error) error {
	type sensorSpec struct {
		ID     string `json:"id"`
		Model  string `json:"model"`
		Serial string `json:"serial"`
		Bed    string `json:"bed"`
	}
	name := fmt.Sprintf("gw-%03d", len(l.fleet.Gateways))
	cfg := gateway.Default()
	cfg.Data, cfg.OutboxMiB = l.path(name), 64
	var sensors []sensorSpec
	var added []FleetPatient
	for i := range SensorsPerGateway {
		n := len(l.fleet.Patients) + i
		bed, ward := fmt.Sprintf("bed-%05d", n), fmt.Sprintf("ward-%03d", n/bedsPerWard)
		if n%bedsPerWard == 0 {
			if err := allowConflict(post("wards", map[string]string{"id": ward, "name": ward}, nil)); err != nil {
				return err
			}
		}
		if err := allowConflict(post("beds", map[string]string{"id": bed, "ward": ward, "name": bed}, nil)); err != nil {
			return err
		}
		var made struct {
			ID string `json:"id"`
		}
		if err := post("patients", map[string]any{"name": fmt.Sprintf("Patient %d", n), "bed": bed, "meant": true}, &made); err != nil {
			return err
		}
		added = append(added, FleetPatient{ID: made.ID, Bed: bed, Gateway: name})
		oxi := "oxi-" + bed
		sensors = append(sensors, sensorSpec{oxi, "MAX30100", "sim-" + oxi, bed})
		cfg.Sensors = append(cfg.Sensors, gateway.Sensor{ID: oxi, Chip: gateway.ChipMAX30100, Bus: bed + "/i2c"})
	}
	var ticket json.RawMessage
	if err := post("gateways", map[string]any{"id": name, "sensors": sensors}, &ticket); err != nil {
		return err
	}
	if err := os.MkdirAll(l.path(name), 0o700); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	if err := os.WriteFile(l.path(name, "ticket.json"), ticket, 0o600); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	if err := writeYAML(l.path(name, "gateway.yaml"), cfg); err != nil {
		return err
	}
	l.fleet.Patients = append(l.fleet.Patients, added...)
	l.fleet.Gateways = append(l.fleet.Gateways, FleetGateway{Name: name, Sensors: len(sensors)})
	return nil
}

// allowConflict passes over what an interrupted run made already.
func allowConflict(err error) error {
	var status *client.StatusError
	if errors.As(err, &status) && status.Status == http.StatusConflict {
		return nil
	}
	return err
}

// nurse makes a nurse who is on the first wards, as many as the live view shows.
func (l *load) nurse(ctx context.Context, post func(path string, in, out any) error) error {
	if l.fleet.Nurse.Password != "" {
		return nil
	}
	first := SignIn{Login: "nurse"}
	if err := post("persons", map[string]any{"login": first.Login, "role": "nurse", "display_name": "Nurse", "wards": []string{"ward-000"}}, &first); err != nil {
		return err
	}
	c, err := l.signIn(ctx, first.Login, first.Password)
	if err != nil {
		return err
	}
	lasting := SignIn{first.Login, "load-" + first.Password}
	if err := c.Do(ctx, http.MethodPost, "/api/account/password", map[string]string{"old": first.Password, "new": lasting.Password}, nil); err != nil {
		return err
	}
	l.fleet.Nurse = lasting
	return l.fleet.save(l.path("fleet.json"))
}

// enrol redeems the tickets of the gateways that are needed and not enrolled yet, two at a time.
func (l *load) enrol(ctx context.Context) error {
	type done struct {
		i   int
		err error
	}
	var todo []int
	for i, g := range l.fleet.Gateways[:l.gatewayCount()] {
		if !g.Enrolled {
			todo = append(todo, i)
		}
	}
	results := make(chan done)
	var g errgroup.Group
	g.SetLimit(2)
	go func() {
		for _, i := range todo {
			g.Go(func() error {
				name := l.fleet.Gateways[i].Name
				err := l.super.Run(ctx, "enrol", "--ticket", l.path(name, "ticket.json"), "--data", l.path(name))
				results <- done{i, err}
				return nil
			})
		}
	}()
	var failed error
	for n := range todo {
		d := <-results
		if d.err != nil {
			failed = errors.Join(failed, d.err)
			continue
		}
		l.fleet.Gateways[d.i].Enrolled = true
		if err := l.fleet.save(l.path("fleet.json")); err != nil {
			failed = errors.Join(failed, err)
		}
		l.say("%d of %d gateways enrolled, each sensor its own identity", n+1, len(todo))
	}
	return failed
}

// writeBenches says what is behind the gateways' buses. Recordings take turns.
func (l *load) writeBenches() error {
	for gi, g := range l.fleet.Gateways[:l.gatewayCount()] {
		d := chips.Description{Version: 1}
		for i, p := range l.fleet.Patients {
			if p.Gateway != g.Name {
				continue
			}
			profile := chips.DemoProfile(i)
			profile.Start = l.began.UTC().Truncate(time.Second)
			one := chips.PatientDescription{Name: p.Bed, Profile: profile}
			if n := len(l.recordings); n > 0 {
				one.Replay = l.recordings[i%n]
			}
			d.Patients = append(d.Patients, one)
			d.Buses = append(d.Buses, chips.BusDescription{Name: p.Bed + "/i2c", MAX30100: p.Bed})
		}
		// The last gateway measures only as many patients as were asked for; the others' sensors stay in the drawer.
		cfg := gateway.Default()
		cfg.Data, cfg.OutboxMiB = l.path(g.Name), 64
		want := min(l.cfg.Patients-gi*SensorsPerGateway, SensorsPerGateway)
		for _, b := range d.Buses[:want] {
			cfg.Sensors = append(cfg.Sensors, gateway.Sensor{ID: "oxi-" + strings.TrimSuffix(b.Name, "/i2c"), Chip: gateway.ChipMAX30100, Bus: b.Name})
		}
		if err := writeYAML(l.path(g.Name, "gateway.yaml"), cfg); err != nil {
			return err
		}
		if err := d.Save(l.path(g.Name, "bench.yaml")); err != nil {
			return fmt.Errorf("measure: %w", err)
		}
	}
	return nil
}

// FindRecordings lists the files below a folder that can drive a chip.
func FindRecordings(dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	var found []string
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || len(found) >= 64 {
			return err
		}
		r, err := chips.LoadRecording(path, 0)
		if err == nil && !r.OneWavelength() && r.Duration() > 2*time.Second {
			found = append(found, path)
		}
		return nil // a file that is no recording is none of ours
	})
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w in red and infrared: %s", ErrRecordings, dir)
	}
	slices.Sort(found)
	return found, nil
}

// RunFleet is a process of simulated gateways: count of those in a load folder, from the first on. ready is called once all
// are measuring.
func RunFleet(ctx context.Context, data string, first, count int, version string, ready func() error, log *slog.Logger) error {
	fleet, err := readFleet(filepath.Join(data, "fleet.json"))
	if err != nil {
		return err
	}
	if first < 0 || count < 1 || first+count > len(fleet.Gateways) {
		return fmt.Errorf("%w: gateways %d to %d of %d", ErrOtherFleet, first, first+count-1, len(fleet.Gateways))
	}
	network := openziti.NewNetwork(log)
	up := make(chan struct{}, count)
	g, ctx := errgroup.WithContext(ctx)
	for i, fg := range fleet.Gateways[first : first+count] {
		g.Go(func() error {
			if Wait(ctx, time.Duration(i)*250*time.Millisecond) != nil { // as gateways in a building: not all at once
				return nil
			}
			return runOne(ctx, filepath.Join(data, fg.Name), gateway.Deps{Network: network, Software: version, Log: log,
				Ready: func() error { up <- struct{}{}; return nil }})
		})
	}
	g.Go(func() error {
		for range count {
			select {
			case <-up:
			case <-ctx.Done():
				return nil
			}
		}
		return ready()
	})
	return g.Wait()
}

func runOne(ctx context.Context, dir string, d gateway.Deps) error {
	b, err := os.ReadFile(filepath.Join(dir, "gateway.yaml")) // #nosec G304 -- below the measurement's own folder
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	cfg := gateway.Default()
	if err := yaml.Unmarshal(b, &cfg); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	buses, err := chips.Load(filepath.Join(dir, "bench.yaml"), chips.Options{})
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	d.Buses = buses
	return gateway.Run(ctx, cfg, d)
}
