package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds how long the tests wait for something to happen; it is no measurement.
const patience = 3 * time.Minute

// binary is the vitalseal under test: $VITALSEAL_BIN (as `make test` has it), else built here, without the dashboard
// unless that was built before.
var binary = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("VITALSEAL_BIN"); b != "" {
		return b, nil
	}
	dir, err := os.MkdirTemp("", "vitalseal-bin-")
	if err != nil {
		return "", err
	}
	b := filepath.Join(dir, "vitalseal")
	cmd := exec.Command("go", "build", "-o", b, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return b, nil
})

func vitalseal(t *testing.T) string {
	t.Helper()
	b, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestScripts(t *testing.T) {
	bin := vitalseal(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(bin)+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("LISTEN", freeAddress(t))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"feed": feed, "jsonfield": jsonField, "exits": exits, "replace": replace,
		},
	})
}

// exits CODE COMMAND... runs a command that must end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// replace OLD NEW FILE changes a file's text.
func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace OLD NEW FILE")
	}
	text := ts.ReadFile(args[2])
	if !strings.Contains(text, args[0]) {
		ts.Fatalf("%s does not hold %q", args[2], args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.ReplaceAll(text, args[0], args[1])), 0o600))
}

// feed DIR LISTEN QUERY [LEAST] waits until the demo in DIR answers a ThingSpeak read with at least so many entries that have a heart
// rate (1), and prints it.
func feed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 && len(args) != 4 {
		ts.Fatalf("usage: feed DIR LISTEN QUERY [LEAST]")
	}
	least := 1
	if len(args) == 4 {
		var err error
		least, err = strconv.Atoi(args[3])
		ts.Check(err)
	}
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		body, err := readFeed(ts.MkAbs(args[0]), args[1], args[2], least)
		if err == nil {
			fmt.Fprint(ts.Stdout(), body)
			return
		}
		last = err
	}
	ts.Fatalf("no feed: %v", last)
}

func readFeed(dir, listen, query string, least int) (string, error) {
	ward, err := readWard(dir)
	if err != nil {
		return "", err
	}
	url := fmt.Sprintf("http://%s/channels/%d/%s&api_key=%s", listen, ward.Patients[0].Channel, query, ward.ReadKey)
	res, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", err
	}
	var f struct {
		Feeds []struct{ Field1 *string } `json:"feeds"`
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", res.Status, body)
	}
	if err := json.Unmarshal(body, &f); err != nil {
		return "", err
	}
	found := 0
	for _, x := range f.Feeds {
		if x.Field1 != nil {
			found++
		}
	}
	if found < least {
		return "", fmt.Errorf("only %d entries with a heart rate yet", found)
	}
	return string(body), nil
}

// jsonField FILE NAME LOW HIGH checks a number in the one JSON object that the file holds.
func jsonField(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: jsonfield FILE NAME LOW HIGH")
	}
	var m map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &m))
	v, ok := m[args[1]].(float64)
	if !ok {
		ts.Fatalf("%s: no number %q in %v", args[0], args[1], m)
	}
	low, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	high, err := strconv.ParseFloat(args[3], 64)
	ts.Check(err)
	if v < low || v > high {
		ts.Fatalf("%s = %v, want %v to %v", args[1], v, low, high)
	}
}

func freeAddress(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
