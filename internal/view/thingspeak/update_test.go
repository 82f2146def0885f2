package thingspeak_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
)

const (
	form     = "application/x-www-form-urlencoded"
	jsonType = "application/json; charset=utf-8"
)

func TestUpdate(t *testing.T) {
	w := newWard(t)
	const all = `{"channel_id":ID,"created_at":"2026-01-31T07:MINUTE:00Z","entry_id":N,"field1":"1.50","field2":"x","field3":null,"field4":null,"field5":null,
		"field6":null,"field7":null,"field8":"9","latitude":"1.5","longitude":"-2","elevation":"3","status":"fine"}`
	at, q := "2026-01-31T08:15:00+01:00", url.Values{"api_key": {w.writeFree}, "field1": {"1.50"}, "2": {"x"}, "field8": {"9"}, "lat": {"1.5"},
		"longitude": {"-2"}, "elevation": {"3"}, "status": {"fine"}, "created_at": {"2026-01-31T08:15:00+01:00"}}
	body := `{"api_key":"` + w.writeFree + `","field1":1.50,"field2":"x","field3":null,"8":9,"latitude":1.5,"long":-2,"elevation":"3","status":"fine","created_at":"` + at + `"}`
	n := 0
	for _, c := range []struct{ name, method, query, ReadBody, media string }{
		{"GET", "GET", "?" + q.Encode(), "", ""},
		{"form", "POST", "", q.Encode(), form},
		{"form without a type", "POST", "", q.Encode(), ""},
		{"address of a POST", "POST", "?" + q.Encode(), "", ""},
		{"body before address", "POST", "?field1=0&status=no", q.Encode(), form},
		{"JSON", "POST", "", body, jsonType},
	} {
		n++ // each at a time of its own: the same again would be a repetition
		minute := strings.NewReplacer("08%3A15", fmt.Sprintf("08%%3A%02d", 15+n), "08:15", fmt.Sprintf("08:%02d", 15+n))
		rec := w.do(c.method, "/update"+minute.Replace(c.query), minute.Replace(c.ReadBody), "Content-Type", c.media)
		if rec.Code != 200 || rec.Body.String() != fmt.Sprint(n) || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d %s", c.name, rec.Code, rec.Body)
		}
		n++
		minute = strings.NewReplacer("08%3A15", fmt.Sprintf("08%%3A%02d", 15+n), "08:15", fmt.Sprintf("08:%02d", 15+n))
		rec = w.do(c.method, "/update.json"+minute.Replace(c.query), minute.Replace(c.ReadBody), "Content-Type", c.media)
		if rec.Code != 200 {
			t.Errorf("%s: %d", c.name, rec.Code)
		}
		same(t, c.name, all, rec.Body.String(), "ID", fmt.Sprint(w.fridge), "MINUTE", fmt.Sprint(15+n), "N", fmt.Sprint(n))
	}
	before := time.Now().Truncate(time.Second)
	w.do("GET", "/update?status=only&key="+w.writeFree, "")
	list := w.get(200, fmt.Sprintf("/channels/%d/feeds/last.json?status=true", w.fridge), w.readFridge)
	if !strings.Contains(list, `"status":"only"`) || list < `{"created_at":"`+stamp(before) {
		t.Errorf("an entry without created_at is now: %s", list)
	}
}

