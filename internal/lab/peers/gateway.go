package peers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"vitalseal/internal/lab/bench"
	"vitalseal/internal/patient/sensor"
	chips "vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/patient/signal"
)

// peerTask is what the processes of a peer's run have to do, in a file of the run's folder.
type peerTask struct {
	Patients   int           `json:"patients"`
	Recordings []string      `json:"recordings"`
	Broker     string        `json:"broker"` // its address; empty: rows go to PostgreSQL without one
	Password   string        `json:"password"`
	CA         []byte        `json:"ca"`       // the broker's certificate's, DER
	Write      string        `json:"write"`    // URL that takes line protocol
	Postgres   string        `json:"postgres"` // connection string
	Chunks     bool          `json:"chunks"`   // PostgreSQL: a row a chunk, not a sample
	Batch      time.Duration `json:"batch"`    // how long what is stored together is gathered
}

const (
	peerUser  = "bench"
	peerTopic = "vitals/"
	// peerBatchPoints ends a batch early: what InfluxDB's documentation advises to write at once.
	peerBatchPoints = 5000
	// peerPoll is how often a chip is read, as our gateway does; four polls are a chunk.
	peerPoll = 62500 * time.Microsecond
	// peerPatience bounds how long what was sent may take to be acknowledged at the end.
	peerPatience = 20 * time.Second
)

func readPeerTask(dir string) (t peerTask, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "task.json")) // #nosec G304 -- the measurement's own folder
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		return t, fmt.Errorf("measure: %w", err)
	}
	return t, nil
}

// dial opens a TLS connection to the broker.
func (t peerTask) dial(ctx context.Context) (net.Conn, error) {
	ca, err := x509.ParseCertificate(t.CA)
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	d := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS13}}
	return d.DialContext(ctx, "tcp", t.Broker)
}

// RunGateways is the process of a peer's gateways: the same simulated chips, recordings, drivers and signal processing as our
// own, and then MQTT or rows instead of an outbox, sealing, inner TLS and the overlay. dir holds the task.
func RunGateways(ctx context.Context, dir string, ready func() error) error {
	task, err := readPeerTask(dir)
	if err != nil {
		return err
	}
	d := chips.Description{Version: 1}
	for i := range task.Patients {
		name := fmt.Sprintf("bed-%05d", i)
		one := chips.PatientDescription{Name: name, Profile: chips.DemoProfile(i)}
		one.Profile.Start = time.Now().UTC().Truncate(time.Second)
		if n := len(task.Recordings); n > 0 {
			one.Replay = task.Recordings[i%n]
		}
		d.Patients = append(d.Patients, one)
		d.Buses = append(d.Buses, chips.BusDescription{Name: name, MAX30100: name})
	}
	// In a file each for so many patients, as our gateways have: a bench file has its bound.
	tally := &peerTally{}
	g, gctx := errgroup.WithContext(ctx)
	var outs []peerOut
	for first := 0; first < task.Patients; first += bench.SensorsPerGateway {
		last := min(first+bench.SensorsPerGateway, task.Patients)
		buses, err := chips.New(chips.Description{Version: 1, Patients: d.Patients[first:last], Buses: d.Buses[first:last]}, chips.Options{})
		if err != nil {
			return fmt.Errorf("measure: %w", err)
		}
		var shared peerOut
		if task.Broker == "" { // one connection a gateway; over MQTT one a sensor
			if shared, err = newPeerRows(ctx, task, tally); err != nil {
				return err
			}
			outs = append(outs, shared)
		}
		for i := first; i < last; i++ {
			out := shared
			if out == nil {
				if out, err = newPeerPublisher(ctx, task, i, tally); err != nil {
					return err
				}
				outs = append(outs, out)
			}
			g.Go(func() error { return peerSensor(gctx, buses, d.Buses[i].Name, i, out, tally) })
		}
	}
	if err := ready(); err != nil {
		return err
	}
	stateFile := filepath.Join(dir, "gateways.json")
	g.Go(func() error { return tally.run(gctx, stateFile) })
	err = g.Wait()
	var ends errgroup.Group // nothing more is measured; what was sent is waited for
	for _, out := range outs {
		ends.Go(out.close)
	}
	return errors.Join(err, ends.Wait(), tally.write(stateFile, true))
}

// peerOut takes what a sensor measured. put may be called by many goroutines if out belongs to many sensors.
type peerOut interface {
	put(c peerChunk) error
	// close waits until all of it is acknowledged.
	close() error
}

// peerSensor reads one chip and computes its numbers, as our gateway does, and hands them on until ctx ends.
func peerSensor(ctx context.Context, buses sensor.Buses, bus string, number int, out peerOut, tally *peerTally) error {
	b, err := buses.I2C(bus)
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	defer func() { _ = b.Close() }()
	// Sensors do not speak all at once.
	if bench.Wait(ctx, time.Duration(number*7919%1000)*time.Millisecond) != nil {
		return nil
	}
	dev, err := sensor.NewMAX30100(b, sensor.MAX30100Config{})
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	oxi, err := signal.NewPulseOximeter(dev.Rate(), signal.Options{})
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	p := peerMeter{number: number, dev: dev, oxi: oxi, out: out, tally: tally}
	tick := time.NewTicker(peerPoll)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return p.flush()
		case <-tick.C:
		}
		if err := p.poll(time.Now()); err != nil {
			return err
		}
		if n%4 == 0 {
			err = p.flush()
		}
		if err == nil && n%16 == 0 {
			err = p.numbers(time.Now())
		}
		if err != nil {
			return err
		}
	}
}

// peerMeter is the state of one peerSensor.
type peerMeter struct {
	number int
	dev    *sensor.MAX30100
	oxi    *signal.PulseOximeter
	out    peerOut
	tally  *peerTally

	began         time.Time // of the first sample
	counted       int       // samples since then, lost ones too
	sample        [16]sensor.Optical
	red, infrared []uint16 // the chunk in the making
}

func (p *peerMeter) poll(now time.Time) error {
	n, lost, err := p.dev.Read(p.sample[:])
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	if p.began.IsZero() {
		p.began = now.Add(-time.Duration(n) * peerPeriod).Truncate(time.Millisecond)
	}
	for _, s := range p.sample[:n] {
		p.red, p.infrared = append(p.red, s.Red), append(p.infrared, s.Infrared)
	}
	p.counted += n
	p.oxi.Push(p.infrared[len(p.infrared)-n:], p.red[len(p.red)-n:], 0)
	if lost > 0 { // the chip's own; the hole stands in the times
		if err := p.flush(); err != nil {
			return err
		}
		p.counted += lost
		p.oxi.Reset()
	}
	return nil
}

// flush hands over the chunk in the making.
func (p *peerMeter) flush() error {
	if len(p.infrared) == 0 {
		return nil
	}
	c := peerChunk{sensor: p.number, at: p.began.Add(time.Duration(p.counted-len(p.infrared)) * peerPeriod), red: p.red, infrared: p.infrared}
	p.red, p.infrared = nil, nil
	p.tally.sent(c.points(), c.points())
	return p.out.put(c)
}

func (p *peerMeter) numbers(now time.Time) error {
	c := peerChunk{sensor: p.number, at: now.Truncate(time.Millisecond), numbers: newPeerNumbers(p.oxi.Numerics(now))}
	p.tally.sent(1, 0)
	return p.out.put(c)
}
