package thingspeak_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/view/thingspeak"
)

func (w *ward) bulk(channelID int64, key, updates string) *httptest.ResponseRecorder {
	return w.do("POST", fmt.Sprintf("/channels/%d/bulk_update.json", channelID), `{"write_api_key":"`+key+`","updates":`+updates+`}`, "Content-Type", "application/json")
}

func (w *ward) bulkCSV(key, format, updates string) *httptest.ResponseRecorder {
	q := url.Values{"write_api_key": {key}, "time_format": {format}, "updates": {updates}}
	return w.do("POST", fmt.Sprintf("/channels/%d/bulk_update.csv", w.fridge), q.Encode(), "Content-Type", form)
}

const success = `{"success":true}`

func TestBulkUpdate(t *testing.T) {
	w := newWard(t)
	updates := `[{"created_at":"2026-03-02T00:00:00Z","field1":1,"field2":"a,b","latitude":1.5,"longitude":"-2","elevation":3,"status":"ok"},
		{"created_at":"2026-03-02 02:00:00 +0100","field8":2.50}]`
	for range 2 { // the second time is a repetition: nothing is stored twice
		if rec := w.bulk(w.fridge, w.writeFree, updates); rec.Code != 202 || rec.Body.String() != success {
			t.Fatal(rec.Code, rec.Body)
		}
	}
	want := "created_at,entry_id,field8,latitude,longitude,elevation,status\n2026-03-02 00:00:00 UTC,1,,1.5,-2,3,ok\n2026-03-02 01:00:00 UTC,2,2.50,,,,\n"
	if got := w.get(200, w.fridgePath("fields/8.csv?results=10&status=true&location=true"), w.readFridge); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if c, err := w.store.Channel(context.Background(), w.fridge); err != nil || c.LastEntryID != 2 {
		t.Errorf("%+v %v", c, err)
	}
	// The key in a header, and where other calls have it.
	for i, headers := range [][]string{{"X-THINGSPEAKAPIKEY", w.writeFree}, {"THINGSPEAKAPIKEY", w.writeFree}} {
		rec := w.do("POST", w.fridgePath("bulk_update.json"), fmt.Sprintf(`{"updates":[{"created_at":"2026-03-03T00:00:0%dZ","field1":1}]}`, i), append(headers, "Content-Type", "application/json")...)
		if rec.Code != 202 {
			t.Error(rec.Code, rec.Body)
		}
	}
}

func TestBulkRelative(t *testing.T) {
	w := newWard(t)
	before := time.Now().Truncate(time.Second)
	if rec := w.bulk(w.fridge, w.writeFree, `[{"delta_t":0,"field1":1},{"delta_t":60,"field1":2},{"delta_t":"5","field1":3}]`); rec.Code != 202 {
		t.Fatal(rec.Code, rec.Body)
	}
	var got struct {
		Feeds []struct {
			Created time.Time `json:"created_at"`
			Field1  string
		}
	}
	if err := json.Unmarshal([]byte(w.get(200, w.fridgePath("feeds.json"), w.readFridge)), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Feeds) != 3 || got.Feeds[1].Created.Sub(got.Feeds[0].Created) != time.Minute || got.Feeds[2].Created.Sub(got.Feeds[1].Created) != 5*time.Second ||
		got.Feeds[2].Created.Before(before) || got.Feeds[2].Field1 != "3" {
		t.Errorf("%+v", got)
	}
}

func TestBulkCSV(t *testing.T) {
	w := newWard(t)
	if rec := w.bulkCSV(w.writeFree, "absolute", "2026-03-02 00:00:00 +0000,1,,,,,,,8,1.5,-2,3,fine|2026-03-02T00:01:00Z,2|"); rec.Code != 202 || rec.Body.String() != success {
		t.Fatal(rec.Code, rec.Body)
	}
	want := "created_at,entry_id,field1,field2,latitude,longitude,elevation,status\n2026-03-02 00:00:00 UTC,1,1,,1.5,-2,3,fine\n2026-03-02 00:01:00 UTC,2,2,,,,,\n"
	if got := w.get(200, w.fridgePath("feeds.csv?results=10&status=true&location=true"), w.readFridge); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if rec := w.bulkCSV(w.writeFree, "relative", "0,3|2,4"); rec.Code != 202 {
		t.Fatal(rec.Code, rec.Body)
	}
	if got := w.get(200, w.fridgePath("fields/1/last"), w.readFridge); got != "4" {
		t.Error(got)
	}
	if rec := w.do("POST", w.fridgePath("bulk_update.csv"), `{"write_api_key":"`+w.writeFree+`","time_format":"absolute","updates":"2026-03-02T00:02:00Z,7"}`, "Content-Type", jsonType); rec.Code != 202 {
		t.Error(rec.Code, rec.Body)
	}
}