// TestKeyPlaces is where a key may be, and which one counts.
func TestKeyPlaces(t *testing.T) {
	w := newWard(t)
	path := fmt.Sprintf("/channels/%d/feeds.json", w.ada.ID)
	for _, c := range []struct {
		status  int
		query   string
		headers []string
	}{
		{200, "", []string{"THINGSPEAKAPIKEY", w.readAda}},
		{200, "", []string{"X-THINGSPEAKAPIKEY", w.readAda}},
		{200, "", []string{"x-thingspeakapikey", w.readAda}},
		{200, "?key=" + w.readAda, nil},
		{200, "?api_key=" + w.readAda, nil},
		{200, "?apikey=" + w.readAda, nil},
		{200, "?key=&api_key=" + w.readAda, []string{"THINGSPEAKAPIKEY", ""}},
		{400, "?key=" + w.readAda, []string{"THINGSPEAKAPIKEY", "AAAAAAAAAAAAAAAA"}}, // the header wins
		{400, "?key=AAAAAAAAAAAAAAAA&api_key=" + w.readAda, nil},
		{400, "?KEY=" + w.readAda, nil},
		{400, "?key=" + strings.ToLower(w.readAda), nil},
		{400, "?key=" + w.readAda + "X", nil},
		{400, "", []string{"Authorization", "Bearer " + w.readAda}},
		{400, "", []string{"Cookie", "vitalseal_session=" + w.readAda + "; api_key=" + w.readAda}},
		{400, "", nil},
	} {
		if rec := w.do("GET", path+c.query, "", c.headers...); rec.Code != c.status {
			t.Errorf("%s %v: %d %s, want %d", c.query, c.headers, rec.Code, rec.Body, c.status)
		}
	}
	for _, c := range []struct{ target, ReadBody, media string }{
		{"/update", "field1=1&key=" + w.writeFree, form}, {"/update", "field1=1&apikey=" + w.writeFree, form},
		{"/update", `{"field1":1,"key":"` + w.writeFree + `"}`, jsonType}, {"/update?field1=1&api_key=" + w.writeFree, "", ""},
	} {
		if rec := w.do("POST", c.target, c.ReadBody, "Content-Type", c.media); rec.Code != 200 {
			t.Errorf("%v: %d %s", c, rec.Code, rec.Body)
		}
	}
}

// TestTolerance: what careless clients write is taken, and means what they mean. The values are those of bug reports of others.
func TestTolerance(t *testing.T) {
	w := newWard(t)
	free := "api_key=" + w.writeFree
	for i, c := range []struct{ form, want string }{
		{"field1=72&field2=97&status=SpO2 98%", `"field1":"72","field2":"97"`},
		{"field1=73&status=a;b", `"status":"a;b"`},
		{"field1=74&status=36%b0C", `"status":"36\ufffdC"`},
		{"field1=22.4\r\n", `"field1":"22.4"`},
		{"field1=75&created_at=2026-11-28 10:00:00-05", `"created_at":"2026-11-28T15:00:00Z"`},
		{"field1=76&created_at=2026-11-27T10:00:00-0500", `"created_at":"2026-11-27T15:00:00Z"`},
		{"field1=77&created_at=2026-11-26 10:00:00Z", `"created_at":"2026-11-26T10:00:00Z"`},
		{"field1=78&created_at=2026-11-25T10:00", `"created_at":"2026-11-25T10:00:00Z"`},
	} {
		var got, want any
		body := w.ok(200, "POST", "/update.json", free+"&"+c.form)
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte("{"+c.want+"}"), &want); err != nil {
			t.Fatal(err)
		}
		for name, v := range want.(map[string]any) {
			if got.(map[string]any)[name] != v {
				t.Errorf("%d %s: %s, want %s", i, c.form, body, c.want)
			}
		}
	}
	if got := w.ok(200, "POST", "/update", "field1=23.5&"+free+"\r\n"); got == "0" {
		t.Error("a line end behind the key")
	}
	if got := w.get(200, w.fridgePath("fields/1/last.txt"), w.readFridge); got != "23.5" {
		t.Errorf("the last is %q", got)
	}
	if got := w.get(200, "/"+w.fridgePath("fields/1/last.txt"), w.readFridge); got != "23.5" {
		t.Errorf("with two slashes: %q", got)
	}
	// What is refused as a read says which key is wanted.
	for key, want := range map[string]string{w.writeFree: "this is a write key, which cannot read", "": "a read key of the channel or an account key is wanted", w.readAda: "a read key of the channel"} {
		rec := w.do("GET", w.fridgePath("feeds.json"), "", "THINGSPEAKAPIKEY", key)
		if rec.Code != 400 || rec.Body.String() != "-1" || !strings.Contains(rec.Header().Get("X-Vitalseal-Error"), want) {
			t.Errorf("%d %s %q, want %q", rec.Code, rec.Body, rec.Header().Get("X-Vitalseal-Error"), want)
		}
	}
}

