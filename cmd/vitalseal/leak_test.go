package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	bin "encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
	"vitalseal/internal/workstation/client"
)

// needle is something that must stand in no file but, where it has one, its own.
type needle struct {
	what string
	is   []byte
	home string // pattern of the files below the data folder that are there to hold it
	only string // pattern of the files that are looked into; empty: all
}

// leak is a needle that was found.
type leak struct{ file, what, where string }

// leaks looks through every file below roots, and for what looks like a token where none has any business.
func leaks(t *testing.T, needles []needle, roots ...string) (found []leak) {
	t.Helper()
	files := 0
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a running part has replaced or used it up
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			files++
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			for _, n := range needles {
				if n.home != "" && matches(t, n.home, rel) || n.only != "" && !matches(t, n.only, rel) {
					continue
				}
				if i := bytes.Index(b, n.is); i >= 0 {
					found = append(found, leak{rel, n.what, line(b, i)})
				}
			}
			// OpenZiti's one-time tokens are JWTs too: the tickets hold them until they are used, the controller knows them.
			if !matches(t, `^overlay/|^[^/]*/ticket\.json$|\.ticket$`, rel) {
				if at := jwt.FindIndex(b); at != nil {
					found = append(found, leak{rel, "a JWT", line(b, at[0])})
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 10 {
		t.Fatalf("only %d files in %v", files, roots)
	}
	return found
}

var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}`)

func matches(t *testing.T, pattern, s string) bool {
	t.Helper()
	ok, err := regexp.MatchString(pattern, filepath.ToSlash(s))
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// line is the text around b[i], for people.
func line(b []byte, i int) string {
	return fmt.Sprintf("%.200q", b[max(bytes.LastIndexByte(b[:i], '\n')+1, i-100):])
}

// TestNothingLeaks runs a ward with every process as talkative as it can be, uses it and abuses it, and looks for readings
// in clear, names, passwords, tokens and keys in everything that was written: all logs, the audit log, and the files of
// every data folder, the sealed database included.
func TestNothingLeaks(t *testing.T) {
	seed := startDemo(t, "--patients", "2", "--for", "1s")
	seed.awaitEnd(t)
	if seed.err != nil {
		t.Fatalf("seeding: %v", seed.err)
	}
	dir, logs, w := seed.dir, t.TempDir(), seed.ward(t)
	in := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	var needles []needle
	add := func(what string, is string, home string) {
		t.Helper()
		if len(is) < 8 {
			t.Fatalf("%s is too short to look for", what)
		}
		needles = append(needles, needle{what: what, is: []byte(is), home: home})
	}
	key := func(what string, is []byte, home string) {
		add(what, string(is), home)
		add(what+" in hexadecimal", hex.EncodeToString(is), home)
		add(what+" in base64", base64.RawStdEncoding.EncodeToString(is), home)
		add(what+" in base64url", base64.RawURLEncoding.EncodeToString(is), home)
	}

	overlay := start(t, logs, "overlay", "--data", in("overlay"))
	hub := start(t, logs, "hub", "--config", in("hub.yaml"))
	connect := start(t, logs, "connect", "--data", in("connect"), "--listen", seed.listen) // TLS and launch secret
	gateway := start(t, logs, "gateway", "--config", in("gw-a1", "gateway.yaml"), "--bench", in("gw-a1", "bench.yaml"))

	dial := func() *client.Client {
		t.Helper()
		c, err := client.FromFile(in("connect", "connect.json"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	door, err := client.ReadConnectFile(in("connect", "connect.json"))
	if err != nil {
		t.Fatal(err)
	}
	add("the launch secret", door.Secret, `^connect/connect\.json$`)
	awaitHub(t, dial())

	// Use. Both kinds of tokens are asked for, so that there is something to look for.
	ctx := context.Background()
	for _, s := range append(w.SignIns, w.Admin) {
		add("password of "+s.Login, s.Password, `^(demo\.json|hub/first-admin\.json)$`)
		var tokens struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		c := dial()
		if err := c.Do(ctx, http.MethodPost, "/api/session", map[string]any{"login": s.Login, "password": s.Password, "tokens": true}, &tokens); err != nil {
			t.Fatalf("%s: %v", s.Login, err)
		}
		add("access token of "+s.Login, tokens.Access, "")
		add("refresh token of "+s.Login, tokens.Refresh, "")
		add("signature of the access token of "+s.Login, tokens.Access[strings.LastIndexByte(tokens.Access, '.')+1:], "")
	}
	patient := w.Patients[0].ID
	doctor := dial()
	if err := doctor.SignIn(ctx, w.signIn(t, "doctor").Login, w.signIn(t, "doctor").Password); err != nil {
		t.Fatal(err)
	}
	for _, c := range doctor.Cookies()["Cookie"] {
		_, token, _ := strings.Cut(c, "=")
		add("a session's cookie", token, "")
	}
	var wave []struct {
		Pulse []uint16 `json:"pulse"`
	}
	await(t, "a wave and a number", func() error {
		var raw json.RawMessage
		path := fmt.Sprintf("/api/patients/%s/waveform?seconds=8", patient)
		if err := doctor.Do(ctx, http.MethodGet, path, nil, &raw); err != nil {
			return err
		}
		wave = nil
		return decodeWave(raw, &wave)
	})
	needles = append(needles, samples(wave[0].Pulse)...)
	for _, path := range []string{"/api/beds", "/api/patients/" + patient, "/api/patients/" + patient + "/trends"} {
		_ = doctor.Do(ctx, http.MethodGet, path, nil, nil) // whatever it answers
	}

	for what, secret := range ownSecrets(t, dial, w) {
		add(what, secret, "")
	}

	// Abuse: secrets in the wrong places.
	const typo = "my-Secret-passw0rd-typed-as-a-login"
	add("a password that was typed in the wrong field", strings.ToLower(typo), "")
	add("a password that was typed in the wrong field, as typed", typo, "")
	wrong := "an-entirely-wrong-passw0rd"
	add("a wrong password", wrong, "")
	forged := "eyJhbGciOiJub25lIn0.eyJzdWIiOiJmb3JnZWQtc3ViamVjdCJ9.Zm9yZ2Vk"
	add("a forged token", forged, "")
	badKey := "ZZZZFORGEDKEY123"
	add("a wrong API key", badKey, "")
	for range 3 {
		_ = dial().SignIn(ctx, typo, wrong)
		_ = dial().SignIn(ctx, "doctor", wrong)
		_ = dial().Do(ctx, http.MethodGet, fmt.Sprintf("/channels/%d/feeds.json?api_key=%s", w.Patients[0].Channel, badKey), nil, nil)
		_ = dial().Do(ctx, http.MethodGet, fmt.Sprintf("/channels/%d/feeds.json?api_key=%s&results=3", w.Patients[0].Channel, w.ReadKey), nil, nil)
		_ = dial().Do(ctx, http.MethodGet, "/update?api_key="+badKey+"&field1=97.3", nil, nil)
		_ = dial().Do(ctx, http.MethodGet, "/api/patients/"+patient+"?token="+forged, nil, nil)
		_ = doctor.Do(ctx, http.MethodGet, "/api/admin/persons", nil, nil) // refused
	}
	bearer, err := http.NewRequestWithContext(ctx, http.MethodGet, doctor.Base().String()+"/api/beds", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer.Header = dial().Cookies()
	bearer.Header.Set("Authorization", "Bearer "+forged)
	bearer.Header.Add("Cookie", "vitalseal_session="+forged)
	if res, err := doctor.HTTP().Do(bearer); err == nil {
		_ = res.Body.Close()
	}
	if err := doctor.SignOut(ctx); err != nil {
		t.Error(err)
	}
	for _, p := range []*part{gateway, connect, hub, overlay} {
		p.stop()
	}

	// What lies at rest, and where it may.
	for _, name := range []string{"Ada Brandt", "Bela Novak", "Brandt", "Novak"} {
		needles = append(needles, needle{what: "a patient's name", is: []byte(name)})
	}
	add("ThingSpeak key", w.ReadKey, `^demo\.json$`)
	for _, f := range []string{"gw-a1/ticket.json", "gw-b1/ticket.json", "hub/first-workstation.ticket"} {
		var ticket struct{ Secret string }
		readInto(t, in(f), &ticket)
		add("secret of "+f, ticket.Secret, "^"+regexp.QuoteMeta(f)+"$")
	}
	identities, err := filepath.Glob(in("*", "*.identity.json"))
	if err != nil || len(identities) < 5 {
		t.Fatal(identities, err)
	}
	for _, f := range identities {
		var identity struct {
			Key []byte `json:"key_pkcs8"`
		}
		readInto(t, f, &identity)
		rel, err := filepath.Rel(dir, f)
		if err != nil {
			t.Fatal(err)
		}
		key("private key of "+rel, identity.Key, "^"+regexp.QuoteMeta(rel)+"$")
	}
	for _, f := range []string{"hub/root.key", "hub/audit.key", "overlay/admin.password", "connect/connect-ca.key.pem"} {
		b, err := os.ReadFile(in(f))
		if err != nil {
			t.Fatal(err)
		}
		secret := bytes.TrimSpace(b)
		if _, rest, ok := bytes.Cut(secret, []byte("PRIVATE KEY-----\n")); ok {
			secret = rest[:60] // of a PEM file, a line
		} else if i := bytes.IndexByte(secret, '\n'); i > 0 {
			secret = secret[:i] // of the audit key, the private line
		}
		key(f, secret, "^"+regexp.QuoteMeta(f)+"$")
	}
	for name, secret := range hubSecrets(t, in("hub")) {
		key("the hub's "+name, secret, "")
	}
	for kind := vitals.Kind(1); kind.Valid(); kind++ {
		// No log has a reading, so it has no need of the word either.
		needles = append(needles, needle{what: "a reading's name", is: []byte(kind.String()), only: `(\.log|\.jsonl|status\.json)$`})
	}

	t.Logf("%d things to look for", len(needles))
	for _, l := range leaks(t, needles, dir, logs) {
		t.Errorf("%s holds %s: %s", l.file, l.what, l.where)
	}

	// It can fail: each kind, planted where it could come to stand.
	for _, n := range needles {
		if !strings.HasPrefix(n.what, "access token") && !strings.HasPrefix(n.what, "samples") && n.what != "ThingSpeak key" && n.what != "a patient's name" {
			continue
		}
		for _, file := range []string{filepath.Join(logs, "hub.log"), in("hub", "audit", "0000000000000000000.jsonl"), in("gw-a1", "outbox", "x")} {
			old, err := os.ReadFile(file)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			planted := append(append(append([]byte{}, old...), `level=DEBUG msg="it is `...), n.is...)
			if err := os.WriteFile(file, planted, 0o600); err != nil {
				t.Fatal(err)
			}
			if len(leaks(t, []needle{n}, dir, logs)) == 0 {
				t.Errorf("%s, planted in %s, was not found", n.what, file)
			}
			if err := os.WriteFile(file, old, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// ownSecrets has a nurse make every secret that a person can make for herself, and use what can be used.
func ownSecrets(t *testing.T, dial func() *client.Client, w ward) map[string]string {
	t.Helper()
	out, ctx, nurse := map[string]string{}, t.Context(), w.signIn(t, "nurse")
	c := dial()
	do := func(method, path string, in, answer any) {
		t.Helper()
		if err := c.Do(ctx, method, path, in, answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SignIn(ctx, nurse.Login, nurse.Password); err != nil {
		t.Fatal(err)
	}
	var key struct{ Key string }
	do(http.MethodPost, "/api/account/keys", map[string]any{"channel": w.Patients[0].Channel}, &key)
	out["an API key of one's own"] = key.Key
	do(http.MethodGet, fmt.Sprintf("/channels/%d/feeds.json?api_key=%s", w.Patients[0].Channel, key.Key), nil, nil)
	var app struct{ Secret, URI string }
	do(http.MethodPost, "/api/account/totp", map[string]any{}, &app)
	out["the secret of an authenticator app"] = app.Secret
	code, err := totp.GenerateCode(app.Secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var codes struct{ Recovery []string }
	do(http.MethodPost, "/api/account/totp/confirm", map[string]string{"code": code}, &codes)
	for i, code := range codes.Recovery {
		out[fmt.Sprintf("recovery code %d", i)] = code
	}
	if len(codes.Recovery) < 2 {
		t.Fatal("no recovery codes")
	}
	const changed = "another-Passw0rd-of-the-nurse"
	do(http.MethodPost, "/api/account/password", map[string]string{"old": nurse.Password, "new": changed}, nil)
	out["a changed password"] = changed
	c = dial()
	var second *client.SecondFactor
	if err := c.SignIn(ctx, nurse.Login, changed); !errors.As(err, &second) {
		t.Fatalf("signing in with a second factor: %v", err)
	}
	out["the id of an unfinished sign-in"] = second.ID
	_ = c.Second(ctx, second.ID, client.Proof{Recovery: "wrong-" + codes.Recovery[1]})
	if err := c.Second(ctx, second.ID, client.Proof{Recovery: codes.Recovery[0]}); err != nil {
		t.Fatal(err)
	}
	return out
}

// awaitHub returns when the hub answers through the overlay, which takes a moment after both have started.
func awaitHub(t *testing.T, c *client.Client) {
	t.Helper()
	await(t, "the hub", func() error {
		err := c.Do(t.Context(), http.MethodGet, "/api/session", nil, nil)
		var status *client.StatusError
		if errors.As(err, &status) && status.Status == http.StatusUnauthorized {
			return nil
		}
		return err
	})
}

func readInto(t *testing.T, file string, v any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// decodeWave takes the chunks out of the waveform's answer, whatever surrounds them; the first must have samples that are not like
// any others: eight times the same, as a chip gives while its light is chosen, stands in files that hold no wave.
func decodeWave(raw json.RawMessage, out *[]struct {
	Pulse []uint16 `json:"pulse"`
}) error {
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	for _, field := range answer {
		if json.Unmarshal(field, out) == nil && len(*out) > 0 && len((*out)[0].Pulse) >= 16 {
			different := map[uint16]bool{}
			for _, v := range (*out)[0].Pulse[:8] {
				different[v] = true
			}
			if len(different) < 4 {
				return fmt.Errorf("no wave yet: %v", (*out)[0].Pulse[:8])
			}
			return nil
		}
	}
	return fmt.Errorf("no wave in %.100s", raw)
}

// samples are ways to write down a stretch of a pulse wave.
func samples(pulse []uint16) (out []needle) {
	pulse = pulse[:8]
	var text []string
	le, be, down := []byte{}, []byte{}, []byte{}
	for _, v := range pulse {
		text = append(text, fmt.Sprint(65535-v))
		le = bin.LittleEndian.AppendUint16(le, 65535-v)
		be = bin.BigEndian.AppendUint16(be, 65535-v)
		down = bin.LittleEndian.AppendUint16(down, v)
	}
	for what, b := range map[string][]byte{"little-endian": le, "big-endian": be, "as shown": down, "as JSON": []byte(strings.Join(text, ",")),
		"as Go prints them": []byte(strings.Join(text, " ")), "in base64": []byte(base64.StdEncoding.EncodeToString(le[:15]))} {
		out = append(out, needle{what: "samples, " + what, is: b})
	}
	return out
}

// hubSecrets opens a stopped hub's store with its root key, as the hub does, for what lies in it wrapped.
func hubSecrets(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(dir, "store"))); err != nil {
		t.Fatal(err)
	}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	st, err := store.Open(ctx, copied, keys, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	out := map[string][]byte{}
	for _, name := range []string{"authority", "recipient", "token-keys"} {
		b, err := st.Secret(ctx, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = b
	}
	return out
}
