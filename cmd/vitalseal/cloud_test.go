package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/workstation/client"
)

// TestCloud: a patient's channel goes sealed through an egress to a second, independent deployment in the cloud's place, over TLS; its
// keeper sees envelopes, and `thingspeak open` at the first one shows the values to users who may see the patient, and to no others.
func TestCloud(t *testing.T) {
	// The cloud: a deployment of its own, with an address for programs and a free channel.
	cloud := startDemo(t, "--patients", "1")
	cloud.awaitNumber(t)
	var ticket json.RawMessage
	enrol := func(d api, path, id string) (folder string) {
		t.Helper()
		d.post(path, map[string]string{"id": id}, &ticket)
		file, folder := filepath.Join(t.TempDir(), "ticket"), t.TempDir()
		if err := os.WriteFile(file, ticket, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := command(t, "enrol", "--ticket", file, "--data", folder); r.code != 0 {
			t.Fatalf("enrol: %d\n%s", r.code, r.err)
		}
		return folder
	}
	desk := enrol(cloud.as(t, "admin"), "/api/admin/workstations", "programs")
	web := freeAddress(t)
	start(t, t.TempDir(), "connect", "--data", desk, "--service", "thingspeak", "--http=", "--https", web, "--mqtt=", "--mqtts=")
	ca := filepath.Join(desk, "connect-ca.pem")
	var account struct{ Key string }
	cloud.as(t, "nurse").post("/api/account/keys", map[string]any{"channel": 0}, &account)
	cloud.secrets.add("account key", account.Key)
	var remote struct {
		ID   int64
		Keys []struct {
			Key   string `json:"api_key"`
			Write bool   `json:"write_flag"`
		} `json:"api_keys"`
	}
	ask(t, cloud.url()+"/channels.json", "name=Sealed&field1=envelope&api_key="+account.Key, &remote)
	keys := map[bool]string{}
	for _, k := range remote.Keys {
		keys[k.Write] = k.Key
		cloud.secrets.add("channel key", k.Key)
	}

	// The hospital: seeded, then its hub started with the cloud's certificate authority.
	seed := startDemo(t, "--patients", "2", "--for", "1s")
	seed.awaitEnd(t)
	if seed.err != nil {
		t.Fatalf("seeding: %v", seed.err)
	}
	in := func(elem ...string) string { return filepath.Join(append([]string{seed.dir}, elem...)...) }
	config, err := os.OpenFile(in("hub.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(config, "\ncloud:\n  ca_file: %s\n  interval: 1s\n", ca)
	}
	if err == nil {
		err = config.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	logs := t.TempDir()
	start(t, logs, "overlay", "--data", in("overlay"))
	start(t, logs, "hub", "--config", in("hub.yaml"))
	start(t, logs, "connect", "--data", in("connect"), "--listen", seed.listen, "--plain")
	start(t, logs, "gateway", "--config", in("gw-a1", "gateway.yaml"), "--bench", in("gw-a1", "bench.yaml"))
	c, err := client.New(seed.url())
	if err != nil {
		t.Fatal(err)
	}
	awaitHub(t, c)
	out := enrol(seed.as(t, "admin"), "/api/admin/egresses", "out-1")
	start(t, logs, "egress", "--data", out, "--allow", web)

	run := func(role, cloudKey string, args ...string) ran {
		t.Helper()
		who := seed.ward(t).signIn(t, role)
		cmd := exec.CommandContext(t.Context(), vitalseal(t), append(append([]string{"thingspeak"}, args...), "--url", seed.url(), "--login", who.Login)...)
		cmd.Env = append(os.Environ(), "VITALSEAL_PASSWORD="+who.Password, "VITALSEAL_CLOUD_KEY="+cloudKey)
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run() // how it ended is in the exit code
		return ran{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	}
	channel := fmt.Sprint(seed.ward(t).Patients[0].Channel)
	if r := run("doctor", keys[true], "forward", channel, "--server", "https://"+web, "--remote", fmt.Sprint(remote.ID)); r.code != 0 {
		t.Fatalf("forward: %d\n%s", r.code, r.err)
	}

	// What the cloud has.
	type entry struct{ Field1, Field2 *string }
	var feed struct{ Feeds []entry }
	await(t, "envelopes in the cloud", func() error {
		feed.Feeds = nil
		ask2(t, fmt.Sprintf("%s/channels/%d/feeds.json?api_key=%s", cloud.url(), remote.ID, keys[false]), &feed)
		if len(feed.Feeds) < 3 {
			return fmt.Errorf("%d of them", len(feed.Feeds))
		}
		return nil
	})
	for _, e := range feed.Feeds {
		if e.Field1 == nil || len(*e.Field1) < 200 || e.Field2 != nil || strings.Contains(*e.Field1, " ") {
			t.Errorf("the cloud sees %+v", e)
		}
	}
	// What the hub opens, for whom.
	for role, want := range map[string]bool{"doctor": true, "admin": false} {
		r := run(role, keys[false], "open", "--channel", channel, "--server", "https://"+web, "--remote", fmt.Sprint(remote.ID), "--ca", ca, "--json")
		if opened := r.code == 0 && strings.Contains(r.out, `"heart_rate_bpm"`); opened != want {
			t.Errorf("%s: opened %v, want %v (%d)\n%.300s\n%s", role, opened, want, r.code, r.out, r.err)
		}
	}
	for _, s := range feed.Feeds {
		if strings.Contains(*s.Field1, "heart") {
			t.Error("an envelope shows what it holds")
		}
	}
}