// TestRefusedWrites: text says 0 with 400, JSON says why, nothing is stored.
func TestRefusedWrites(t *testing.T) {
	w := newWard(t)
	free, long := "api_key="+w.writeFree, strings.Repeat("x", 256)
	many := free + strings.Repeat("&a=1", 64)
	type refused struct {
		status          int
		query, ReadBody string
		media           string
	}
	list := map[string]refused{
		"no key":               {401, "field1=1", "", ""},
		"unknown key":          {401, "field1=1&api_key=AAAAAAAAAAAAAAAA", "", ""},
		"read key":             {403, "field1=1&api_key=" + w.readFridge, "", ""},
		"patient's channel":    {403, "field1=1&api_key=" + w.writeAda, "", ""},
		"patient's, read key":  {403, "field1=1&api_key=" + w.readAda, "", ""},
		"patient's own key":    {403, "field1=1&api_key=" + w.patientKey, "", ""},
		"nothing":              {400, free, "", ""},
		"unknown field":        {400, free + "&field9=1&field0=1&0=1&9=1", "", ""},
		"empty status":         {400, free + "&status=", "", ""},
		"long field":           {413, free + "&field1=" + long, "", ""},
		"long status":          {413, free + "&status=" + long, "", ""},
		"long place":           {413, free + "&field1=1&latitude=" + long, "", ""},
		"field not UTF-8":      {400, free + "&field1=%ff", "", ""},
		"malformed field":      {400, free + "&field1=98%&field2=5", "", ""},
		"malformed time":       {400, free + "&field1=97&created_at=2026-11-28T10:00:00%", "", ""},
		"semicolon in a value": {400, free + "&field1=97;&field2=5", "", ""},
		"latitude":             {400, free + "&field1=1&lat=91", "", ""},
		"longitude":            {400, free + "&field1=1&long=NaN", "", ""},
		"elevation":            {400, free + "&field1=1&elevation=high", "", ""},
		"time":                 {400, free + "&field1=1&created_at=yesterday", "", ""},
		"before 1970":          {400, free + "&field1=1&created_at=1969-12-31", "", ""},
		"future":               {400, free + "&field1=1&created_at=2999-01-01T00:00:00Z", "", ""},
		"zone":                 {400, free + "&field1=1&created_at=2026-01-31&timezone=Europe/Berlin2", "", ""},
		"escapes":              {400, free + "&field1=%zz", "", ""},
		"semicolon":            {400, free + "&a=1;b=2", "", ""},
		"many parameters":      {400, many, "", ""},
		"many in the body":     {400, "", many, form},
		"huge address":         {413, free + "&field1=" + strings.Repeat("x", 17<<10), "", ""},
		"huge body":            {413, free, "field1=" + strings.Repeat("x", 21<<10), form},
		"huge JSON":            {413, free, `{"field1":"` + strings.Repeat("x", 21<<10) + `"}`, jsonType},
		"not JSON":             {400, free, "field1=1", jsonType},
		"JSON null":            {400, free, "null", jsonType},
		"JSON list":            {400, free, `[{"field1":1}]`, jsonType},
		"JSON twice":           {400, free, `{"field1":1}{"field1":2}`, jsonType},
		"nested JSON":          {400, free, `{"field1":{"a":1}}`, jsonType},
		"deep JSON":            {400, free, strings.Repeat(`{"a":`, 3000), jsonType},
		"many JSON values":     {400, free, "{" + strings.TrimSuffix(manyJSON(65), ",") + "}", jsonType},
		"other type":           {400, free, "<field1>1</field1>", "application/xml"},
		"unreadable type":      {400, free, "field1=1", ";;"},
		"multipart":            {400, free, "--x\r\n\r\n--x--", "multipart/form-data; boundary=x"},
		"patient's, malformed": {403, "field1=%ff&api_key=" + w.writeAda, "", ""},
	}
	for name, c := range list {
		rec := w.do("POST", "/update?"+c.query, c.ReadBody, "Content-Type", c.media)
		if rec.Code != 400 || rec.Body.String() != "0" {
			t.Errorf("%s: text: %d %.100s", name, rec.Code, rec.Body)
		}
		why, notLetIn := rec.Header().Get("X-Vitalseal-Error"), c.status == 401 || c.status == 403
		if why == "" || notLetIn != strings.HasPrefix(why, "no key that may do this: a write key") {
			t.Errorf("%s: text: the reason is %q", name, why)
		}
		rec = w.do("POST", "/update.json?"+c.query, c.ReadBody, "Content-Type", c.media)
		if rec.Code != c.status || !strings.HasPrefix(rec.Body.String(), fmt.Sprintf(`{"status":"%d","error":{"error_code":"error_`, c.status)) {
			t.Errorf("%s: JSON: %d %.200s, want %d", name, rec.Code, rec.Body, c.status)
		}
		for _, sent := range []string{"yesterday", "high", "AAAAAAAA", "xxxx", "Berlin"} {
			if strings.Contains(rec.Body.String()+why, sent) {
				t.Errorf("%s: the refusal repeats what was sent: %s, %s", name, rec.Body, why)
			}
		}
	}
	if n := w.refusals(access.WriteChannel, access.OnChannel(w.ada.ID)); n != 6 { // three keys of the nurse, two forms
		t.Errorf("%d audited refusals to write a patient's channel", n)
	}
	// Who is not let in cannot tell a key that exists from one that does not: status, body and every header are the same.
	answer := func(query string) string {
		rec := w.do("GET", "/update?"+query, "")
		return fmt.Sprint(rec.Code, rec.Body, rec.Header())
	}
	want := answer("field1=1&api_key=AAAAAAAAAAAAAAAA")
	for _, name := range []string{"no key", "read key", "patient's channel", "patient's, read key", "patient's own key", "patient's, malformed"} {
		if got := answer(list[name].query); got != want {
			t.Errorf("%s: %s; an unknown key: %s", name, got, want)
		}
	}
	w.at = ""
	if rec := w.do("GET", "/update.json?field1=1&"+free, ""); rec.Code != 401 {
		t.Errorf("without a workstation: %d", rec.Code)
	}
	if c, err := w.store.Channel(context.Background(), w.fridge); err != nil || c.LastEntryID != 0 {
		t.Errorf("something was stored: %+v %v", c, err)
	}
}

