package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLegacyArduino: an Arduino that speaks ThingSpeak's library's HTTP, and mosquitto_pub, to a gateway of their own; their numbers are on the
// bed's page at the hub, marked, and the patient's ThingSpeak channel does not give them out.
func TestLegacyArduino(t *testing.T) {
	const name, gw = "arduino-1", "gw-legacy"
	pub, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Fatalf("%v: make deps installs it (Debian: mosquitto-clients)", err)
	}
	d := startDemo(t, "--patients", "1")
	d.awaitNumber(t)
	admin := d.as(t, "admin")
	admin.post("/api/admin/beds", map[string]string{"id": "a-9", "ward": "ward-a", "name": "Bed a-9"}, nil)
	var patient struct {
		ID      string
		Channel int64
	}
	admin.post("/api/admin/patients", map[string]string{"name": "Lena Moss", "bed": "a-9"}, &patient)
	var ticket json.RawMessage
	admin.post("/api/admin/gateways", map[string]any{"id": gw, "sensors": []map[string]string{{"id": name, "model": "legacy", "serial": "1", "bed": "a-9"}}}, &ticket)
	dir := t.TempDir()
	file, data, config := filepath.Join(dir, "ticket"), filepath.Join(dir, "gateway"), filepath.Join(dir, "gateway.yaml")
	web, mqtt := freeAddress(t), freeAddress(t)
	for path, text := range map[string]string{file: string(ticket), config: fmt.Sprintf(`data: %s
legacy: {listen_http: "%s", listen_mqtt: "%s"}
sensors:
  - {id: %s, chip: legacy, legacy: {channel: 1}}
`, data, web, mqtt, name)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := command(t, "enrol", "--ticket", file, "--data", data); r.code != 0 {
		t.Fatalf("enrol: %d\n%s", r.code, r.err)
	}
	made := command(t, "gateway", "legacy", "key", name, "--config", config)
	key := strings.TrimSpace(made.out)
	if made.code != 0 || len(key) != 16 {
		t.Fatalf("key: %d\n%s", made.code, made.err)
	}
	d.secrets.add("legacy device's key", key)
	logs := t.TempDir()
	start(t, logs, "gateway", "--config", config)

	// update writes what the library writes, byte by byte, and reads the answer.
	update := func(body string) (string, error) {
		c, err := net.Dial("tcp", web)
		if err != nil {
			return "", err
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /update HTTP/1.1\r\nHost: api.thingspeak.com\r\nUser-Agent: tslib-arduino/2.0.1 (ESP8266)\r\nX-THINGSPEAKAPIKEY: %s\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return string(b), err
	}
	type reading struct {
		Quality string
		Value   *float64
	}
	nurse := d.as(t, "nurse")
	shown := func(kind string, want float64) {
		t.Helper()
		await(t, fmt.Sprintf("%s %v on the bed's page", kind, want), func() error {
			d.alive(t)
			var page struct{ Numerics map[string]reading }
			nurse.get("/api/patients/"+patient.ID, &page)
			if r := page.Numerics[kind]; r.Value != nil && r.Quality != "asserted" {
				t.Fatalf("%s is shown as %s", kind, r.Quality)
			} else if r.Value != nil && *r.Value == want {
				return nil
			}
			// A device repeats itself: what is on the page is new.
			if strings.HasPrefix(kind, "heart") {
				if answer, err := update("field1=66&field2=93&headers=false"); err != nil || len(answer) == 0 {
					return fmt.Errorf("%q, %w", answer, err)
				}
			} else if out, err := exec.CommandContext(t.Context(), pub, append(strings.Fields("-q 1 -t channels/1/publish -m field2=91 -i "+name+" -u "+name), "-P", key,
				"-h", host(mqtt), "-p", port(mqtt))...).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return fmt.Errorf("%+v", page.Numerics[kind])
		})
	}
	shown("heart_rate_bpm", 66)
	shown("spo2_percent", 91)

	// The inventory says what it is; a verified number it is nowhere.
	var device struct{ Model string }
	admin.get("/api/admin/identities/sensor/"+name, &device)
	if device.Model != "legacy" {
		t.Errorf("the inventory says %q", device.Model)
	}
	var readKey struct{ Key string }
	d.as(t, "nurse").post("/api/account/keys", map[string]any{"channel": patient.Channel}, &readKey)
	d.secrets.add("channel key", readKey.Key)
	var feed struct {
		Feeds []struct{ Field1, Field2 *string }
	}
	res, err := http.Get(fmt.Sprintf("%s/channels/%d/feeds.json?results=20&api_key=%s", d.url(), patient.Channel, readKey.Key))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&feed); err != nil || len(feed.Feeds) == 0 {
		t.Errorf("the channel: %+v, %v", feed, err)
	}
	for _, e := range feed.Feeds {
		if e.Field1 != nil || e.Field2 != nil {
			t.Errorf("given out as a number: %v %v", e.Field1, e.Field2)
		}
	}
	if status := command(t, "gateway", "status", "--data", data); status.code != 0 || !strings.Contains(status.out, name) || !strings.Contains(status.out, "legacy") {
		t.Errorf("status: %d\n%s%s", status.code, status.out, status.err)
	}
	d.secrets.addFolder(t, d.dir)
	d.secrets.absentFrom(t, logs)
}

func host(address string) string { h, _, _ := net.SplitHostPort(address); return h }
func port(address string) string { _, p, _ := net.SplitHostPort(address); return p }
