package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/gateway/legacy"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/overlay"
)

const arduino = "gw-a-arduino-1"

func legacyConfig(w *ward, t *testing.T) gateway.Config {
	id := spiffe(overlay.KindSensor, arduino)
	config, err := json.Marshal(map[string]string{"loopback": id.String()})
	must(t, err)
	identity, err := overlay.IssueIdentity(w.authority, id, config, w.key.Recipient().Bytes(), overlay.MaxSVIDLifetime)
	must(t, err)
	must(t, identity.Save(overlay.IdentityPath(w.data, id)))
	c := w.config()
	c.Legacy = legacy.Config{ListenHTTP: freeAddress(t), ListenMQTT: freeAddress(t), UpdateEvery: 100 * time.Millisecond}
	c.Sensors = append(c.Sensors, gateway.Sensor{ID: arduino, Chip: legacy.Chip, Legacy: &legacy.Device{Channel: 7}})
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// post writes a request as ThingSpeak's Arduino library does: HTTP/1.1 with a length, line by line.
func post(t *testing.T, address, path, key, media, body string) (status int, answer, why string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	must(t, err)
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\n", path)
	fmt.Fprintf(c, "Host: api.thingspeak.com\r\nUser-Agent: tslib-arduino/2.0.0 (unknown)\r\n")
	if key != "" {
		fmt.Fprintf(c, "X-THINGSPEAKAPIKEY: %s\r\n", key)
	}
	fmt.Fprintf(c, "Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s", media, len(body), body)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	if res.ContentLength < 0 {
		t.Error("an answer that an Arduino cannot read: without a length")
	}
	return res.StatusCode, string(b), res.Header.Get("X-Vitalseal-Error")
}

const form = "application/x-www-form-urlencoded"

// TestLegacyDevice: an Arduino's numbers reach the hub's store sealed, once, as asserted ones; what is wrong does not, is counted, and
// disturbs no other sensor.
func TestLegacyDevice(t *testing.T) {
	w := newWard(t, bench.Profile{Seed: 3, Start: time.Now(), HeartRate: 81, SpO2: 95, Systolic: 128, Diastolic: 82, CuffFirst: time.Hour, CuffEvery: time.Hour})
	cfg := legacyConfig(w, t)
	key, err := gateway.MakeLegacyKey(cfg, arduino)
	must(t, err)
	network := overlay.NewLoopback(w.authority)
	hub, err := network.Endpoint(spiffe(overlay.KindHub, "hub"))
	must(t, err)
	w.serve(t, hub)
	buses, err := newBench(w.profile)
	must(t, err)
	stop := background(t, func(ctx context.Context) error {
		return gateway.Run(ctx, cfg, gateway.Deps{Buses: buses, Network: network, Log: quiet})
	})
	httpAt := cfg.Legacy.ListenHTTP
	eventually(t, "listening", func() bool {
		c, err := net.Dial("tcp", httpAt)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	// retried waits for the pace of one message in 100 ms, as a device would.
	retried := func(path, key, media, body string) (int, string, string) {
		for {
			status, answer, why := post(t, httpAt, path, key, media, body)
			if !strings.HasPrefix(why, "too many messages") {
				return status, answer, why
			}
			time.Sleep(20 * time.Millisecond)
		}
	}

	status, answer, why := retried("/update", key, form, "field1=72&field2=97.5&headers=false")
	if status != 200 || len(answer) < 10 {
		t.Fatalf("%d %q %q", status, answer, why)
	}
	stamp := time.Now().UTC().Add(time.Second).Truncate(time.Second)
	stamped := `{"api_key":"` + key + `","field1":73,"created_at":"` + stamp.Format(time.RFC3339) + `"}`
	if status, answer, why = retried("/update.json", "", "application/json", stamped); status != 200 || !strings.Contains(answer, `"field1":"73"`) {
		t.Errorf("JSON: %d %q %q", status, answer, why)
	}
	for _, c := range []struct {
		name, path, key, media, body string
		status                       int
		answer, why                  string
	}{
		{"replay", "/update.json", key, "application/json", stamped, 409, "error_conflict", "created_at"},
		{"text", "/update", key, form, "field1=high", 400, "0", "field1 is not a number"},
		{"NaN", "/update", key, form, "field1=NaN", 400, "0", "field1 is not a number"},
		{"range", "/update", key, form, "field2=970", 400, "0", "field2 is out of range; spo2_percent is 50 to 100"},
		{"unknown field", "/update", key, form, "field8=3", 400, "0", "field8 means nothing"},
		{"oversize", "/update", key, form, "status=" + strings.Repeat("x", 20000), 400, "0", "too large"},
		{"wrong key", "/update", "AAAAAAAAAAAAAAAA", form, "field1=72", 400, "0", "the key is not"},
		{"no key", "/update.json", "", form, "field1=72", 401, "error_auth_required", "the key is not"},
		{"another channel", "/channels/8/bulk_update.json", key, "application/json", `{"updates":[{"delta_t":0,"field1":70}]}`, 403, "error_forbidden", "channel"},
		{"elsewhere", "/channels/7/feeds.json", key, form, "", 404, "error_resource_not_found", "only /update"},
	} {
		status, answer, why := retried(c.path, c.key, c.media, c.body)
		if status != c.status || !strings.Contains(answer, c.answer) || !strings.Contains(why, c.why) {
			t.Errorf("%s: %d %q %q", c.name, status, answer, why)
		}
	}
	eventually(t, "a bulk update after it", func() bool { // its first message must be after the stamp
		body := `{"write_api_key":"` + key + `","updates":[{"delta_t":0,"field1":74},{"delta_t":1,"field1":75}]}`
		status, _, _ := post(t, httpAt, "/channels/7/bulk_update.json", "", "application/json", body)
		return status == 202
	})
	want := map[float64]int{72: 1, 73: 1, 74: 1, 75: 1}
	if path, err := exec.LookPath("mosquitto_pub"); err != nil {
		t.Log("without mosquitto_pub MQTT is not tried")
	} else {
		host, port, _ := net.SplitHostPort(cfg.Legacy.ListenMQTT)
		pub := func(pass, topic, text string) error {
			return exec.CommandContext(t.Context(), path, "-h", host, "-p", port, "-i", arduino, "-u", arduino, "-P", pass, "-q", "1", "-t", topic, "-m", text).Run()
		}
		eventually(t, "published", func() bool { return pub(key, "channels/7/publish", "field1=76&status=ok") == nil })
		eventually(t, "published bare", func() bool { return pub(key, "channels/7/publish/fields/field1", "77") == nil })
		want[76], want[77] = 1, 1
		if pub("AAAAAAAAAAAAAAAA", "channels/7/publish", "field1=78") == nil {
			t.Error("published with a wrong key")
		}
	}
	values := func() map[float64]int {
		got := map[float64]int{}
		for _, c := range w.store.arrivals(arduino, vitals.Numerics) {
			for _, b := range c.Bundles {
				for _, n := range b.Numerics {
					if n.Quality.HasValue() && n.Quality != vitals.Asserted {
						t.Errorf("%v: more than asserted", n)
					}
					if n.Kind == vitals.HeartRate && n.Quality.HasValue() {
						got[n.Value]++
					}
				}
			}
		}
		return got
	}
	eventually(t, "all of it at the hub", func() bool { return len(values()) >= len(want) })
	eventually(t, "other sensors", func() bool { return len(w.store.arrivals(oximeter, vitals.Numerics)) > 0 })
	stop()
	for v, n := range values() {
		if n != want[v] {
			t.Errorf("%v is there %d times, want %d", v, n, want[v])
		}
	}
	st, err := readStatus(w.data)
	must(t, err)
	c := st.Legacy.Devices[arduino]
	if c.Accepted != uint64(len(want)) || c.BadValue != 4 || c.TooLarge != 1 || c.Replayed < 1 || c.NotAllowed != 1 || st.Legacy.Strangers.BadKey < 2 {
		t.Errorf("counted %+v, strangers %+v", c, st.Legacy.Strangers)
	}
	var told bool
	for _, chunk := range w.store.arrivals(arduino, vitals.Events) {
		for _, e := range chunk.Events {
			told = told || e.Code == "legacy_refused" && strings.Contains(e.Detail, "bad_value 4")
		}
	}
	if !told {
		t.Error("the hub does not know what was refused")
	}
	w.account(t)
}

func TestLegacyConfig(t *testing.T) {
	w := &ward{data: t.TempDir()}
	for name, c := range map[string]struct {
		change func(*gateway.Config)
		want   string
	}{
		"every address":  {func(c *gateway.Config) { c.Legacy.ListenHTTP = "0.0.0.0:80" }, "legacy.listen_http"},
		"public address": {func(c *gateway.Config) { c.Legacy.ListenMQTT = "8.8.8.8:1883" }, "legacy.listen_mqtt"},
		"a name":         {func(c *gateway.Config) { c.Legacy.ListenHTTP = "gateway:80" }, "legacy.listen_http"},
		"nowhere":        {func(c *gateway.Config) { c.Legacy = legacy.Config{} }, "nowhere to send"},
		"nobody":         {func(c *gateway.Config) { c.Sensors = c.Sensors[:1] }, "no device could send"},
		"no channel":     {func(c *gateway.Config) { c.Sensors[1].Legacy = nil }, "sensors[1].legacy.channel"},
		"bus":            {func(c *gateway.Config) { c.Sensors[1].Bus = "/dev/i2c-1" }, "sensors[1].chip"},
		"a chip's":       {func(c *gateway.Config) { c.Sensors[0].Legacy = &legacy.Device{Channel: 1} }, "sensors[0].legacy"},
		"pace":           {func(c *gateway.Config) { c.Legacy.UpdateEvery = time.Millisecond }, "update_every"},
		"age":            {func(c *gateway.Config) { c.Legacy.MaxAge = 1000 * time.Hour }, "max_age"},
		"field": {func(c *gateway.Config) { c.Sensors[1].Legacy.Fields = map[string]string{"field9": "spo2_percent"} },
			"field9"},
		"kind": {func(c *gateway.Config) { c.Sensors[1].Legacy.Fields = map[string]string{"field1": "news2"} }, "news2"},
		"twice": {func(c *gateway.Config) {
			c.Sensors[1].Legacy.Fields = map[string]string{"field1": "spo2_percent", "field2": "spo2_percent"}
		}, "are both"},
		"fine": {func(c *gateway.Config) { c.Sensors[1].Legacy.Fields = map[string]string{"field3": "spo2_percent"} }, ""},
	} {
		cfg := gateway.Default()
		cfg.Data, cfg.Legacy = w.data, legacy.Config{ListenHTTP: "127.0.0.1:8080"}
		cfg.Sensors = []gateway.Sensor{{ID: "oxi", Chip: gateway.ChipMAX30100, Bus: "x"}, {ID: "ard", Chip: legacy.Chip, Legacy: &legacy.Device{Channel: 1}}}
		c.change(&cfg)
		err := cfg.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestLegacyClockAtAPatientChange: the device's own clock is slow, then right beside a gateway whose clock is wrong. What it says of the
// patient who is here is never on the chart of the one who left, nor is it moved by what the gateway's clock is off. (Seen: both.)
func TestLegacyClockAtAPatientChange(t *testing.T) {
	for _, c := range []struct {
		name            string
		device, gateway time.Duration // how far each clock is ahead of the hub's
	}{
		{"the device is 45 s behind", -45 * time.Second, 0},
		{"the gateway is 60 s ahead", 0, time.Minute},
		{"the gateway is 60 s behind", 0, -time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			now := func() time.Time { return time.Now().Add(-c.gateway) } // of the hub
			w := newWardAt(t, bench.Profile{Seed: 3, Start: time.Now()}, now)
			ctx, began := t.Context(), now()
			must(t, w.store.CreateWard(ctx, directory.Ward{ID: "a", Name: "Ward A"}))
			must(t, w.store.CreateBed(ctx, directory.Bed{ID: "a-1", Ward: "a", Name: "Bed"}))
			left, err := w.store.CreatePatient(ctx, "Otto Old")
			must(t, err)
			here, err := w.store.CreatePatient(ctx, "Nora New")
			must(t, err)
			id := spiffe(overlay.KindSensor, arduino).String()
			must(t, w.store.CreateDevice(ctx, directory.Device{ID: id, Kind: overlay.KindSensor, State: directory.DeviceActive}))
			must(t, w.store.PlaceDevice(ctx, id, "a-1", began.Add(-5*time.Hour)))
			must(t, w.store.Admit(ctx, left, "a-1", began.Add(-4*time.Hour)))
			must(t, w.store.Discharge(ctx, left, began.Add(-20*time.Second)))
			must(t, w.store.Admit(ctx, here, "a-1", began.Add(-10*time.Second)))

			cfg := legacyConfig(w, t)
			cfg.Sensors = cfg.Sensors[len(cfg.Sensors)-1:]
			key, err := gateway.MakeLegacyKey(cfg, arduino)
			must(t, err)
			network := overlay.NewLoopback(w.authority)
			hub, err := network.Endpoint(spiffe(overlay.KindHub, "hub"))
			must(t, err)
			w.serve(t, hub)
			buses, err := newBench(w.profile)
			must(t, err)
			stop := background(t, func(ctx context.Context) error {
				return gateway.Run(ctx, cfg, gateway.Deps{Buses: buses, Network: network, Log: quiet})
			})
			eventually(t, "the gateway knows how far its clock is off", func() bool {
				st, err := readStatus(w.data)
				return err == nil && st.Clock.AheadSeconds != nil && (*st.Clock.AheadSeconds-c.gateway.Seconds()) < 1
			})
			const n = 4 // each of another second
			for i := range n {
				eventually(t, "message "+fmt.Sprint(i), func() bool {
					at := now().Add(c.device).UTC().Truncate(time.Second).Format(time.RFC3339)
					status, _, why := post(t, cfg.Legacy.ListenHTTP, "/update", key, form, fmt.Sprintf("field1=%d&created_at=%s", 150+i, at))
					if status != 200 && !strings.Contains(why, "is not after the newest") {
						t.Fatalf("%d %s", status, why)
					}
					return status == 200 && (why == "" || strings.Contains(why, "late, message after message"))
				})
			}
			numbers := func(patient string) (got []float64) {
				all, err := w.store.Numerics(ctx, w.grant, patient, began.Add(-6*time.Hour), began.Add(6*time.Hour), 0)
				must(t, err)
				for _, b := range all {
					for _, x := range b.Numerics {
						if x.Kind == vitals.HeartRate {
							got = append(got, x.Value)
						}
					}
				}
				return got
			}
			waits := c.device != 0 // then the hub cannot know of whom they are
			eventually(t, "all that was sent is there", func() bool {
				if waits {
					got, err := w.store.Waiting(ctx, id)
					must(t, err)
					return got.Chunks == n
				}
				return len(numbers(here)) == n
			})
			stop()
			if got := numbers(left); len(got) != 0 {
				t.Errorf("on the chart of the patient who left: %v", got)
			}
			if got := len(numbers(here)); waits && got != 0 {
				t.Errorf("%d on a chart, although nothing says of whom they are", got)
			}
		})
	}
}

// TestLegacyKeyOfAChip: only a legacy device of the configuration gets a key.
func TestLegacyKeyOfAChip(t *testing.T) {
	cfg := gateway.Config{Data: t.TempDir(), Sensors: []gateway.Sensor{{ID: "ard", Chip: legacy.Chip}, {ID: "oxi", Chip: gateway.ChipMAX30100}}}
	for _, name := range []string{"oxi", "other"} {
		if _, err := gateway.MakeLegacyKey(cfg, name); !errors.Is(err, gateway.ErrNotLegacy) {
			t.Errorf("a key for %s: %v", name, err)
		}
	}
	if key, err := gateway.MakeLegacyKey(cfg, "ard"); err != nil || key == "" {
		t.Errorf("no key for a legacy device: %v", err)
	}
}
