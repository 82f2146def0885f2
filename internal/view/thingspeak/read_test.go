package thingspeak_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/measurement/vitals"
)

const patientHead = `{"channel":{"id":ID,"name":"NAME","description":"","latitude":null,"longitude":null,"field1":"heart rate bpm","field2":"SpO2 %",
	"field3":"pressure kPa","field4":"systolic mmHg","field5":"diastolic mmHg","field6":"mean mmHg","field7":"respiratory rate /min",
	"field8":"early-warning score","created_at":"MADE","updated_at":"MADE","last_entry_id":E2},"feeds":[`

func TestPatientFeed(t *testing.T) {
	w := newWard(t)
	s := time.Now().Truncate(time.Second).Add(-10 * time.Second)
	old := s.Add(-30 * time.Hour)
	w.append("cuff-a", old, good(vitals.Systolic, 121), good(vitals.Diastolic, 78.04), good(vitals.MeanArterial, 92))
	w.append("oxi-a", s.Add(300*time.Millisecond), good(vitals.HeartRate, 72.46), vitals.Checked(vitals.SpO2, 93, vitals.Questionable))
	w.append("cuff-a", s.Add(900*time.Millisecond), good(vitals.CuffPressure, 1.5), good(vitals.PerfusionIndex, 2))
	w.append("oxi-a", s.Add(1300*time.Millisecond), vitals.Absent(vitals.HeartRate, vitals.ProbeOff), vitals.Absent(vitals.SpO2, vitals.ProbeOff))
	w.append("oxi-a", s.Add(2300*time.Millisecond), good(vitals.DieTemperature, 31)) // no field of the channel
	w.append("oxi-b", s.Add(2300*time.Millisecond), good(vitals.HeartRate, 111))     // another patient

	id := func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
	names := []string{"ID", fmt.Sprint(w.ada.ID), "NAME", w.ada.Name, "MADE", stamp(w.ada.Created), "T0", stamp(old), "E0", id(old),
		"T1", stamp(s), "E1", id(s), "T2", stamp(s.Add(time.Second)), "E2", id(s.Add(time.Second))}
	const (
		nulls   = `"field7":null,"field8":null`
		none    = `,"status":null}`                    // beside an entry that has one
		ask     = `,"status":"patient not confirmed"}` // the cuff was silent for 30 hours
		e0      = `{"created_at":"T0","entry_id":E0,"field1":null,"field2":null,"field3":null,"field4":"121.0","field5":"78.0","field6":"92.0",` + nulls + "}"
		e0n     = `{"created_at":"T0","entry_id":E0,"field1":null,"field2":null,"field3":null,"field4":"121.0","field5":"78.0","field6":"92.0",` + nulls + none
		e1      = `{"created_at":"T1","entry_id":E1,"field1":"72.5","field2":null,"field3":"1.50","field4":null,"field5":null,"field6":null,` + nulls + ask
		e2      = `{"created_at":"T2","entry_id":E2,"field1":null,"field2":null,"field3":null,"field4":null,"field5":null,"field6":null,` + nulls + "}"
		e2n     = `{"created_at":"T2","entry_id":E2,"field1":null,"field2":null,"field3":null,"field4":null,"field5":null,"field6":null,` + nulls + none
		head1   = `{"channel":{"id":ID,"name":"NAME","description":"","latitude":null,"longitude":null,"field1":"heart rate bpm","created_at":"MADE","updated_at":"MADE","last_entry_id":E2},"feeds":[`
		short1  = `{"created_at":"T1","entry_id":E1,"field1":"72.5"` + ask
		short2  = `{"created_at":"T2","entry_id":E2,"field1":null}`
		short2n = `{"created_at":"T2","entry_id":E2,"field1":null` + none
	)
	for path, want := range map[string]string{
		"feeds.json":                     patientHead + e1 + "," + e2n + "]}", // the last 24 hours
		"feed.json":                      patientHead + e1 + "," + e2n + "]}",
		"feeds.json?results=8000":        patientHead + e0n + "," + e1 + "," + e2n + "]}", // however old
		"feeds.json?results=99999999999": patientHead + e0n + "," + e1 + "," + e2n + "]}", // cut to the most
		"feeds.json?results=2":           patientHead + e1 + "," + e2n + "]}",
		"feeds.json?results=1":           patientHead + e2 + "]}",
		"feeds.json?results=0":           patientHead + "]}",
		"feeds.json?days=2":              patientHead + e0n + "," + e1 + "," + e2n + "]}",
		"feeds.json?days=2&results=1":    patientHead + e2 + "]}",
		"feeds.json?minutes=5":           patientHead + e1 + "," + e2n + "]}",
		"feeds.json?minutes=0":           patientHead + "]}",
		"feeds.json?start=T1":            patientHead + e1 + "," + e2n + "]}",
		"feeds.json?start=T2":            patientHead + e2 + "]}",
		"feeds.json?end=T1":              patientHead + e1 + "]}",
		"feeds.json?end=T0":              patientHead + e0 + "]}",
		"feeds.json?start=T0&end=T1":     patientHead + e0n + "," + e1 + "]}",
		"feeds.json?end=T1&results=1":    patientHead + e1 + "]}",
		"fields/1.json":                  head1 + short1 + "," + short2n + "]}",
		"field/1.json?results=1":         head1 + short2 + "]}",
		"feeds/last.json":                e2,
		"feed/last.json":                 e2,
		"fields/1/last.json":             short2, // what the sensor said last: no finger
		"field/1/last.json":              short2,
		"fields/4/last.json":             `{"created_at":"T0","entry_id":E0,"field4":null}`, // of 30 hours ago
	} {
		path = strings.NewReplacer(names...).Replace(path)
		same(t, path, want, w.get(200, fmt.Sprintf("/channels/%d/%s", w.ada.ID, path), w.readAda), names...)
	}
	w.get(404, fmt.Sprintf("/channels/%d/fields/7/last.json", w.ada.ID), w.readAda)

	// Ids do not move when more arrives, early or late.
	w.append("oxi-a", s.Add(-time.Second), good(vitals.HeartRate, 60))
	w.append("oxi-a", s.Add(4*time.Second), good(vitals.HeartRate, 61))
	got := w.get(200, fmt.Sprintf("/channels/%d/feeds.json?start=%s&end=%[2]s", w.ada.ID, stamp(s)), w.readAda)
	if !strings.Contains(got, `"entry_id":`+id(s)+`,"field1":"72.5"`) || !strings.Contains(got, `"last_entry_id":`+id(s.Add(4*time.Second))) {
		t.Errorf("an entry changed: %s", got)
	}
}

