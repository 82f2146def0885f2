package thingspeak_test

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/measurement/vitals"
)

// week fills the fridge with known values on 2 March 2026: field1 1, 2, 4, 8 at 00:05, 00:07, 00:25 and 01:10 UTC.
func (w *ward) week() {
	w.t.Helper()
	for i, at := range []string{"00:05:00", "00:07:00", "00:25:00", "01:10:00"} {
		w.ok(200, "POST", "/update", fmt.Sprintf("api_key=%s&field1=%d&created_at=2026-03-02T%sZ&status=s%d", w.writeFree, 1<<i, at, i))
	}
	w.ok(200, "POST", "/update", "api_key="+w.writeFree+"&field2=open+%3C%26%3E&created_at=2026-03-02T01:20:00Z&lat=1.5&long=-2&elevation=3")
}

func (w *ward) fridgePath(path string) string { return fmt.Sprintf("/channels/%d/%s", w.fridge, path) }

// csvOf is a CSV answer, with commas between its cells and spaces between its rows.
func (w *ward) csvOf(path string) string {
	w.t.Helper()
	body := w.get(200, w.fridgePath(path), w.readFridge)
	if _, err := csv.NewReader(strings.NewReader(body)).ReadAll(); err != nil {
		w.t.Errorf("%s: %v in %s", path, err, body)
	}
	return strings.TrimSuffix(body, "\n")
}

func TestFormatCSV(t *testing.T) {
	w := newWard(t)
	w.week()
	for path, want := range map[string]string{
		"feeds.csv?results=2":                                       "created_at,entry_id,field1,field2\n2026-03-02 01:10:00 UTC,4,8,\n2026-03-02 01:20:00 UTC,5,,open <&>",
		"fields/1.csv?results=5&end=2026-03-02T00:05:00Z":           "created_at,entry_id,field1\n2026-03-02 00:05:00 UTC,1,1",
		"feeds/last.csv?location=true":                              "created_at,entry_id,field1,field2,latitude,longitude,elevation\n2026-03-02 01:20:00 UTC,5,,open <&>,1.5,-2,3",
		"fields/1/last.csv":                                         "created_at,entry_id,field1\n2026-03-02 01:10:00 UTC,4,8",
		"feeds/2.csv?status=true":                                   "created_at,entry_id,field1,field2,status\n2026-03-02 00:07:00 UTC,2,2,,s1",
		"feeds/entry/2.csv?timezone=America/New_York":               "created_at,entry_id,field1,field2\n2026-03-01 19:07:00 -0500,2,2,",
		"status.csv?results=2":                                      "created_at,entry_id,status\n2026-03-02 00:25:00 UTC,3,s2\n2026-03-02 01:10:00 UTC,4,s3",
		"feeds.csv?results=9&average=60":                            "created_at,field1,field2\n2026-03-02 00:00:00 UTC,2.3333333333333335,\n2026-03-02 01:00:00 UTC,8,",
		"feeds.csv?start=2026-03-02&end=2026-03-02&results=3":       "created_at,entry_id,field1,field2",
		"feeds.csv?start=2026-03-02%2000:06&end=2026-03-02%2000:08": "created_at,entry_id,field1,field2\n2026-03-02 00:07:00 UTC,2,2,",
	} {
		if got := w.csvOf(path); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
		}
	}
}

