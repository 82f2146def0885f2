package sink_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// cloud is a ThingSpeak-compatible server of its own making: it shares no code with the hub's face,
// keeps every byte that reaches it after TLS, and can be told to fail. created_at is unique; a bulk
// update is taken whole or not at all.
type cloud struct {
	*httptest.Server

	mu      sync.Mutex // guards all below
	wire    bytes.Buffer
	times   []time.Time // of the requests that it looked at
	entries map[string]map[string]string
	order   []string
	answer  func(messages int) (status int, header http.Header) // nil: takes everything
	lose    bool                                                // takes the next batch and hangs up
}

const cloudKey = "WRITEKEY12345678"

func newCloud(t *testing.T) *cloud {
	c := &cloud{entries: map[string]map[string]string{}}
	c.Server = httptest.NewTLSServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *cloud) rootsPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.wire.WriteString(r.Method + " " + r.URL.String() + "\n")
	_ = r.Header.Write(&c.wire)
	c.wire.Write(body)
	c.wire.WriteByte('\n')
	if r.Method == http.MethodGet && r.URL.Path == "/channels/77/feeds.json" {
		var feeds []map[string]string
		for _, at := range c.order {
			feeds = append(feeds, c.entries[at])
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"channel": map[string]any{"id": 77, "name": "x"}, "feeds": feeds})
		return
	}
	var in struct {
		Key     string              `json:"write_api_key"`
		Updates []map[string]string `json:"updates"`
	}
	if r.URL.Path != "/channels/77/bulk_update.json" || json.Unmarshal(body, &in) != nil || in.Key != cloudKey {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if c.answer != nil {
		if status, header := c.answer(len(in.Updates)); status != 0 {
			for k, v := range header {
				w.Header()[k] = v
			}
			w.WriteHeader(status)
			return
		}
	}
	if len(in.Updates) > 960 {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	for _, u := range in.Updates {
		if c.entries[u["created_at"]] != nil {
			w.WriteHeader(http.StatusConflict)
			return
		}
	}
	for _, u := range in.Updates {
		c.entries[u["created_at"]] = u
		c.order = append(c.order, u["created_at"])
	}
	if c.lose {
		c.lose = false
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"success":true}`)
}

func (c *cloud) set(answer func(int) (int, http.Header)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

func (c *cloud) bytes() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wire.String()
}

// all are the entries in the order in which they came.
func (c *cloud) all() (out []map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.order {
		out = append(out, c.entries[at])
	}
	return out
}

func (c *cloud) posts() int { return strings.Count(c.bytes(), "POST ") }

func always(status int, retryAfter int) func(int) (int, http.Header) {
	return func(int) (int, http.Header) {
		h := http.Header{}
		if retryAfter > 0 {
			h.Set("Retry-After", strconv.Itoa(retryAfter))
		}
		return status, h
	}
}