// TestRefusedBulk: all or nothing, and the refusal says which message is wrong.
func TestRefusedBulk(t *testing.T) {
	w := newWard(t)
	const good = `{"created_at":"2026-03-02T00:00:00Z","field1":1}`
	for name, c := range map[string]struct {
		status  int
		updates string
		says    string
	}{
		"none":             {400, `[]`, "updates is empty"},
		"no list":          {400, `7`, "not a JSON object"},
		"no time":          {400, `[` + good + `,{"field1":1}]`, "message 2: it needs either created_at or delta_t"},
		"two times":        {400, `[{"created_at":"2026-03-02T00:00:00Z","delta_t":1,"field1":1}]`, "message 1"},
		"both kinds":       {400, `[` + good + `,{"delta_t":1,"field1":1}]`, "both created_at and delta_t"},
		"same time":        {400, `[` + good + `,` + good + `]`, "message 2: another message has the same time"},
		"delta 0":          {400, `[{"delta_t":1,"field1":1},{"delta_t":0,"field1":1}]`, "message 2: delta_t"},
		"negative delta":   {400, `[{"delta_t":-1,"field1":1}]`, "message 1: delta_t"},
		"before 1970":      {400, `[{"delta_t":1000000000,"field1":1},{"delta_t":1000000000,"field1":1},{"delta_t":1000000000,"field1":1}]`, "1970"},
		"future":           {400, `[{"created_at":"2999-01-01T00:00:00Z","field1":1}]`, "message 1: created_at is in the future"},
		"empty message":    {400, `[` + good + `,{"created_at":"2026-03-02T00:00:01Z"}]`, "message 2: No field1"},
		"nested":           {400, `[{"created_at":"2026-03-02T00:00:00Z","field1":[1]}]`, "message 1"},
		"long field":       {413, `[{"created_at":"2026-03-02T00:00:00Z","field1":"` + strings.Repeat("x", 256) + `"}]`, ""},
		"more than a body": {413, `["` + strings.Repeat("x", 1<<20) + `"]`, ""},
	} {
		rec := w.bulk(w.fridge, w.writeFree, c.updates)
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.says) || !strings.Contains(rec.Body.String(), `"error_code"`) {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	for name, c := range map[string][2]string{"no format": {"", "2026-03-02,1"}, "columns": {"absolute", "2026-03-02,1,2,3,4,5,6,7,8,9,10,11,12,13"}, "time": {"absolute", "yesterday,1"},
		"delta": {"relative", "0,1|0,2"}, "nothing": {"absolute", ""}, "empty message": {"absolute", "2026-03-02,1||"}} {
		if rec := w.bulkCSV(w.writeFree, c[0], c[1]); rec.Code != 400 {
			t.Errorf("CSV: %s: %d %s", name, rec.Code, rec.Body)
		}
	}
	for name, c := range map[string]struct {
		status  int
		channel int64
		key     string
	}{"no key": {401, w.fridge, ""}, "unknown key": {401, w.fridge, "AAAAAAAAAAAAAAAA"}, "read key": {403, w.fridge, w.readFridge}, "account key": {403, w.fridge, w.account},
		"patient's channel": {403, w.ada.ID, w.writeAda}, "other channel": {403, w.ada.ID, w.writeFree}, "no such channel": {403, 9999, w.writeFree}, "channel 0": {404, 0, w.writeFree}} {
		if rec := w.bulk(c.channel, c.key, "["+good+"]"); rec.Code != c.status {
			t.Errorf("%s: %d %s, want %d", name, rec.Code, rec.Body, c.status)
		}
	}
	if c, err := w.store.Channel(context.Background(), w.fridge); err != nil || c.LastEntryID != 0 {
		t.Errorf("something was stored: %+v %v", c, err)
	}
	// A time that is taken by something else is a conflict, for one update too, and leaves everything as it was.
	if rec := w.bulk(w.fridge, w.writeFree, "["+good+"]"); rec.Code != 202 {
		t.Fatal(rec.Body)
	}
	other := strings.Replace(good, `"field1":1`, `"field1":2`, 1)
	if rec := w.bulk(w.fridge, w.writeFree, `[{"created_at":"2026-03-03T00:00:00Z","field1":1},`+other+`]`); rec.Code != 409 || !strings.Contains(rec.Body.String(), "error_conflict") {
		t.Error(rec.Code, rec.Body)
	}
	if rec := w.do("GET", "/update.json?field1=5&created_at=2026-03-02T00:00:00Z&api_key="+w.writeFree, ""); rec.Code != 409 {
		t.Error(rec.Code, rec.Body)
	}
	if rec := w.do("GET", "/update?field1=5&created_at=2026-03-02T00:00:00Z&api_key="+w.writeFree, ""); rec.Code != 400 || rec.Body.String() != "0" {
		t.Error(rec.Code, rec.Body)
	}
	if rec := w.do("GET", "/update?field1=1&created_at=2026-03-02T00:00:00Z&api_key="+w.writeFree, ""); rec.Body.String() != "1" {
		t.Error("a repetition has the id of what is there", rec.Code, rec.Body)
	}
	if c, err := w.store.Channel(context.Background(), w.fridge); err != nil || c.LastEntryID != 1 {
		t.Errorf("%+v %v", c, err)
	}
	// The store refuses by itself as well.
	_, err := w.store.AppendEntries(context.Background(), access.Grant{}, w.fridge, []channel.Entry{{Status: "x"}})
	if err == nil {
		t.Error("appended without a grant")
	}
}

// TestLimits: ThingSpeak's limits as a profile; none by default.
func TestLimits(t *testing.T) {
	w := newWard(t)
	update := func() string {
		return w.ok(200, "GET", "/update?field1=1&api_key="+w.writeFree, "")
	}
	if a, b := update(), update(); a != "1" || b != "2" {
		t.Errorf("by default: %s %s", a, b)
	}
	if rec := w.bulk(w.fridge, w.writeFree, tooMany(14_401)); rec.Code != 400 {
		t.Error(rec.Code, rec.Body)
	}
	free, err := thingspeak.Profile("thingspeak")
	if err != nil {
		t.Fatal(err)
	}
	w.limit(free)
	if got := w.ok(400, "GET", "/update?api_key="+w.writeFree, ""); got != "0" { // a refused update does not count
		t.Error(got)
	}
	if a, b := update(), update(); a != "3" || b != "0" {
		t.Errorf("within 15 s: %s %s", a, b)
	}
	rec := w.do("GET", "/update.json?field1=1&api_key="+w.writeFree, "")
	if rec.Code != 429 || !strings.Contains(rec.Body.String(), "error_too_many_requests") {
		t.Error(rec.Code, rec.Body)
	}
	w.later.Store(int64(15 * time.Second))
	if got := update(); got != "4" {
		t.Error(got)
	}
	if rec := w.bulk(w.fridge, w.writeFree, tooMany(961)); rec.Code != 400 || !strings.Contains(rec.Body.String(), "960") {
		t.Error(rec.Code, rec.Body)
	}
	if rec := w.bulk(w.fridge, w.writeFree, tooMany(960)); rec.Code != 202 {
		t.Error(rec.Code, rec.Body)
	}
	if rec := w.bulk(w.fridge, w.writeFree, tooMany(1)); rec.Code != 429 {
		t.Error(rec.Code, rec.Body)
	}
	if _, err := thingspeak.Profile("none"); err == nil {
		t.Error("an unknown profile")
	}
}

func tooMany(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"created_at":"%s","1":1}`, stamp(time.Unix(1_700_000_000+int64(i), 0)))
	}
	return "[" + b.String()[1:] + "]"
}

// FuzzBulk: whatever is sent in bulk is taken or refused; never a failure of ours.
func FuzzBulk(f *testing.F) {
	w := newWard(f)
	f.Add(true, `[{"created_at":"2026-03-02T00:00:00Z","field1":1}]`, "absolute")
	f.Add(false, "2026-03-02 00:00:00 +0000,1,,,,,,,8,1.5,-2,3,fine|2026-03-02T00:01:00Z,2|", "absolute")
	f.Add(false, "0,1|5,2|1e3,3", "relative")
	f.Add(true, `[{"delta_t":1e9,"field1":null},{"delta_t":"1"}]`, "")
	f.Add(true, `[[],{},null,"x",1e999]`, "")
	f.Fuzz(func(t *testing.T, isJSON bool, updates, format string) {
		rec := w.bulkCSV(w.writeFree, format, updates)
		if isJSON {
			rec = w.bulk(w.fridge, w.writeFree, updates)
		}
		switch rec.Code {
		case 202, 400, 409, 413:
		default:
			t.Fatalf("%q %q: %d %s", updates, format, rec.Code, rec.Body)
		}
	})
}

// FuzzRead: whatever path and parameters are asked for with a good key, the answer is one of the known ones.
func FuzzRead(f *testing.F) {
	w := newWard(f)
	w.week()
	for _, s := range [][2]string{{"feeds.json", "results=2&average=60&timezone=Europe/Berlin&min=1&max=3&round=2"}, {"fields/1/last.txt", "prepend=a&append=b"}, {"feeds/1.xml", "status=true"},
		{"charts/1", "type=spline&color=red&width=300&yaxismin=-1e308&yaxismax=1e308"}, {"status.csv", "days=1"}, {"feeds/last_average", "average=daily&offset=-14"},
		{"feeds.json", "start=1970-01-01&end=9999-12-31&sum=10"}, {"fields/1/last_data_age.xml", "callback=a.b"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path, r.URL.RawQuery = w.fridgePath(path), query
		r.Header.Set("THINGSPEAKAPIKEY", w.readFridge)
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		switch rec.Code {
		case 200, 400, 404, 405, 413:
		default:
			t.Fatalf("%q?%q: %d %s", path, query, rec.Code, rec.Body)
		}
	})
}