// TestPages is a patient with more bundles in a second than expected: whole entries, none lost, none twice.
func TestPages(t *testing.T) {
	w := newWard(t)
	s := time.Now().Truncate(time.Second).Add(-time.Minute)
	const seconds, perSecond = 12, 9
	for i := range seconds {
		for j := range perSecond {
			kind := vitals.SpO2 // at the start of each second only, so that a torn one shows
			if j > 0 {
				kind = vitals.HeartRate
			}
			w.append("oxi-a", s.Add(time.Duration(i)*time.Second+time.Duration(j)*100*time.Millisecond), good(kind, float64(60+i)))
		}
	}
	for results := 1; results <= seconds+1; results++ {
		var got struct {
			Feeds []struct {
				EntryID        int64 `json:"entry_id"`
				Field1, Field2 *string
			}
		}
		body := w.get(200, fmt.Sprintf("/channels/%d/feeds.json?results=%d", w.ada.ID, results), w.readAda)
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		n := min(results, seconds)
		if len(got.Feeds) != n {
			t.Fatalf("results=%d: %d entries", results, len(got.Feeds))
		}
		for i, e := range got.Feeds {
			at := seconds - n + i
			value := fmt.Sprintf("%d.0", 60+at)
			if e.EntryID != s.Unix()+int64(at) || e.Field1 == nil || *e.Field1 != value || e.Field2 == nil || *e.Field2 != value {
				t.Fatalf("results=%d: entry %d is %s", results, i, body)
			}
		}
	}
}

func TestFreeChannel(t *testing.T) {
	w := newWard(t)
	now := time.Now().Truncate(time.Second)
	at := []time.Time{now.Add(-48 * time.Hour), now.Add(-time.Hour), now.Add(-time.Minute)}
	for i, q := range []string{"field1=4.5&field2=open&status=ok&lat=1.5&long=-2&elevation=3", "field1=%22<5>%22", "field3=7"} {
		if rec := w.do("GET", "/update?api_key="+w.writeFree+"&created_at="+stamp(at[i])+"&"+q, ""); rec.Body.String() != fmt.Sprint(i+1) {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
	}
	c, err := w.store.Channel(context.Background(), w.fridge)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"ID", fmt.Sprint(w.fridge), "MADE", stamp(c.Created), "T1", stamp(at[0]), "T2", stamp(at[1]), "T3", stamp(at[2])}
	const (
		head  = `{"channel":{"id":ID,"name":"Fridge","description":"Blood <bank>","latitude":null,"longitude":null,`
		tail  = `"created_at":"MADE","updated_at":"MADE","last_entry_id":3},"feeds":[`
		both  = head + `"field1":"temperature","field2":"door",` + tail
		e1    = `{"created_at":"T1","entry_id":1,"field1":"4.5","field2":"open"}`
		e2    = `{"created_at":"T2","entry_id":2,"field1":"\"<5>\"","field2":null}`
		e3    = `{"created_at":"T3","entry_id":3,"field1":null,"field2":null}`
		third = `{"created_at":"T3","entry_id":3,"field3":"7"}`
	)
	for path, want := range map[string]string{
		"feeds.json":                    both + e2 + "," + e3 + "]}",
		"feeds.json?results=3":          both + e1 + "," + e2 + "," + e3 + "]}",
		"feeds.json?start=T1&end=T1":    both + e1 + "]}",
		"fields/2.json?results=1":       head + `"field2":"door",` + tail + `{"created_at":"T3","entry_id":3,"field2":null}]}`,
		"fields/3.json?results=1":       head + tail + third + "]}", // a field without a name
		"feeds/last.json":               e3,
		"fields/3/last.json":            third,
		"fields/2/last.json":            `{"created_at":"T1","entry_id":1,"field2":"open"}`,
		"feeds.json?results=1&end=T1":   both + e1 + "]}",
		"feeds/last.json?status=true":   `{"created_at":"T3","entry_id":3,"field1":null,"field2":null,"status":null}`,
		"fields/2/last.json?headers=no": `{"created_at":"T1","entry_id":1,"field2":"open"}`,
		"fields/2/last.json?location=true&status=true": `{"created_at":"T1","entry_id":1,"field2":"open","latitude":"1.5",
			"longitude":"-2","elevation":"3","status":"ok"}`,
	} {
		path = strings.NewReplacer(names...).Replace(path)
		same(t, path, want, w.get(200, fmt.Sprintf("/channels/%d/%s", w.fridge, path), w.readFridge), names...)
	}
}

