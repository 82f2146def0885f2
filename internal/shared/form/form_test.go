package form_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/shared/form"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]form.Values{
		"field1=72&field2=97.5":              {Of: map[string]string{"field1": "72", "field2": "97.5"}},
		"a=1+2&b=%41%2f&a=twice&":            {Of: map[string]string{"a": "1 2", "b": "A/"}},
		"api_key=KEY&field1=22.4\r\n":        {Of: map[string]string{"api_key": "KEY", "field1": "22.4"}},
		"field1=22.4\r\n&api_key=KEY\n":      {Of: map[string]string{"api_key": "KEY", "field1": "22.4"}},
		"field1=22.4%0D%0A":                  {Of: map[string]string{"field1": "22.4"}},
		"field1=72&status=SpO2 98%":          {Of: map[string]string{"field1": "72", "status": "SpO2 98%"}, Malformed: map[string]bool{"status": true}},
		"status=98%25 of 100%zz&field1=1":    {Of: map[string]string{"field1": "1", "status": "98% of 100%zz"}, Malformed: map[string]bool{"status": true}},
		"status=a;b&field1=1;field2=2":       {Of: map[string]string{"status": "a;b", "field1": "1;field2=2"}, Malformed: map[string]bool{"status": true, "field1": true}},
		"fie%ld1=1":                          {Of: map[string]string{"fie%ld1": "1"}, Malformed: map[string]bool{"fie%ld1": true}},
		"created_at=2026-11-28T10:00:00%&x=": {Of: map[string]string{"created_at": "2026-11-28T10:00:00%", "x": ""}, Malformed: map[string]bool{"created_at": true}},
		"":                                   {},
	} {
		got, err := form.Parse(in, 64)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		for _, v := range []*form.Values{&got, &want} {
			if len(v.Of) == 0 {
				v.Of = nil
			}
			if len(v.Malformed) == 0 {
				v.Malformed = nil
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
	if _, err := form.Parse(strings.Repeat("a=1&", 64), 64); err == nil {
		t.Error("65 parameters are taken")
	}
}

func TestJSON(t *testing.T) {
	for in, want := range map[string]map[string]string{
		`{"field1":72.50,"status":"ok\r\n","headers":false,"x":null}`:    {"field1": "72.50", "status": "ok", "headers": "false"},
		`{"field1":72,"field2":nan,"field3":-inf,"status":"a nan \" b"}`: {"field1": "72", "field2": "nan", "field3": "-inf", "status": `a nan " b`},
		`{"field1":`:          nil,
		`{"field1":{}}`:       nil,
		`{"field1":1} x`:      nil,
		`[1]`:                 nil,
		`{"field1":nonsense}`: nil,
	} {
		got, err := form.JSON([]byte(in), 64)
		if (err != nil) != (want == nil) || !cmp.Equal(got, want) {
			t.Errorf("%s: %v, %v", in, got, err)
		}
		if m := (*form.Mistake)(nil); err != nil && (!errors.As(err, &m) || m.Sentence()[0] < 'A' || m.Sentence()[0] > 'Z') {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestTime(t *testing.T) {
	ten, fifteen := "2026-11-28T10:00:00Z", "2026-11-28T15:00:00Z"
	for in, want := range map[string]string{
		// As ThingSpeak's Arduino library documents it (setCreatedAt), as strftime's %z writes it,
		// and what stands behind a blank.
		"2026-11-28 10:00:00-05": fifteen, "2026-11-28T10:00:00-0500": fifteen, "2026-11-28 10:00:00Z": ten, "2026-11-28T10:00": ten,
		"2026-11-28 10:00:00 -0500": fifteen, "2026-11-28 10:00:00 -05:00": fifteen, "2026-11-28T10:00:00-05:00": fifteen, "2026-11-28T10:00:00-05": fifteen,
		"2026-11-28 10:00:00 UTC": ten, "2026-11-28 10:00:00 Z": ten, "2026-11-28t10:00:00z": ten, "2026-11-28 10:00:00 GMT": ten, " 2026-11-28 10:00:00\r\n": ten,
		"2026-11-28T10:00:00.000Z": ten, "2026-11-28T10:00:00": ten, "2026-11-28 10:00": ten, "2026-11-28T11:00:00+01:00": ten,
		"2026-11-28T11:00:00 0100": ten, "2026-11-28T11:00:00 01:00": ten, // a plus that a form's decoder has taken for a blank
		"2026-11-28": "2026-11-28T00:00:00Z",
		// None.
		"": "", "yesterday": "", "2026-11-28 10:00:00 EST": "", "2026-02-30 10:00:00": "", "2026-11-28 24:00:00": "", "2026-11-28 10:61:00": "", "1814-02-26 21:27:21 UTC": "",
		"2026-11-28 10:00:00+15": "", "1732788000": "", "28.11.2026 10:00": "", "2026-11-28T10:00:00%": "", "2026-11-28T10:00:00-05:000": "", "2026-11-28Z": "",
	} {
		got, err := form.Time(in, time.UTC)
		if want == "" {
			if !errors.Is(err, form.ErrTime) {
				t.Errorf("%q: %v, %v", in, got, err)
			}
		} else if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %v, %v, want %s", in, got, err, want)
		}
	}
	berlin, ok := form.Zone("Europe/Berlin")
	if got, err := form.Time("2026-07-01 10:00:00", berlin); !ok || err != nil || got.Hour() != 8 {
		t.Errorf("in Berlin: %v, %v", got, err)
	}
	for _, name := range []string{"local", "Local", "Nowhere/At_All", strings.Repeat("x", 100)} {
		if _, ok := form.Zone(name); ok {
			t.Errorf("%q is a zone", name)
		}
	}
	if got, err := form.Time("2026-07-01 10:00:00.250", time.UTC); err != nil || got.Nanosecond() != 250_000_000 {
		t.Errorf("a fraction: %v, %v", got, err)
	}
}

// over serves what it is asked through a Listener, and returns the answers of one connection, and
// what was refused before a handler.
func over(t *testing.T, sent string, requests int) (targets []string, answers []*http.Response, refused []string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked, reasons := make(chan string, 8), make(chan string, 8)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked <- r.Method + " " + r.URL.Path + "?" + r.URL.Query().Encode() + " " + string(b)
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(form.Listener(ln, func(why string) { reasons <- why })) }()
	defer func() {
		_ = server.Close()
		<-done
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	go func() { // byte by byte, as a modem does
		for i := range len(sent) {
			if _, err := c.Write([]byte{sent[i]}); err != nil {
				return
			}
		}
	}()
	in := bufio.NewReader(c)
	for range requests {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%q: %v", sent, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		answers = append(answers, res)
		if res.StatusCode == 200 {
			targets = append(targets, <-asked)
		} else {
			refused = append(refused, <-reasons)
		}
	}
	return targets, answers, refused
}

// TestRequestLines: the request lines of common sketches are taken, one after the other on a
// connection too.
func TestRequestLines(t *testing.T) {
	for name, c := range map[string]struct {
		sent string
		want []string
	}{
		"as it should be":        {"GET /update?a=1 HTTP/1.1\r\nHost: x\r\n\r\n", []string{"GET /update?a=1 "}},
		"blanks from dtostrf":    {"GET /update?a= 72.50&b= 97 HTTP/1.1\r\nHost: x\r\n\r\n", []string{"GET /update?a=+72.50&b=+97 "}},
		"no version":             {"GET /update?a=1\r\n\r\n", []string{"GET /update?a=1 "}},
		"no version, no blank":   {"GET /update?a=1&b= 2\n", []string{"GET /update?a=1&b=+2 "}},
		"version without blank":  {"GET /update?a=97HTTP/1.1\r\nHost: x\r\n\r\n", []string{"GET /update?a=97 "}},
		"no slash":               {"GET update?a=1 HTTP/1.0\r\n\r\n", []string{"GET /update?a=1 "}},
		"no Host":                {"GET /update?a=1 HTTP/1.1\r\n\r\n", []string{"GET /update?a=1 "}},
		"a body and a line end":  {"POST /update HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=1\r\nGET /x?b= 2 HTTP/1.1\r\nHost: x\r\n\r\n", []string{"POST /update? a=1", "GET /x?b=+2 "}},
		"a post without version": {"POST /update\r\nHost: x\r\nContent-Length: 3\r\n\r\na=1", []string{"POST /update? a=1"}},
		"a body like a request": {"POST /update HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nGET /x a= 1\nGET /y?c= 3 HTTP/1.1\r\nHost: x\r\n\r\n",
			[]string{"POST /update? GET /x a= 1\n", "GET /y?c=+3 "}},
		"chunks pass as they are": {"POST /update HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n0\r\n\r\n", []string{"POST /update? a=1"}},
		"a control character":     {"GET /update?a=1\t HTTP/1.1\r\nHost: x\r\n\r\n", []string{"GET /update?a=1 "}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, _ := over(t, c.sent, len(c.want))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRefusedBeforeAHandler: what the server itself refuses has its reason told.
func TestRefusedBeforeAHandler(t *testing.T) {
	for sent, want := range map[string]string{
		"HELLO\r\n\r\n": "400 Bad Request",
		"GET /update HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n": "400 Bad Request",
		"GET /update HTTP/9.1\r\nHost: x\r\n\r\n":             "",
	} {
		_, answers, refused := over(t, sent, map[bool]int{true: 0, false: 1}[want == ""])
		if want != "" && (len(refused) != 1 || !strings.HasPrefix(refused[0], want) || answers[0].StatusCode != 400) {
			t.Errorf("%q: %q", sent, refused)
		}
	}
}

// pipe is a connection that gives out what it is given, in pieces.
type pipe struct {
	net.Conn
	r io.Reader
}

func (p pipe) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), 7)]) }

// packetsOf are MQTT packets as a reader gets them: kind and flags, and what is behind the length.
func packetsOf(b []byte) (list [][]byte) {
	for len(b) > 1 {
		n, shift, i := 0, 0, 1
		for ; i < len(b); i++ {
			n |= int(b[i]&0x7f) << shift
			shift += 7
			if b[i] < 0x80 {
				break
			}
		}
		if i+1+n > len(b) {
			return append(list, b)
		}
		list = append(list, append([]byte{b[0]}, b[i+1:i+1+n]...))
		b = b[i+1+n:]
	}
	return list
}

func packet(kind byte, n int) []byte {
	b := []byte{kind}
	for rest := n; ; {
		x := byte(rest & 0x7f)
		if rest >>= 7; rest > 0 {
			b = append(b, x|0x80)
			continue
		}
		return append(append(b, x), bytes.Repeat([]byte{kind}, n)...)
	}
}

// TestPackets: an oversize message is cut, what comes before and after it is whole, and other
// packets pass.
func TestPackets(t *testing.T) {
	var sent []byte
	for _, p := range [][]byte{packet(0x10, 20), packet(0x32, 100), packet(0x32, 70_000), packet(0xc0, 0), packet(0x32, 5), packet(0x82, 500), packet(0x30, 300), packet(0x32, 80_001)} {
		sent = append(sent, p...)
	}
	got, err := io.ReadAll(form.Packets(pipe{r: bytes.NewReader(sent)}, 200, 80_000))
	if err != nil {
		t.Fatal(err)
	}
	var lengths []int
	for _, p := range packetsOf(got) {
		if strings.Trim(string(p), string(p[:1])) != "" {
			t.Errorf("a packet of kind %#x is torn", p[0])
		}
		lengths = append(lengths, len(p)-1)
	}
	if diff := cmp.Diff([]int{20, 100, 200, 0, 5, 500, 300, 80_001}, lengths); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("field1=72&status=SpO2 98%&a;b=%zz&x=%4")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := form.Parse(s, 64)
		if err != nil {
			return
		}
		for name := range v.Malformed {
			if _, ok := v.Of[name]; !ok {
				t.Errorf("%q is malformed and not there", name)
			}
		}
		for name, x := range v.Of {
			if strings.HasSuffix(x, "\n") {
				t.Errorf("%q has a line end", name)
			}
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"field1":72,"field2":nan,"s":"nan"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := form.JSON(b, 64)
		if err == nil && len(p) > 64 || err != nil && p != nil {
			t.Errorf("%d values, %v", len(p), err)
		}
		if json.Valid(b) && err != nil {
			if m := (*form.Mistake)(nil); !errors.As(err, &m) {
				t.Error(err)
			}
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-11-28 10:00:00-05", "2026-11-28T10:00:00.5-0500", "2026-11-28", "2026-11-28T11:00:00 0100"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := form.Time(s, time.UTC)
		if err != nil {
			return
		}
		if y := at.Year(); y < 1970 || y > 9999 || at.Location() != time.UTC {
			t.Errorf("%q is %v", s, at)
		}
		if want, err := time.Parse(time.RFC3339, s); err == nil && !want.Equal(at) { // where the library reads it, it is the same
			t.Errorf("%q is %v, want %v", s, at, want)
		}
	})
}

// FuzzRequests: whatever bytes come, a server behind a Listener's connection ends, and a request
// that was right passes unchanged.
func FuzzRequests(f *testing.F) {
	f.Add([]byte("GET /update?a= 1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=1\r\nGET /\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ln := &one{c: pipe{r: bytes.NewReader(b)}}
		c, err := form.Listener(ln, nil).Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) > len(b)*4+256*(1+bytes.Count(b, []byte("\n"))) {
			t.Errorf("%d bytes became %d", len(b), len(got))
		}
		if want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b))); err == nil && want.Host != "" && want.ContentLength == 0 {
			have, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(got)))
			if err != nil || have.Method != want.Method || have.URL.String() != want.URL.String() {
				t.Errorf("%q became %q: %v", b, got, err)
			}
		}
	})
}

type one struct{ c net.Conn }

func (o *one) Accept() (net.Conn, error) { return o.c, nil }
func (o *one) Close() error              { return nil }
func (o *one) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func FuzzPackets(f *testing.F) {
	f.Add(packet(0x32, 300))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := io.ReadAll(form.Packets(pipe{r: bytes.NewReader(b)}, 200, 1000))
		if err != nil || len(got) > len(b) {
			t.Errorf("%d bytes became %d, %v", len(b), len(got), err)
		}
	})
}
