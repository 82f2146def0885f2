package faces

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/load"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/gateway/legacy"
	"vitalseal/internal/shared/process"
)

// Legacy are the attacks on a gateway's local address for legacy devices.
func Legacy() []attack.Attack {
	return []attack.Attack{
		{ID: "legacy-guess", Threat: "speak as another user's device", Position: "an attacker on the devices' network", Does: "60 keys at a gateway's local address",
			Expected: "0, each, as ThingSpeak does; after ten none is even compared for a minute, the right one included", Right: attack.Reads("0"), Control: weaken.OwnKeys, Run: guessLegacy},
		{ID: "legacy-junk", Threat: "impossible values at a bed", Position: "a legacy device with its key", Does: "no numbers, infinities, values that no body has, a field that means nothing, 4 KiB of field",
			Expected: "400, each, with the reason", Right: attack.Answers(http.StatusBadRequest), Control: weaken.Plausible, Run: legacyJunk},
		{ID: "legacy-flood", Threat: "keep the devices out", Position: "an attacker on the devices' network", Does: "60 connections to a gateway's local address at once, each with a request",
			Expected: "16 at most; a bed's numbers keep moving", Right: attack.Reads("16 of 60 served"), Control: weaken.ClientBound, Run: legacyFlood},
		{ID: "legacy-addresses", Threat: "keep the devices out", Position: "an attacker on the devices' network, with many addresses", Does: "170 connections from 11 addresses that say nothing, then a device's message on a new connection",
			Expected: "the oldest of the 170 go; the message is taken", Right: attack.Reads("the device's message was taken"), Control: weaken.LegacyPushOut, Run: legacyAddresses},
		{ID: "legacy-over-measured", Threat: "show a lie in the place of a measured number", Position: "a legacy device with its key, at a bed with an oximeter",
			Does: "it says SpO2 99 a hundred times, each time after the oximeter's 81, in time, and ahead of it by 4 s", Expected: "81 stands, with the oximeter's name", Right: attack.Reads("81 of the oximeter stands"), Control: weaken.OneSource, Fast: true,
			Run: overMeasured},
		{ID: "legacy-poison", Threat: "silence a device", Position: "a legacy device, or a fault in its sketch", Does: "one MQTT 3.1.1 message of QoS 1 whose value is no number, sent first on each connection until it is acknowledged, and a good one behind it",
			Expected: "acknowledged, dropped and counted; the good one stands at the bed", Right: attack.Reads("dropped and counted, the next one shown"), Control: weaken.PoisonDrop, Run: legacyPoison},
		{ID: "legacy-unmarked", Threat: "show a number that nothing has measured as a measured one", Position: "a legacy device with its key, alone at a bed", Does: "it says heart rate 73 and SpO2 97",
			Expected: "each is asserted and unverified in the dashboard's answer", Right: attack.Reads("asserted and unverified, both"), Control: weaken.AssertedMark, Run: legacyUnmarked},
		{ID: "legacy-third-field", Threat: "show a body temperature as a blood pressure", Position: "an unchanged sketch that sends its temperature as field3", Does: "field1=73, field2=97, field3=98.6, and nothing in the configuration says what field3 is",
			Expected: "field3 is left out, by name; the bed has no blood pressure", Right: attack.Reads("field3 left out, no pressure"), Control: weaken.FieldNames, Run: legacyThirdField},
	}
}

// overMeasured asks the chooser that every face asks what is shown.
func overMeasured(context.Context, *attack.Target) (attack.Result, error) {
	const oximeter, device = "spiffe://attack/sensor/oxi-1", "spiffe://attack/sensor/a-first-by-name"
	now := time.Now()
	say := func(who string, at time.Time, v float64, q vitals.Quality) vitals.Said {
		return vitals.Said{Sensor: who, Bundle: vitals.Bundle{At: at, Numerics: []vitals.Numeric{vitals.Checked(vitals.SpO2, v, q)}}}
	}
	var c vitals.Chooser
	shown := 0
	for i := range 100 {
		at := now.Add(time.Duration(i) * time.Second)
		c.Hear(say(oximeter, at, 81, vitals.Good))
		c.Hear(say(device, at.Add(time.Duration(i%5)*time.Second), 99, vitals.Asserted))
		if r, ok := c.Reading(vitals.SpO2, at); !ok || r.Value != 81 || r.Sensor != oximeter {
			shown++
		}
	}
	return attack.Judge(shown > 0, attack.Word("81 of the oximeter stands"), "the lie is shown", "not shown", "99 shown %d times of 100", shown)
}

// legacyGateway is a gateway of its own with one legacy device, as a process; each attack starts
// one, because the address of who guesses is remembered.
type legacyGateway struct {
	address, mqtt, key string
	data, sensor       string
}

func newLegacyGateway(ctx context.Context, t *attack.Target) (legacyGateway, error) {
	return legacyGatewayAt(ctx, t, "")
}