func manyJSON(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"a%d":1,`, i)
	}
	return b.String()
}

func TestRefusedReads(t *testing.T) {
	w := newWard(t)
	base := fmt.Sprintf("/channels/%d/", w.ada.ID)
	for _, c := range []struct {
		status int
		path   string
	}{
		{404, "/channels/0/feeds.json"}, {404, "/channels/-1/feeds.json"}, {404, "/channels/x/feeds.json"}, {404, "/channels//feeds.json"},
		{404, "/channels/99999999999999999999/feeds.json"}, {404, "/channels/"}, {404, "/channels"}, {404, "/"}, {404, "/updates"}, {404, "/update/"},
		{404, "/channels/1/../1/feeds.json"}, {404, base + "feeds.html"}, {404, base + "feeds.jsonx"},
		{404, base + "feeds.json/"}, {404, base + "fields/0.json"}, {404, base + "fields/9.json"}, {404, base + "fields/01.json"}, {404, base + "fields/+1.json"},
		{404, base + "fields/x"}, {404, base + "fields/9/last.json"}, {404, base + "fields//last.json"}, {404, base + "fields/1/first.json"},
		{404, base + "feeds/last.json/x"}, {404, base + "feeds/1.json"},
		{400, base + "feeds.json?results=x"}, {400, base + "feeds.json?results=-1"}, {400, base + "feeds.json?results=-99999999999999999999"},
		{400, base + "feeds.json?days=1.5"}, {400, base + "feeds.json?minutes=%00"}, {400, base + "feeds.json?start=now"}, {400, base + "feeds.json?end=0001-01-01"},
		{400, base + "feeds.json?start=2026-01-02&end=2026-01-01"}, {400, base + "feeds.json?start=2999-01-01"}, {400, base + "feeds.json?average=61"},
		{400, base + "feeds.json?callback=f"}, {400, base + "feeds.json?timezone=Local"}, {400, base + "feeds/last.json?round=x"},
		{400, base + "feeds.json?a=%zz"}, {413, base + "feeds.json?a=" + strings.Repeat("x", 17<<10)},
		{200, base + "feeds.json?days=999999999999999999999&headers=false&timezone=UTC&offset=0&average="},
		{200, base + "feeds.json?start=1970-01-01&end=9999-12-31%2023:59:59"},
	} {
		rec := httptest.NewRecorder()
		path, query, _ := strings.Cut(c.path, "?")
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path, r.URL.RawQuery = path, query
		r.Header.Set("THINGSPEAKAPIKEY", w.readAda)
		w.handler.ServeHTTP(rec, r)
		if rec.Code != c.status || c.status != 200 && !strings.HasPrefix(rec.Body.String(), fmt.Sprintf(`{"status":"%d"`, c.status)) {
			t.Errorf("%.80s: %d %.200s, want %d", c.path, rec.Code, rec.Body, c.status)
		}
	}
	for _, method := range []string{"HEAD", "PUT", "DELETE", "PATCH", "POST", "TRACE"} {
		for _, path := range []string{"/update", "/update.json", base + "feeds.json", base + "fields/1/last.json"} {
			if method == "POST" && strings.HasPrefix(path, "/update") || method == "DELETE" && strings.HasSuffix(path, "feeds.json") {
				continue // that clears a channel: TestChannels
			}
			rec := w.do(method, path+"?field1=1&api_key="+w.writeFree, "")
			if rec.Code != 405 || !strings.Contains(rec.Header().Get("Allow"), "GET") {
				t.Errorf("%s %s: %d", method, path, rec.Code)
			}
		}
	}
	w.at = "spiffe://test.vitalseal.internal/sensor/oxi-a"
	w.get(400, base+"feeds.json", w.readAda)
}

// TestOverHTTP is what small and cross-origin clients rely on.
func TestOverHTTP(t *testing.T) {
	w := newWard(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	for i := range 60 {
		if rec := w.do("GET", fmt.Sprintf("/update?field1=%d&key=%s", i, w.writeFree), ""); rec.Code != 200 {
			t.Fatal(rec.Body)
		}
	}
	for method, path := range map[string]string{"GET": fmt.Sprintf("/channels/%d/feeds.json?key=%s", w.fridge, w.readFridge), "OPTIONS": "/update"} {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		h := res.Header
		if res.StatusCode != 200 || method == "GET" && res.ContentLength < 2048 || len(res.TransferEncoding) > 0 ||
			h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" || h.Get("Cache-Control") != "no-store" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s: %s, %d bytes, %v", method, res.Status, res.ContentLength, h)
		}
	}
}

// TestOtherSites: no page of another site may read what comes of a patient's channel, and none learns whose a channel is.
func TestOtherSites(t *testing.T) {
	w := newWard(t)
	w.append("oxi-a", time.Now(), good(vitals.HeartRate, 72))
	for path, shared := range map[string]bool{
		fmt.Sprintf("/channels/%d/feeds.json?key=%s", w.ada.ID, w.readAda):      false,
		fmt.Sprintf("/channels/%d/feeds/last.json?key=%s", w.ada.ID, w.readAda): false,
		fmt.Sprintf("/channels/%d/fields/1.json?key=%s", w.ada.ID, w.readAda):   false,
		fmt.Sprintf("/channels/%d/feeds.json?key=wrong", w.fridge):              false,
		fmt.Sprintf("/channels/%d/feeds.json?key=%s", w.fridge, w.readFridge):   true,
		fmt.Sprintf("/update?field1=1&key=%s", w.writeFree):                     true,
	} {
		if got := w.do("GET", path, "").Header().Get("Access-Control-Allow-Origin") == "*"; got != shared {
			t.Errorf("%.24s: another site may read: %v, want %v", path, got, shared)
		}
	}
}

// TestLogs: when something breaks here, the log says so, and holds neither key nor value.
func TestLogs(t *testing.T) {
	w := newWard(t)
	w.do("GET", "/update?field1=gnarly&api_key="+w.writeFree, "")
	w.do("GET", "/update?field1=%zz&api_key="+w.writeFree, "")
	_ = w.store.Close()
	if rec := w.do("GET", "/update?field1=gnarly&api_key="+w.writeFree, ""); rec.Code != 503 || rec.Body.String() != "0" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	for _, path := range []string{"feeds.json", "feeds/last.json"} {
		rec := w.do("GET", fmt.Sprintf("/channels/%d/%s?key=%s", w.ada.ID, path, w.readAda), "")
		if rec.Code != 503 || strings.Contains(rec.Body.String(), "store") {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	}
	log := w.log.String()
	if strings.Count(log, "thingspeak request failed") != 3 {
		t.Errorf("the log has no word about it: %s", log)
	}
	for _, secret := range []string{w.writeFree, w.readAda, "gnarly", "api_key", w.ada.Patient} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log: %s", secret, log)
		}
	}
}

// FuzzUpdate: whatever is sent, with a key that may write, is taken or refused; never a failure of ours.
func FuzzUpdate(f *testing.F) {
	w := newWard(f)
	for _, s := range []struct{ query, media, ReadBody string }{
		{"field1=1&status=x&created_at=2026-01-31", "", ""},
		{"created_at=0000-01-01&1=2", form, "field1=%ff&lat=1e999&long=-0"},
		{"", jsonType, `{"field1":1e999,"status":"\ud800","created_at":"9999-12-31T23:59:59Z","latitude":true}`},
		{"%", jsonType, `{"field1":null,"field1":[]}`},
		{"&&&=&=", "multipart/form-data; boundary=x", "--x\r\n"},
		{"results=-0&start=2026-01-31T08:15:60Z", "", "field2=\x00"},
		{"end=9999-12-31T23:59:59Z&days=36500", ";", "{"},
	} {
		f.Add(true, s.query, s.media, s.ReadBody)
		f.Add(false, s.query, s.media, s.ReadBody)
	}
	f.Fuzz(func(t *testing.T, post bool, query, media, body string) {
		method := "GET"
		if post {
			method = "POST"
		}
		for path, key := range map[string]string{"/update": w.writeFree, "/update.json": w.writeFree, fmt.Sprintf("/channels/%d/feeds.json", w.fridge): w.readFridge} {
			r := httptest.NewRequest(method, "/", strings.NewReader(body))
			r.URL.Path, r.URL.RawQuery = path, query
			r.Header = http.Header{"Content-Type": {media}, "X-Thingspeakapikey": {key}}
			rec := httptest.NewRecorder()
			w.handler.ServeHTTP(rec, r)
			switch rec.Code {
			case 200, 400, 413:
			case 409: // another entry of this run has that created_at
				if strings.HasPrefix(path, "/update") {
					continue
				}
				t.Fatalf("%s %s?%q: %d %s", method, path, query, rec.Code, rec.Body)
			case 405:
				if post && strings.HasSuffix(path, "feeds.json") {
					continue
				}
				fallthrough
			default:
				t.Fatalf("%s %s?%q: %d %s", method, path, query, rec.Code, rec.Body)
			}
		}
	})
}

// TestFieldsWithoutAName: a channel that names no field shows all that it takes; one that names some says which values no feed shows.
func TestFieldsWithoutAName(t *testing.T) {
	w := newWard(t)
	bench, err := w.store.CreateChannel(t.Context(), channel.Channel{Name: "Bench"})
	if err != nil {
		t.Fatal(err)
	}
	keys := [2]string{rand.Text()[:16], rand.Text()[:16]}
	for i, k := range keys {
		if err := w.store.SaveAPIKey(t.Context(), access.APIKey{Hash: sha256.Sum256([]byte(k)), PersonID: w.nurse, Channel: bench.ID, Write: i == 0}); err != nil {
			t.Fatal(err)
		}
	}
	if rec := w.do("GET", "/update?field1=21.5&key="+keys[0], ""); rec.Code != 200 || rec.Body.String() != "1" || rec.Header().Get("X-Vitalseal-Error") != "" {
		t.Errorf("%d %s %v", rec.Code, rec.Body, rec.Header())
	}
	if got := w.get(200, fmt.Sprintf("/channels/%d/feeds.json", bench.ID), keys[1]); !strings.Contains(got, `"field1":"21.5"`) || !strings.Contains(got, `"field8":null`) {
		t.Errorf("the value is nowhere: %s", got)
	}
	for query, want := range map[string]string{"field1=4": "", "field1=4&field3=5&field8=6": "no field3, field8"} {
		rec := w.do("GET", "/update?"+query+"&key="+w.writeFree, "")
		if why := rec.Header().Get("X-Vitalseal-Error"); rec.Code != 200 || rec.Body.String() == "0" || !strings.Contains(why, want) || want == "" && why != "" {
			t.Errorf("%s: %d %s %q", query, rec.Code, rec.Body, why)
		}
	}
	rec := w.bulk(w.fridge, w.writeFree, `[{"created_at":"2026-11-01T10:00:00Z","field4":"1"}]`)
	if why := rec.Header().Get("X-Vitalseal-Error"); rec.Code != 202 || !strings.Contains(why, "no field4") {
		t.Errorf("bulk: %d %s %q", rec.Code, rec.Body, why)
	}
}
