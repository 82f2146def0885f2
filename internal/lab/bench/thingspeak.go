package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"vitalseal/internal/shared/process"
	"vitalseal/internal/workstation/client"
)

// ThingSpeakConfig says how to measure the ThingSpeak face.
type ThingSpeakConfig struct {
	Exe      string        // the vitalseal binary
	Data     string        // folder for the deployment
	For      time.Duration // of each measurement
	Clients  []int         // how many at once; one measurement each
	Progress io.Writer
}

// ErrNoMosquitto says that there is nothing to compare with.
var ErrNoMosquitto = errors.New("measure: mosquitto and mosquitto_passwd are not installed")

// ThingSpeakReport is what RunThingSpeak measured.
type ThingSpeakReport struct {
	Machine   string          `json:"machine"`
	Seconds   float64         `json:"seconds"` // of each row
	Mosquitto string          `json:"mosquitto"`
	Rows      []ThingSpeakRow `json:"rows"`
}

// ThingSpeakRow is one way to write, by so many clients of which each waits for its answer before it goes on.
type ThingSpeakRow struct {
	System      string  `json:"system"` // "vitalseal" or "mosquitto"
	Way         string  `json:"way"`
	Clients     int     `json:"clients"`
	PerSecond   float64 `json:"entries_per_second"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	Failed      int     `json:"failed"`
	Bounded     int     `json:"too_many_requests"` // answers 429: the workstation's and the hub's bounds on requests
	PerExchange int     `json:"entries_per_exchange"`
}

// errTooMany says that a bound on requests was met: what a connection may ask of its workstation, or a workstation of the hub.
var errTooMany = errors.New("measure: too many requests")

// bulkEntries is how many entries one bulk update has.
const bulkEntries = 100

// programStations is how many workstations the clients are spread over: the hub bounds how often one may ask.
const programStations = 4

// speaker is one client: its own channel, keys and device, at one of the workstations.
type speaker struct {
	base, mqtt string // addresses
	channel    int64
	key        string
	device     struct{ ID, Username, Password string }
	http       *http.Client
}

// RunThingSpeak measures writing to channels through the real parts, with policy and durable store: updates, bulk updates and MQTT;
// and MQTT through mosquitto alone.
func RunThingSpeak(ctx context.Context, cfg ThingSpeakConfig) (r ThingSpeakReport, err error) {
	broker, err := exec.LookPath("mosquitto")
	if err != nil {
		broker, err = exec.LookPath("/usr/sbin/mosquitto")
	}
	if err != nil {
		return r, ErrNoMosquitto
	}
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	l := &load{cfg: LoadConfig{Exe: cfg.Exe, Data: cfg.Data, Progress: cfg.Progress}, began: time.Now()}
	if l.super, err = process.New(cfg.Exe, l.path("logs")); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	defer func() { err = errors.Join(err, l.super.StopAll(15*time.Second)) }()
	if err := l.startHub(ctx); err != nil {
		return r, err
	}
	most := 0
	for _, n := range cfg.Clients {
		most = max(most, n)
	}
	speakers, err := l.speakers(ctx, most)
	if err != nil {
		return r, err
	}
	r = ThingSpeakReport{Machine: Machine(), Seconds: cfg.For.Seconds()}
	for _, n := range cfg.Clients {
		for _, way := range []struct {
			name    string
			entries int
			open    func(*speaker) (func() error, func(), error)
		}{
			{"POST /update", 1, (*speaker).updates},
			{"bulk update of " + strconv.Itoa(bulkEntries), bulkEntries, (*speaker).bulk},
			{"MQTT QoS 0", 1, func(s *speaker) (func() error, func(), error) { return s.publishes(0) }},
			{"MQTT QoS 1", 1, func(s *speaker) (func() error, func(), error) { return s.publishes(1) }},
		} {
			l.say("vitalseal, %s, %d clients", way.name, n)
			row, err := exchange(ctx, speakers[:n], way.open, cfg.For, way.entries)
			if err != nil {
				return r, fmt.Errorf("measure: %s: %w", way.name, err)
			}
			row.System, row.Way = "vitalseal", way.name
			r.Rows = append(r.Rows, row)
		}
	}
	if err := l.super.StopAll(time.Minute); err != nil {
		return r, err
	}
	rows, version, err := l.mosquitto(ctx, broker, cfg)
	r.Rows, r.Mosquitto = append(r.Rows, rows...), version
	return r, err
}

// speakers makes channels, keys and devices, and opens the workstations' addresses.
func (l *load) speakers(ctx context.Context, n int) (all []*speaker, err error) {
	l.fleet = &Fleet{}
	admin, err := l.admin(ctx)
	if err != nil {
		return nil, err
	}
	var account struct{ Key string }
	if err := admin.Do(ctx, http.MethodPost, "/api/account/keys", map[string]any{"channel": 0}, &account); err != nil {
		return nil, err
	}
	var bases, brokers []string
	for i := range programStations {
		name := "programs-" + strconv.Itoa(i)
		var ticket json.RawMessage
		if err := admin.Do(ctx, http.MethodPost, "/api/admin/workstations", map[string]string{"id": name}, &ticket); err != nil {
			return nil, err
		}
		file := l.path(name + ".ticket")
		if err := os.WriteFile(file, ticket, 0o600); err != nil {
			return nil, fmt.Errorf("measure: %w", err)
		}
		if err := l.super.Run(ctx, "enrol", "--ticket", file, "--data", l.path(name)); err != nil {
			return nil, err
		}
		web, err := FreeAddress()
		if err != nil {
			return nil, err
		}
		broker, err := FreeAddress()
		if err != nil {
			return nil, err
		}
		if err := l.startProcess(ctx, name, "connect", "--data", l.path(name), "--service", "thingspeak", "--http", web, "--https=", "--mqtt", broker, "--mqtts="); err != nil {
			return nil, err
		}
		bases, brokers = append(bases, "http://"+web), append(brokers, broker)
	}
	for i := range n {
		s := &speaker{base: bases[i%len(bases)], mqtt: brokers[i%len(brokers)], http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{}}}
		var made struct {
			ID   int64
			Keys []struct {
				Key   string `json:"api_key"`
				Write bool   `json:"write_flag"`
			} `json:"api_keys"`
		}
		err := until(ctx, "make a channel", func() error { // the overlay may not know the way yet
			return s.form(ctx, "/channels.json", url.Values{"api_key": {account.Key}, "name": {"bench"}, "field1": {"a"}}, &made)
		})
		if err != nil {
			return nil, err
		}
		s.channel = made.ID
		for _, k := range made.Keys {
			if k.Write {
				s.key = k.Key
			}
		}
		if err := admin.Do(ctx, http.MethodPost, "/api/account/mqtt", map[string]any{"channels": []map[string]any{{"channel": s.channel, "publish": true, "subscribe": true}}}, &s.device); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// form posts a form; out may be nil.
func (s *speaker) form(ctx context.Context, path string, form url.Values, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode == http.StatusTooManyRequests {
		return errTooMany
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// updates is one entry after another.
func (s *speaker) updates() (do func() error, end func(), err error) {
	form := url.Values{"api_key": {s.key}, "field1": {"21.5"}, "status": {"fine"}}
	return func() error { return s.form(context.Background(), "/update", form, nil) }, s.http.CloseIdleConnections, nil
}

// bulk is a bulk update after another, each of its entries with a second of its own.
func (s *speaker) bulk() (do func() error, end func(), err error) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(time.Now().UnixNano() % int64(3000*time.Hour))).Truncate(time.Second)
	path := fmt.Sprintf("/channels/%d/bulk_update.csv", s.channel)
	return func() error {
		var b strings.Builder
		for i := range bulkEntries {
			if i > 0 {
				b.WriteByte('|')
			}
			at = at.Add(time.Second)
			b.WriteString(at.Format("2006-01-02T15:04:05Z") + ",21.5")
		}
		return s.form(context.Background(), path, url.Values{"write_api_key": {s.key}, "time_format": {"absolute"}, "updates": {b.String()}}, nil)
	}, s.http.CloseIdleConnections, nil
}

// publishes is a message after another, over one connection: with QoS 1 until it is acknowledged, with QoS 0 until the same client,
// which has subscribed, is told of it.
func (s *speaker) publishes(qos byte) (do func() error, end func(), err error) {
	name := func(what string) string { return fmt.Sprintf("channels/%d/%s/fields/field1", s.channel, what) }
	return overMQTT(s.mqtt, s.device.ID, s.device.Username, s.device.Password, name("publish"), name("subscribe"), qos)
}

func overMQTT(address, id, user, password, to, from string, qos byte) (do func() error, end func(), err error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return nil, nil, err
	}
	m := client.NewMQTT(conn, 4)
	ack, err := m.Ask(client.Hello(id, user, password))
	if err == nil && ack.ReasonCode != 0 {
		err = fmt.Errorf("the broker answers %#x", ack.ReasonCode)
	}
	if err == nil && qos == 0 {
		ack, err = m.Ask(m.Subscribe(from, 0))
		if err == nil && (len(ack.ReasonCodes) != 1 || ack.ReasonCodes[0] != 0) {
			err = fmt.Errorf("the broker answers %v to a subscription", ack.ReasonCodes)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	want := packets.Puback
	if qos == 0 {
		want = packets.Publish
	}
	return func() error {
		got, err := m.Ask(m.Publish(to, []byte("21.5"), qos))
		if err == nil && got.FixedHeader.Type != want {
			err = fmt.Errorf("the broker answers with a packet of type %d", got.FixedHeader.Type)
		}
		return err
	}, func() { _ = conn.Close() }, nil
}

// exchange has all clients do their thing again and again, and times each.
func exchange[T any](ctx context.Context, clients []T, open func(T) (func() error, func(), error), lasting time.Duration, entries int) (row ThingSpeakRow, err error) {
	var dos []func() error
	for _, c := range clients {
		do, end, err := open(c)
		if err != nil {
			return row, err
		}
		defer end()
		dos = append(dos, do)
	}
	var mu sync.Mutex // guards times, row and failed
	var times []time.Duration
	var failed error
	var wg sync.WaitGroup
	began := time.Now()
	for _, do := range dos {
		wg.Go(func() {
			var own []time.Duration
			var bad, bounded int
			var why error
			for time.Since(began) < lasting && ctx.Err() == nil && bad < 3 {
				at := time.Now()
				if err := do(); errors.Is(err, errTooMany) {
					bounded++
					_ = Wait(ctx, 50*time.Millisecond)
					continue
				} else if err != nil {
					bad, why = bad+1, err
					continue
				}
				own = append(own, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			times, row.Failed = append(times, own...), row.Failed+bad
			row.Bounded += bounded
			if why != nil {
				failed = why
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if len(times) == 0 {
		return row, errors.Join(errors.New("nothing got through"), failed, ctx.Err())
	}
	q := quantiles(times)
	row.Clients, row.PerExchange = len(clients), entries
	row.PerSecond = Rounded(float64(len(times)*entries)/took.Seconds(), 1)
	row.P50, row.P99 = *ms(q.P50), *ms(q.P99)
	return row, ctx.Err()
}

// mosquitto measures the same over MQTT with Debian's broker alone: a password for each client, persistence on as its package has it,
// nothing stored for a client that is not there.
func (l *load) mosquitto(ctx context.Context, broker string, cfg ThingSpeakConfig) (rows []ThingSpeakRow, version string, err error) {
	dir := l.path("mosquitto")
	if err := os.MkdirAll(dir, 0o755); err != nil { // #nosec G301 -- the broker may give up being root
		return nil, "", fmt.Errorf("measure: %w", err)
	}
	address, err := FreeAddress()
	if err != nil {
		return nil, "", err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, "", err
	}
	passwords := filepath.Join(dir, "passwords")
	// #nosec G204 -- the broker's own tool with arguments made here
	if out, err := exec.CommandContext(ctx, "mosquitto_passwd", "-c", "-b", passwords, "bench", "bench").CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("%w: mosquitto_passwd: %w: %s", ErrNoMosquitto, err, out)
	}
	config := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous false\npassword_file %s\npersistence true\npersistence_location %s/\nuser root\n", port, passwords, dir)
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, "", fmt.Errorf("measure: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	run := exec.CommandContext(ctx, broker, "-c", file) // #nosec G204 -- as found in the path
	if err := run.Start(); err != nil {
		return nil, "", fmt.Errorf("measure: mosquitto: %w", err)
	}
	defer func() {
		cancel()
		_ = run.Wait()
	}()
	if help, _ := exec.CommandContext(ctx, broker, "-h").Output(); len(help) > 0 { // it ends with 3
		version, _, _ = strings.Cut(string(help), "\n")
	}
	err = until(ctx, "reach mosquitto", func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		return nil, version, err
	}
	for _, n := range cfg.Clients {
		for _, qos := range []byte{0, 1} {
			l.say("mosquitto, QoS %d, %d clients", qos, n)
			ids := make([]string, n)
			for i := range ids {
				ids[i] = "bench-" + strconv.Itoa(i)
			}
			row, err := exchange(ctx, ids, func(id string) (func() error, func(), error) {
				return overMQTT(address, id, "bench", "bench", "channels/"+id, "channels/"+id, qos)
			}, cfg.For, 1)
			if err != nil {
				return rows, version, fmt.Errorf("measure: mosquitto: %w", err)
			}
			row.System, row.Way = "mosquitto", fmt.Sprintf("MQTT QoS %d", qos)
			rows = append(rows, row)
		}
	}
	return rows, version, nil
}

// Print writes the report as a table.
func (r ThingSpeakReport) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "system\tway\tclients\tentries/s\tp50\tp99\tfailed\t429")
	for _, x := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%d\t%.0f\t%.1f ms\t%.1f ms\t%d\t%d\n", x.System, x.Way, x.Clients, x.PerSecond, x.P50, x.P99, x.Failed, x.Bounded)
	}
	fmt.Fprintf(t, "%s, %s, %.0f s a row. Each client waits for its answer; vitalseal has decided, audited and stored by then, %s has not.\n", r.Machine, r.Mosquitto, r.Seconds, "mosquitto")
	return t.Flush()
}