func TestEmptyChannel(t *testing.T) {
	w := newWard(t)
	for id, key := range map[int64]string{w.fridge: w.readFridge, w.ada.ID: w.readAda} {
		if got := w.get(200, fmt.Sprintf("/channels/%d/feeds.json", id), key); !strings.HasSuffix(got, `"last_entry_id":null},"feeds":[]}`) {
			t.Error(got)
		}
		w.get(404, fmt.Sprintf("/channels/%d/feeds/last.json", id), key)
	}
}

// TestWhoMayRead is every key at every channel. A refusal says nothing and is in the audit log.
func TestWhoMayRead(t *testing.T) {
	w := newWard(t)
	w.append("oxi-a", time.Now(), good(vitals.HeartRate, 72))
	w.append("oxi-b", time.Now(), good(vitals.HeartRate, 72))
	const unknown = 999
	channels := []int64{w.ada.ID, w.bela.ID, w.fridge, unknown}
	for name, c := range map[string]struct {
		key   string
		reads int64
	}{"nurse's for Ada": {w.readAda, w.ada.ID}, "nurse's for another ward": {w.readBela, 0}, "fridge": {w.readFridge, w.fridge},
		"write key": {w.writeFree, 0}, "write key of a patient's channel": {w.writeAda, 0}, "Ada's own": {w.patientKey, w.ada.ID}} {
		for _, id := range channels {
			status := 400
			if id == c.reads {
				status = 200
			}
			for _, path := range []string{"feeds.json", "fields/1.json", "feeds/last.json", "fields/1/last.json"} {
				want := status
				if id == w.fridge && status == 200 && strings.HasSuffix(path, "last.json") {
					want = 404 // empty
				}
				before := w.refusals(access.ViewChannel, access.OnChannel(id))
				got := w.get(want, fmt.Sprintf("/channels/%d/%s", id, path), c.key)
				if want != 400 {
					continue
				}
				if got != "-1" {
					t.Errorf("%s: refused with %s", name, got)
				}
				if after := w.refusals(access.ViewChannel, access.OnChannel(id)); c.key != w.patientKey && after != before+1 && before < 10 { // after ten of the same, the log counts them
					t.Errorf("%s: a refused read left %d audit entries", name, after-before)
				}
			}
		}
	}
	// Taken off the ward, the nurse loses the channel with the next request.
	path := fmt.Sprintf("/channels/%d/feeds.json", w.ada.ID)
	w.get(200, path, w.readAda)
	if err := w.store.SetWards(context.Background(), w.nurse, nil); err != nil {
		t.Fatal(err)
	}
	w.get(400, path, w.readAda)
	if err := w.store.SetPersonDisabled(context.Background(), w.nurse, true); err != nil {
		t.Fatal(err)
	}
	w.get(400, path, w.readAda)
}

func TestReadIsAudited(t *testing.T) {
	w := newWard(t)
	w.get(200, fmt.Sprintf("/channels/%d/feeds.json", w.ada.ID), w.readAda)
	all, err := w.trail.Recent(context.Background(), 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if !e.Allowed || e.Person != w.nurse || e.Patient != w.ada.Patient || e.Workstation != station || !strings.Contains(e.Reason, "key") {
			t.Errorf("%+v", e)
		}
	}
	if len(all) != 2 {
		t.Errorf("%d entries", len(all))
	}
}
