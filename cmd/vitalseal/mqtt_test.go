package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMosquittoClients: Debian's mosquitto_pub and mosquitto_sub, unmodified, through a workstation's addresses for programs: plain,
// over TLS and in both versions of the protocol, and npm's client over HTTP; a patient's monitor can be listened to, never written.
func TestMosquittoClients(t *testing.T) {
	for _, name := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v: make deps installs it (Debian: mosquitto-clients)", err)
		}
	}
	d := startDemo(t)
	d.awaitNumber(t)
	w := d.ward(t)
	var ticket json.RawMessage
	d.as(t, "admin").post("/api/admin/workstations", map[string]string{"id": "programs"}, &ticket)
	file, desk := filepath.Join(t.TempDir(), "ticket"), t.TempDir()
	if err := os.WriteFile(file, ticket, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := command(t, "enrol", "--ticket", file, "--data", desk); r.code != 0 {
		t.Fatalf("enrol: %d\n%s", r.code, r.err)
	}
	web, plain, secure := freeAddress(t), freeAddress(t), freeAddress(t)
	start(t, t.TempDir(), "connect", "--data", desk, "--service", "thingspeak", "--http", web, "--https=", "--mqtt", plain, "--mqtts", secure)

	nurse := d.as(t, "nurse")
	var account struct{ Key string }
	nurse.post("/api/account/keys", map[string]any{"channel": 0}, &account)
	d.secrets.add("account key", account.Key)
	var made struct{ ID int64 }
	ask(t, "http://"+web+"/channels.json", "name=Fridge&field1=temperature&field2=door&api_key="+account.Key, &made)
	device := func(channels ...map[string]any) (args []string) {
		var got struct{ ID, Username, Password string }
		nurse.post("/api/account/mqtt", map[string]any{"channels": channels}, &got)
		d.secrets.add("mqtt password", got.Password)
		return []string{"-i", got.ID, "-u", got.Username, "-P", got.Password}
	}
	patient := w.Patients[0].Channel
	listener := device(map[string]any{"channel": made.ID, "subscribe": true}, map[string]any{"channel": patient, "subscribe": true})
	writer := device(map[string]any{"channel": made.ID, "publish": true})

	tcp := func(address string) []string {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		return []string{"-h", host, "-p", port}
	}
	over := append(tcp(secure), "--cafile", filepath.Join(desk, "connect-ca.pem"))
	topic := func(format string, args ...any) []string { return []string{"-t", fmt.Sprintf(format, args...)} }

	all := subscribe(t, tcp(plain), listener, topic("channels/%d/subscribe", made.ID), topic("channels/%d/subscribe/fields/field1", patient), []string{"-q", "1", "-v"})
	heart := all.await("channels/"+fmt.Sprint(patient)+"/subscribe/fields/field1 ", nil)
	if heart == "" {
		t.Error("no heart rate of the patient")
	}
	for i, how := range [][]string{tcp(plain), append(tcp(plain), "-V", "5"), over, append(over, "-V", "5")} {
		value := fmt.Sprint(20 + i)
		publish := func() {
			if out, err := mosquitto(t, "mosquitto_pub", how, writer, topic("channels/%d/publish", made.ID), []string{"-q", "1", "-m", "field1=" + value + "&status=fine"}); err != nil {
				t.Fatalf("%v: %v\n%s", how, err, out)
			}
		}
		line := all.await(fmt.Sprintf("channels/%d/subscribe ", made.ID), publish)
		if !strings.Contains(line, `"field1":"`+value+`"`) || !strings.Contains(line, `"status":"fine"`) {
			t.Errorf("%v: told %q", how, line)
		}
	}
	var last struct{ Field1 string }
	ask2(t, fmt.Sprintf("http://%s/channels/%d/feeds/last.json?api_key=%s", web, made.ID, account.Key), &last)
	if last.Field1 != "23" {
		t.Errorf("stored last: %+v", last)
	}
	if out, err := mosquitto(t, "mosquitto_pub", tcp(plain), writer, []string{"-V", "5", "-q", "1", "-m", "field1=250"}, topic("channels/%d/publish", patient)); err == nil && !strings.Contains(out, "Not authorized") && !strings.Contains(out, "135") {
		t.Errorf("a heart rate was taken: %s", out)
	}
	wrong := append([]string{}, writer...)
	wrong[5] = strings.Repeat("A", 32)
	if out, err := mosquitto(t, "mosquitto_pub", tcp(plain), wrong, topic("channels/%d/publish", made.ID), []string{"-m", "field1=1"}); err == nil {
		t.Errorf("a wrong password: %s", out)
	}
	t.Run("npm client", func(t *testing.T) { npmClient(t, "http://"+web, d, made.ID, account.Key) })
	if res, err := http.Get("http://" + web + "/api/session"); err != nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("the dashboard's interface at the programs' address: %v, %v", res, err)
	} else {
		_ = res.Body.Close()
	}
}

