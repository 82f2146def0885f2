package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// thingspeakClient is a third-party client of ThingSpeak's, in the version that its registry has.
const thingspeakClient = "thingspeakclient@0.4.0"

// clientScript drives it: argv is the server, then as JSON the channels and keys. It prints what came back, as JSON.
const clientScript = `
const Client = require('thingspeakclient');
const [server, given] = [process.argv[2], JSON.parse(process.argv[3])];
const c = new Client({server, useTimeoutMode: false});
const call = (name, ...args) => new Promise((ok, bad) => c[name](...args, (err, body) => err ? bad(err) : ok(body)));
(async () => {
  const out = {};
  await call('attachChannel', given.free, {writeKey: given.writeKey, readKey: given.readKey});
  await call('attachChannel', given.patient, {writeKey: given.writeKey2, readKey: given.patientKey});
  out.first = await call('updateChannel', given.free, {field1: 7, field2: 'open', status: 'fine'});
  out.second = await call('updateChannel', given.free, {field1: 8});
  out.feed = await call('getChannelFeeds', given.free, {results: 2});
  out.last = await call('getLastEntryInChannelFeed', given.free);
  out.field = await call('getFieldFeed', given.free, 1, {results: 2});
  out.lastField = await call('getLastEntryInFieldFeed', given.free, 2);
  out.statuses = await call('getStatusUpdates', given.free);
  out.public = await call('listPublicChannels');
  out.patient = await call('getChannelFeeds', given.patient, {results: 20});
  out.injected = await call('updateChannel', given.patient, {field1: 250});
  const stranger = new Client({server, useTimeoutMode: false});
  out.stranger = await new Promise(ok => stranger.getChannelFeeds(given.patient, (err, body) => ok(body)));
  console.log(JSON.stringify(out));
})().catch(err => { console.error(err); process.exit(1); });
`

// TestThingSpeakClient: an unmodified client writes and reads through connect, reads a patient, and cannot write one.
func TestThingSpeakClient(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed; it comes with Node.js, which the dashboard is built with")
	}
	dir := t.TempDir()
	install := exec.Command(npm, "install", "--prefix", dir, "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error", thingspeakClient)
	install.Env = append(os.Environ(), "npm_config_cache="+filepath.Join(dir, ".npm"))
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm install %s: %v\n%s", thingspeakClient, err, out)
	}
	script := filepath.Join(dir, "drive.js")
	if err := os.WriteFile(script, []byte(clientScript), 0o600); err != nil {
		t.Fatal(err)
	}

	d := startDemo(t)
	d.awaitNumber(t)
	w := d.ward(t)

	// The key of the nurse's account makes a channel of her own, as ThingSpeak's clients do.
	var account struct{ Key string }
	d.as(t, "nurse").post("/api/account/keys", map[string]any{"channel": 0}, &account)
	d.secrets.add("account key", account.Key)
	var made struct {
		ID   int64
		Keys []struct {
			Key   string `json:"api_key"`
			Write bool   `json:"write_flag"`
		} `json:"api_keys"`
	}
	ask(t, d.url()+"/channels.json", "name=Fridge&field1=temperature&field2=door&api_key="+account.Key, &made)
	if len(made.Keys) != 2 || !made.Keys[0].Write {
		t.Fatalf("%+v", made)
	}
	for _, k := range made.Keys {
		d.secrets.add("channel key", k.Key)
	}
	given, err := json.Marshal(map[string]any{"free": made.ID, "writeKey": made.Keys[0].Key, "readKey": made.Keys[1].Key,
		"patient": w.Patients[0].Channel, "patientKey": w.ReadKey, "writeKey2": w.ReadKey})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	run := exec.CommandContext(ctx, "node", script, d.url(), string(given))
	run.Dir = dir
	var stderr strings.Builder
	run.Stderr = &stderr
	out, err := run.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	type entry struct {
		ID                     int64 `json:"entry_id"`
		Field1, Field2, Status *string
	}
	type feed struct {
		Channel struct {
			ID     int64
			Field1 string
		}
		Feeds []entry
	}
	var got struct {
		First, Second, Injected        string
		Feed, Field, Statuses, Patient feed
		Last, LastField                entry
		Public                         struct{ Channels []any }
		Stranger                       int
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	is := func(s *string, want string) bool { return s != nil && *s == want }
	switch {
	case got.First != "1" || got.Second != "2":
		t.Errorf("updates: %q %q", got.First, got.Second)
	case got.Feed.Channel.ID != made.ID || len(got.Feed.Feeds) != 2 || !is(got.Feed.Feeds[0].Field2, "open") || !is(got.Feed.Feeds[1].Field1, "8"):
		t.Errorf("feed: %+v", got.Feed)
	case got.Last.ID != 2 || !is(got.Last.Field1, "8") || got.Last.Field2 != nil:
		t.Errorf("last: %+v", got.Last)
	case len(got.Field.Feeds) != 2 || got.LastField.ID != 1 || !is(got.LastField.Field2, "open"):
		t.Errorf("field: %+v %+v", got.Field, got.LastField)
	case len(got.Statuses.Feeds) != 1 || !is(got.Statuses.Feeds[0].Status, "fine"):
		t.Errorf("status: %+v", got.Statuses)
	case len(got.Public.Channels) != 0:
		t.Errorf("public channels that nobody made: %v", got.Public)
	case len(got.Patient.Feeds) == 0 || got.Patient.Channel.Field1 != "heart rate bpm":
		t.Errorf("patient: %+v", got.Patient)
	case got.Injected != "0":
		t.Errorf("writing a patient's channel: %q", got.Injected)
	case got.Stranger != -1:
		t.Errorf("reading without a key: %v", got.Stranger)
	}
	d.secrets.addFolder(t, d.dir)
	d.secrets.absentFrom(t, filepath.Join(d.dir, "logs"))
}

// ask posts a form and reads the answer.
func ask(t *testing.T, url, form string, out any) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatal(fmt.Errorf("%s", res.Status))
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}