// legacyGatewayAt is one whose device is at a bed; empty: at none.
func legacyGatewayAt(ctx context.Context, t *attack.Target, bed string) (g legacyGateway, err error) {
	admin, err := t.Admin(ctx)
	if err != nil {
		return g, err
	}
	name := t.Name("arduino-")
	var ticket json.RawMessage
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/gateways", map[string]any{"id": t.Name("gw-legacy-"), "sensors": []map[string]string{{"id": name, "model": "legacy", "serial": name, "bed": bed}}}, &ticket); err != nil {
		return g, err
	}
	dir, err := os.MkdirTemp(t.Dir, "legacy-")
	if err != nil {
		return g, err
	}
	for _, address := range []*string{&g.address, &g.mqtt} {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return g, err
		}
		*address = ln.Addr().String()
		if err := ln.Close(); err != nil {
			return g, err
		}
	}
	g.data, g.sensor = filepath.Join(dir, "data"), name
	file, config := filepath.Join(dir, "ticket"), filepath.Join(dir, "gateway.yaml")
	for path, text := range map[string]string{file: string(ticket), config: fmt.Sprintf("data: %s\nlegacy: {listen_http: %q, listen_mqtt: %q}\nsensors:\n  - {id: %s, chip: legacy, legacy: {channel: 1}}\n", g.data, g.address, g.mqtt, name)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return g, err
		}
	}
	super, err := process.New(t.Exe(), filepath.Join(dir, "logs"))
	if err != nil {
		return g, err
	}
	t.AtEnd(func() error { return super.StopAll(10 * time.Second) })
	if err := super.Run(ctx, "enrol", "--ticket", file, "--data", g.data); err != nil {
		return g, err
	}
	cfg := gateway.Default()
	cfg.Data = g.data
	cfg.Sensors = []gateway.Sensor{{ID: name, Chip: legacy.Chip}}
	if g.key, err = gateway.MakeLegacyKey(cfg, name); err != nil {
		return g, err
	}
	if _, err := super.Start(ctx, "gateway", "gateway", "--config", config); err != nil {
		return g, err
	}
	err = attack.Await(ctx, func() error {
		a, err := g.update(ctx, g.key, url.Values{"field1": {"72"}})
		if err == nil && !taken(a) {
			err = fmt.Errorf("an honest device is refused: %s", a)
		}
		return err
	})
	return g, err
}

// legacyPace is how long a device waits between two messages: a refusal for haste would prove
// nothing.
const legacyPace = 1100 * time.Millisecond

// taken reports whether a device's message became an entry: the answer is the entry's id, else "0".
func taken(a attack.Answer) bool { return a.Status == http.StatusOK && string(a.Body) != "0" }

// update is the answer to a device's message.
func (g legacyGateway) update(ctx context.Context, key string, form url.Values) (attack.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.address+"/update", strings.NewReader(form.Encode()))
	if err != nil {
		return attack.Answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("THINGSPEAKAPIKEY", key)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return attack.Answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<12))
	return attack.Answer{Status: res.StatusCode, Header: res.Header, Body: b}, err
}

func guessLegacy(ctx context.Context, t *attack.Target) (attack.Result, error) {
	g, err := newLegacyGateway(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	time.Sleep(legacyPace)
	var seen []attack.Seen
	for i := range 60 {
		a, err := g.update(ctx, randomKey(), url.Values{"field1": {"30"}})
		if err != nil {
			return attack.Result{}, err
		}
		if taken(a) {
			return attack.Through("taken", "with guess %d", i+1)
		}
		seen = append(seen, attack.Word("%s", a.Body)...)
	}
	a, err := g.update(ctx, g.key, url.Values{"field1": {"72"}})
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(taken(a), append(seen, attack.Word("%s", a.Body)...), "the right key was compared after all of them", "none was taken; the address has to wait", "60 guesses")
}

func legacyJunk(ctx context.Context, t *attack.Target) (attack.Result, error) {
	g, err := newLegacyGateway(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	junk := []url.Values{{"field1": {"NaN"}}, {"field1": {"+Inf"}}, {"field1": {"1e9"}}, {"field1": {"-72"}}, {"field1": {"seventy"}}, {"field2": {"180"}}, {"field8": {"3"}},
		{"field1": {strings.Repeat("7", 4096)}}}
	accepted := []string{}
	var seen []attack.Seen
	for _, form := range junk {
		time.Sleep(legacyPace)
		a, err := g.update(ctx, g.key, form)
		if err != nil {
			return attack.Result{}, err
		}
		seen = append(seen, attack.Status(a)...)
		if taken(a) {
			accepted = append(accepted, form.Encode()[:min(12, len(form.Encode()))])
		}
	}
	return attack.Judge(len(accepted) > 0, seen, "taken", "none was taken", "%d of %d were taken: %s", len(accepted), len(junk), strings.Join(accepted, ", "))
}

func legacyFlood(ctx context.Context, t *attack.Target) (attack.Result, error) {
	g, err := newLegacyGateway(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	open := 0
	err = load.Meanwhile(ctx, t, func(during func() error) error {
		var end func()
		var err error
		open, end, err = load.Crowd(ctx, 60, 16, func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", g.address) },
			"GET /update HTTP/1.1\r\nHost: x\r\n\r\n")
		defer end()
		if err != nil {
			return err
		}
		return during()
	})
	return load.Flooded(err, open > 16, attack.Word("%d of 60 served", open), "as many as wanted to", "bounded", "%d of 60 were served", open)
}

// legacyAddresses holds all places of a gateway's local address, from many addresses, before a
// device connects anew.
func legacyAddresses(ctx context.Context, t *attack.Target) (attack.Result, error) {
	g, err := newLegacyGateway(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	for i := range 170 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 7, byte(1+i%11))}}
		c, err := d.DialContext(ctx, "tcp", g.address)
		if err != nil {
			return attack.Result{}, err
		}
		defer func() { _ = c.Close() }()
	}
	time.Sleep(legacyPace)
	a, err := g.update(ctx, g.key, url.Values{"field1": {"74"}})
	return attack.Judge(err != nil || !taken(a), attack.Word("the device's message was taken"), "the device is kept out", "the device is let in", "%s %v", a, err)
}