const shortScript = `
const Client = require('thingspeakclient');
const [server, id, writeKey, readKey] = [process.argv[2], Number(process.argv[3]), process.argv[4], process.argv[5]];
const c = new Client({server, useTimeoutMode: false});
const call = (name, ...args) => new Promise((ok, bad) => c[name](...args, (err, body) => err ? bad(err) : ok(body)));
(async () => {
  await call('attachChannel', id, {writeKey, readKey});
  const entry = await call('updateChannel', id, {field1: 31, status: 'by npm'});
  console.log(JSON.stringify({entry, last: await call('getLastEntryInChannelFeed', id)}));
})().catch(err => { console.error(err); process.exit(1); });
`

// npmClient has the client of npm write and read through a workstation's address for programs, without any of its files.
func npmClient(t *testing.T, server string, d *demo, channel int64, account string) {
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
	script := filepath.Join(dir, "short.js")
	if err := os.WriteFile(script, []byte(shortScript), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := map[bool]string{}
	for _, write := range []bool{true, false} {
		var k struct {
			Key string `json:"api_key"`
		}
		ask(t, fmt.Sprintf("%s/channels/%d/api_keys.json", server, channel), fmt.Sprintf("write_flag=%t&api_key=%s", write, account), &k)
		d.secrets.add("channel key", k.Key)
		keys[write] = k.Key
	}
	out, err := exec.Command("node", script, server, fmt.Sprint(channel), keys[true], keys[false]).CombinedOutput()
	var got struct {
		Entry string
		Last  struct{ Field1, Status string }
	}
	if err != nil || json.Unmarshal(out, &got) != nil || got.Entry == "" || got.Entry == "0" || got.Last.Field1 != "31" {
		t.Errorf("%v: %s", err, out)
	}
}

func mosquitto(t *testing.T, name string, args ...[]string) (string, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	var flat []string
	for _, a := range args {
		flat = append(flat, a...)
	}
	out, err := exec.CommandContext(ctx, name, flat...).CombinedOutput()
	return string(out), err
}

// lines are what a mosquitto_sub prints.
type lines struct {
	t    *testing.T
	what chan string
}

func subscribe(t *testing.T, args ...[]string) *lines {
	t.Helper()
	var flat []string
	for _, a := range args {
		flat = append(flat, a...)
	}
	cmd := exec.Command("mosquitto_sub", flat...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := &lines{t, make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			l.what <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	return l
}

// await does something and returns the next line that begins so.
func (l *lines) await(beginning string, do func()) string {
	l.t.Helper()
	if do != nil {
		do()
	}
	for end := time.After(patience); ; {
		select {
		case s := <-l.what:
			if strings.HasPrefix(s, beginning) {
				return s
			}
		case <-end:
			l.t.Fatalf("nothing that begins with %q", beginning)
		}
	}
}

// ask2 is a GET that answers with JSON.
func ask2(t *testing.T, url string, out any) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}