func TestFormatXML(t *testing.T) {
	w := newWard(t)
	w.week()
	body := w.get(200, w.fridgePath("feeds.xml?results=1"), w.readFridge)
	for _, want := range []string{`<?xml version="1.0" encoding="UTF-8"?>`, `<id type="integer">`, `<latitude nil="true"/>`, `<description>Blood &lt;bank&gt;</description>`,
		`<created-at type="dateTime">2026-03-02T01:20:00Z</created-at>`, `<last-entry-id type="integer">5</last-entry-id>`, `<feeds type="array">`,
		`<entry-id type="integer">5</entry-id>`, `<field1 nil="true"/>`, `<field2>open &lt;&amp;&gt;</field2>`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	for _, path := range []string{"feeds.xml", "fields/1.xml?results=2", "feeds/last.xml", "fields/1/last.xml", "status.xml", "status/last.xml", "feeds/1.xml", "feeds/last_data_age.xml", "feeds/last_average.xml?results=100", "feeds.xml?average=10&results=20"} {
		body := w.get(200, w.fridgePath(path), w.readFridge)
		if err := xml.Unmarshal([]byte(body), new(struct{})); err != nil {
			t.Errorf("%s: %v in %s", path, err, body)
		}
	}
	if got := w.ok(200, "POST", "/update.xml", "field1=1&api_key="+w.writeFree); !strings.Contains(got, `<channel-id type="integer">`) || !strings.Contains(got, `<status nil="true"/>`) {
		t.Error(got)
	}
	if got := w.ok(401, "POST", "/update.xml", "field1=1"); !strings.Contains(got, "<error-code>error_auth_required</error-code>") {
		t.Error(got)
	}
}

// TestText is what small devices read: a field's value alone, an entry as JSON; -1 and the code of a refusal alone.
func TestText(t *testing.T) {
	w := newWard(t)
	w.week()
	for path, want := range map[string]string{
		"fields/1/last":                                  "8",
		"fields/1/last.txt":                              "8",
		"fields/1/last?headers=false":                    "8",
		"fields/1/last?prepend=%5B&append=]":             "[8]",
		"fields/1/last.txt?round=2":                      "8.00",
		"feeds/last.txt":                                 `{"created_at":"2026-03-02T01:20:00Z","entry_id":5,"field1":null,"field2":"open \u003c\u0026\u003e"}`,
		"feeds/last?prepend=x":                           `x{"created_at":"2026-03-02T01:20:00Z","entry_id":5,"field1":null,"field2":"open \u003c\u0026\u003e"}`,
		"status/last.txt":                                "s3",
		"fields/1/last_average.txt?results=9":            "8",
		"fields/1/last_sum?results=9&sum=240":            "15",
		"fields/1/last_median.txt?results=9&median=1440": "3",
	} {
		if got := w.get(200, w.fridgePath(path), w.readFridge); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for path, want := range map[string]string{"fields/1/last.txt": "-1", "feeds/last": "-1", "feeds.csv": "-1", "feeds.xml": "-1", "feeds.json": "-1"} {
		if got := w.get(400, w.fridgePath(path), w.readAda); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got := w.get(400, w.fridgePath("fields/1/last.txt?round=x"), w.readFridge); got != "error_bad_request" {
		t.Error(got)
	}
	if got := w.get(404, w.fridgePath("fields/7/last.txt"), w.readFridge); got != "error_resource_not_found" {
		t.Error(got)
	}
	w.get(404, w.fridgePath("feeds/77.json"), w.readFridge)
}

func TestDataAge(t *testing.T) {
	w := newWard(t)
	w.ok(200, "POST", "/update", "field1=1&api_key="+w.writeFree+"&created_at="+stamp(time.Now().Add(-2*time.Hour)))
	w.append("oxi-a", time.Now().Add(-2*time.Hour), good(vitals.HeartRate, 72))
	for base, key := range map[string]string{w.fridgePath(""): w.readFridge, fmt.Sprintf("/channels/%d/", w.ada.ID): w.readAda} {
		for _, path := range []string{"feeds/last_data_age.json", "fields/1/last_data_age.json"} {
			var got struct {
				Age   int    `json:"last_data_age,string"`
				Units string `json:"last_data_age_units"`
			}
			if err := json.Unmarshal([]byte(w.get(200, base+path, key)), &got); err != nil || got.Age < 7199 || got.Age > 7800 || got.Units != "s" {
				t.Errorf("%s: %+v %v", path, got, err)
			}
		}
		w.get(404, base+"fields/2/last_data_age.json", key)
	}
	if got := w.get(200, w.fridgePath("feeds/last_data_age.txt"), w.readFridge); len(got) != 4 || got < "7199" {
		t.Error(got)
	}
}

// TestBuckets is each way to sum up, with all lengths: floor-aligned, nulls for empty ones, no entry_id.
func TestBuckets(t *testing.T) {
	w := newWard(t)
	w.week()
	type rows []string
	get := func(query string) (out rows) {
		t.Helper()
		var got struct {
			Feeds []struct {
				Created string `json:"created_at"`
				ID      *int64 `json:"entry_id"`
				Field1  *string
			}
		}
		if err := json.Unmarshal([]byte(w.get(200, w.fridgePath("fields/1.json?start=2026-03-01&end=2026-03-03&"+query), w.readFridge)), &got); err != nil {
			t.Fatal(err)
		}
		for _, f := range got.Feeds {
			v := "null"
			if f.Field1 != nil {
				v = *f.Field1
			}
			if f.ID != nil {
				v += " with an id"
			}
			out = append(out, strings.TrimPrefix(f.Created, "2026-03-0")+" "+v)
		}
		return out
	}
	ten := func(a, b, c string) rows {
		return rows{"2T00:00:00Z " + a, "2T00:10:00Z null", "2T00:20:00Z " + b, "2T00:30:00Z null", "2T00:40:00Z null", "2T00:50:00Z null", "2T01:00:00Z null", "2T01:10:00Z " + c, "2T01:20:00Z null"}
	}
	for query, want := range map[string]rows{
		"average=10":                        ten("1.5", "4", "8"),
		"sum=10":                            ten("3", "4", "8"),
		"median=10":                         ten("1.5", "4", "8"),
		"timescale=10":                      ten("1", "4", "8"),
		"timescale=10&sum=20&average=30":    ten("1", "4", "8"), // timescale > sum > average > median
		"sum=10&average=30&median=60":       ten("3", "4", "8"),
		"average=10&median=60":              ten("1.5", "4", "8"),
		"average=10&round=1":                ten("1.5", "4.0", "8.0"),
		"average=10&results=2":              {"2T01:10:00Z 8", "2T01:20:00Z null"},
		"average=10&min=2":                  ten("2", "4", "8"),
		"average=10&max=2":                  ten("1.5", "null", "null"),
		"sum=15":                            {"2T00:00:00Z 3", "2T00:15:00Z 4", "2T00:30:00Z null", "2T00:45:00Z null", "2T01:00:00Z 8", "2T01:15:00Z null"},
		"sum=20":                            {"2T00:00:00Z 3", "2T00:20:00Z 4", "2T00:40:00Z null", "2T01:00:00Z 8", "2T01:20:00Z null"},
		"sum=30":                            {"2T00:00:00Z 7", "2T00:30:00Z null", "2T01:00:00Z 8"},
		"sum=60":                            {"2T00:00:00Z 7", "2T01:00:00Z 8"},
		"median=60":                         {"2T00:00:00Z 2", "2T01:00:00Z 8"},
		"sum=240":                           {"2T00:00:00Z 15"},
		"sum=720":                           {"2T00:00:00Z 15"},
		"sum=1440":                          {"2T00:00:00Z 15"},
		"sum=daily":                         {"2T00:00:00Z 15"},
		"sum=daily&timezone=Asia/Kathmandu": {"2T00:00:00+05:45 15"},
		"sum=60&timezone=Asia/Kathmandu":    {"2T05:00:00+05:45 3", "2T06:00:00+05:45 12", "2T07:00:00+05:45 null"},
		"sum=daily&offset=-5":               {"1T00:00:00-05:00 15"},
		"sum=240&offset=-5":                 {"1T16:00:00-05:00 7", "1T20:00:00-05:00 8"},
	} {
		if diff := cmp.Diff(want, get(query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	// A year of one-day buckets of a zone with summer time: each day once, none twice.
	for _, at := range []string{"2025-03-01T12:00:00Z", "2025-12-01T12:00:00Z"} {
		w.ok(200, "POST", "/update", "api_key="+w.writeFree+"&field1=1&created_at="+at)
	}
	for _, length := range []string{"daily", "240", "60"} {
		var got struct {
			Feeds []struct {
				Created time.Time `json:"created_at"`
			}
		}
		body := w.get(200, w.fridgePath("fields/1.json?start=2025-01-01&end=2025-12-31&timezone=America/New_York&sum="+length), w.readFridge)
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"daily": 276, "240": 276 * 6, "60": 275*24 + 1}[length]
		if d := len(got.Feeds) - want; d < -6 || d > 6 {
			t.Errorf("%s: %d buckets, want about %d", length, len(got.Feeds), want)
		}
		for i := 1; i < len(got.Feeds); i++ {
			if !got.Feeds[i].Created.After(got.Feeds[i-1].Created) {
				t.Fatalf("%s: bucket %s after %s", length, got.Feeds[i].Created, got.Feeds[i-1].Created)
			}
		}
	}
	if n := len(get("sum=10&results=0")); n != 0 {
		t.Errorf("results=0: %d", n)
	}
}

// TestPatientBuckets: a monitor's values sum up as well; absent and doubtful ones do not count.
func TestPatientBuckets(t *testing.T) {
	w := newWard(t)
	at := time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
	w.append("oxi-a", at, good(vitals.HeartRate, 60), good(vitals.SpO2, 98))
	w.append("oxi-a", at.Add(time.Second), good(vitals.HeartRate, 70), vitals.Checked(vitals.SpO2, 50, vitals.Questionable))
	w.append("oxi-a", at.Add(90*time.Minute), vitals.Absent(vitals.HeartRate, vitals.ProbeOff))
	got := w.get(200, fmt.Sprintf("/channels/%d/feeds.csv?average=60", w.ada.ID), w.readAda)
	want := fmt.Sprintf("%s,65,98,,,,,,\n%s,,,,,,,,\n", at.Format("2006-01-02 15:04:05 UTC"), at.Add(time.Hour).Format("2006-01-02 15:04:05 UTC"))
	if _, rows, _ := strings.Cut(got, "\n"); rows != want {
		t.Errorf("%s, want %s", rows, want)
	}
	if at.Day() != time.Now().UTC().Day() {
		return // in the first two hours of a day the last day has no value yet
	}
	if got := w.get(200, fmt.Sprintf("/channels/%d/fields/1/last_average.txt?average=daily", w.ada.ID), w.readAda); got != "65" {
		t.Error(got)
	}
}

// TestParameters are those that change values or their surroundings.
func TestParameters(t *testing.T) {
	w := newWard(t)
	w.week()
	span := "start=2026-03-01&end=2026-03-03&"
	for query, want := range map[string]string{
		"min=2":                             "null 2 4 8 null",
		"max=2":                             "1 2 null null null",
		"min=2&max=4":                       "null 2 4 null null",
		"round=1":                           "1.0 2.0 4.0 8.0 null",
		"start_entry_id=3":                  "4 8 null",
		"end_entry_id=2":                    "1 2",
		"start_entry_id=2&end_entry_id=3":   "2 4",
		"start_entry_id=2&results=1":        "null",
		"end_entry_id=3&results=1":          "4",
		"start_entry_id=99":                 "",
		"timezone=America/New_York&min=100": "null null null null null",
	} {
		var got struct {
			Feeds []struct{ Field1 *string }
		}
		if err := json.Unmarshal([]byte(w.get(200, w.fridgePath("fields/1.json?"+span+query), w.readFridge)), &got); err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, f := range got.Feeds {
			if f.Field1 == nil {
				values = append(values, "null")
			} else {
				values = append(values, *f.Field1)
			}
		}
		if got := strings.Join(values, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for query, want := range map[string]string{
		"timezone=America/New_York":           `"created_at":"2026-03-01T20:20:00-05:00"`,
		"offset=5.5":                          `"created_at":"2026-03-02T06:50:00+05:30"`,
		"offset=-1&timezone=America/New_York": `"created_at":"2026-03-01T20:20:00-05:00"`, // the name wins
		"timezone=UTC":                        `"created_at":"2026-03-02T01:20:00Z"`,
		"status=true":                         `"status":null`,
		"location=true":                       `"latitude":"1.5","longitude":"-2","elevation":"3"`,
	} {
		if got := w.get(200, w.fridgePath("feeds.json?results=1&"+query), w.readFridge); !strings.Contains(got, want) {
			t.Errorf("%s: no %s in %s", query, want, got)
		}
	}
	// A time without a zone is in the zone that was asked for.
	if got := w.get(200, w.fridgePath("feeds.json?timezone=America/New_York&start=2026-03-01%2019:06:00&end=2026-03-01%2019:08:00"), w.readFridge); strings.Count(got, `"entry_id"`) != 1 || !strings.Contains(got, `"field1":"2"`) {
		t.Error(got)
	}
	w.ok(200, "POST", "/update", "api_key="+w.writeFree+"&field1=16&created_at=2026-01-31+08:15:00&timezone=Europe/Berlin")
	if got := w.get(200, w.fridgePath("feeds.json?end=2026-02-01&results=1"), w.readFridge); !strings.Contains(got, `"created_at":"2026-01-31T07:15:00Z"`) {
		t.Error(got)
	}
	for _, query := range []string{"timescale=0", "average=-10", "median=weekly", "sum=1e1", "min=x", "max=NaN", "min=Inf", "round=-1", "round=99", "offset=15", "offset=NaN", "timezone=../etc/passwd",
		"timezone=/etc/localtime", "timezone=Nowhere/City", "start_entry_id=0", "end_entry_id=x", "start_entry_id=3&end_entry_id=2", "callback=alert(1)", "callback=%3Cscript%3E", "callback=a%0ab"} {
		w.get(400, w.fridgePath("feeds.json?"+query), w.readFridge)
	}
	w.get(413, w.fridgePath("feeds/last.txt?prepend="+strings.Repeat("x", 256)), w.readFridge)
}

// TestCallback: JSONP for what any page may read, never for a patient's channel.
func TestCallback(t *testing.T) {
	w := newWard(t)
	w.week()
	rec := w.do("GET", w.fridgePath("feeds/last.json?callback=my.draw&key="+w.readFridge), "")
	if got := rec.Body.String(); !strings.HasPrefix(got, `/**/my.draw({"created_at"`) || !strings.HasSuffix(got, ")") ||
		!strings.HasPrefix(rec.Header().Get("Content-Type"), "application/javascript") || rec.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v %s", rec.Header(), got)
	}
	w.append("oxi-a", time.Now(), good(vitals.HeartRate, 72))
	if got := w.get(400, fmt.Sprintf("/channels/%d/feeds.json?callback=f", w.ada.ID), w.readAda); strings.Contains(got, "72") {
		t.Error(got)
	}
}

// TestPatientEntries: a monitor's entries by their ids, which are seconds.
func TestPatientEntries(t *testing.T) {
	w := newWard(t)
	s := time.Now().Truncate(time.Second).Add(-time.Minute)
	for i := range 4 {
		w.append("oxi-a", s.Add(time.Duration(i)*time.Second), good(vitals.HeartRate, float64(60+i)))
	}
	base := fmt.Sprintf("/channels/%d/", w.ada.ID)
	if got := w.get(200, fmt.Sprintf("%sfeeds/%d.json", base, s.Unix()+1), w.readAda); !strings.Contains(got, `"field1":"61.0"`) {
		t.Error(got)
	}
	w.get(404, fmt.Sprintf("%sfeeds/%d.json", base, s.Unix()-1), w.readAda)
	w.get(404, base+"feeds/99999999999.json", w.readAda)
	w.get(404, base+"feeds/9223372036854775807.json", w.readAda)
	got := w.get(200, fmt.Sprintf("%sfeeds.csv?start_entry_id=%d&end_entry_id=%d", base, s.Unix()+1, s.Unix()+2), w.readAda)
	if strings.Count(got, "\n") != 3 || !strings.Contains(got, "61.0") || !strings.Contains(got, "62.0") {
		t.Error(got)
	}
	if got := w.get(200, base+"status.json", w.readAda); !strings.HasSuffix(got, `"feeds":[]}`) {
		t.Error(got)
	}
	w.get(404, base+"status/last.json", w.readAda)
}

// TestStream: all of a channel as CSV, one head, oldest first.
func TestStream(t *testing.T) {
	w := newWard(t)
	var updates []string
	for i := range 4500 { // more than two pages
		updates = append(updates, fmt.Sprintf(`{"created_at":"%s","field1":"%d"}`, stamp(time.Unix(1_700_000_000+int64(i), 0)), i))
	}
	body := fmt.Sprintf(`{"write_api_key":"%s","updates":[%s]}`, w.writeFree, strings.Join(updates, ","))
	if rec := w.do("POST", w.fridgePath("bulk_update.json"), body, "Content-Type", "application/json"); rec.Code != 202 {
		t.Fatal(rec.Code, rec.Body)
	}
	got := w.get(200, fmt.Sprintf("/stream/channels/%d/feeds", w.fridge), w.readFridge)
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) != 4501 || lines[0] != "created_at,entry_id,field1,field2" || !strings.HasSuffix(lines[4500], ",4500,4499,") || strings.Count(got, "created_at") != 1 {
		t.Errorf("%d lines, %s to %s", len(lines), lines[0], lines[len(lines)-1])
	}
	if got := w.get(200, fmt.Sprintf("/stream/channels/%d/feeds.csv?start_entry_id=4400&end_entry_id=4401", w.fridge), w.readFridge); strings.Count(got, "\n") != 3 {
		t.Error(got)
	}
	w.append("oxi-a", time.Now().Add(-5*time.Hour), good(vitals.HeartRate, 72))
	w.append("oxi-a", time.Now(), good(vitals.HeartRate, 73))
	got = w.get(200, fmt.Sprintf("/stream/channels/%d/feeds", w.ada.ID), w.readAda)
	if strings.Count(got, "\n") != 3 || !strings.Contains(got, ",72.0,") || !strings.Contains(got, ",73.0,") {
		t.Error(got)
	}
	w.get(400, fmt.Sprintf("/stream/channels/%d/feeds", w.ada.ID), w.readBela)
}
