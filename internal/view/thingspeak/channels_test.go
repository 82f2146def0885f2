package thingspeak_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
)

// made is what the creation of a channel answers.
type made struct {
	ID     int64
	Name   string
	Field1 string
	Public bool `json:"public_flag"`
	Tags   []struct{ Name string }
	Keys   []struct {
		Key   string `json:"api_key"`
		Write bool   `json:"write_flag"`
	} `json:"api_keys"`
	Username string
}

func decode[T any](t testing.TB, s string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return v
}

func (w *ward) make(settings string) made {
	w.t.Helper()
	return decode[made](w.t, w.ok(200, "POST", "/channels.json", "api_key="+w.account+"&"+settings))
}

// TestChannels is the life of a channel by account key, with the keys that were shown at its creation.
func TestChannels(t *testing.T) {
	w := newWard(t)
	c := w.make("name=Greenhouse&description=d&field1=temp&latitude=50.1&longitude=8.6&elevation=100&metadata=%7B%22a%22:1%7D&tags=air,water&url=http://x/&public_flag=false")
	if c.Name != "Greenhouse" || c.Field1 != "temp" || c.Public || len(c.Tags) != 2 || len(c.Keys) != 2 || !c.Keys[0].Write || c.Keys[1].Write {
		t.Fatalf("%+v", c)
	}
	write, read, path := c.Keys[0].Key, c.Keys[1].Key, fmt.Sprintf("/channels/%d", c.ID)
	w.ok(200, "POST", "/update", "field1=20&api_key="+write)
	if got := w.get(200, path+"/feeds.json?metadata=true&location=true", read); !strings.Contains(got, `"metadata":"{\"a\":1}"`) || !strings.Contains(got, `"latitude":"50.1","longitude":"8.6","elevation":"100"`) || !strings.Contains(got, `"field1":"20"`) {
		t.Error(got)
	}
	w.get(400, path+"/feeds.json", write)

	list := w.get(200, "/channels.json", w.account)
	if all := decode[[]made](t, list); len(all) != 1 || all[0].ID != c.ID || len(all[0].Keys) != 0 || strings.Contains(list, read) {
		t.Error("the list has what it should not have, or not:", list)
	}
	if all := decode[[]made](t, w.get(200, "/channels.json", w.adminAccount)); len(all) != 1 || all[0].ID != w.fridge {
		t.Error("an administrator's list:", all)
	}
	for _, key := range []string{w.account, read} {
		if got := decode[made](t, w.get(200, path+".json", key)); got.Name != "Greenhouse" {
			t.Error(got)
		}
	}
	got := decode[made](t, w.ok(200, "PUT", path+".json", "api_key="+w.account+"&name=House&field1=&field2=hum"))
	if got.Name != "House" || got.Field1 != "" || len(got.Tags) != 2 {
		t.Errorf("what is not given stays: %+v", got)
	}
	more := decode[struct {
		Key string `json:"api_key"`
	}](t, w.ok(200, "POST", path+"/api_keys.json", "write_flag=false&api_key="+w.account))
	w.get(200, path+"/feeds.json", more.Key)

	if got := w.ok(200, "DELETE", path+"/feeds.json?api_key="+w.account, ""); got != "[]" {
		t.Error(got)
	}
	if got := w.get(200, path+"/feeds.json", read); !strings.HasSuffix(got, `"feeds":[]}`) {
		t.Error("not cleared:", got)
	}
	if got := w.ok(200, "POST", "/update", "field1=20&api_key="+write); got != "2" {
		t.Error("an id was used again:", got)
	}
	if got := decode[made](t, w.ok(200, "DELETE", path+".json?api_key="+w.account, "")); got.ID != c.ID {
		t.Error(got)
	}
	w.get(400, path+"/feeds.json", read)
	w.ok(400, "POST", "/update", "field1=20&api_key="+write)
	w.get(403, path+".json", w.account)
	if next := w.make("name=next"); next.ID <= c.ID {
		t.Error("a channel's id was used again")
	}
}

// TestAccountKey: it manages free channels of its owner, and is good for nothing else.
func TestAccountKey(t *testing.T) {
	w := newWard(t)
	w.append("oxi-a", time.Now(), good(vitals.HeartRate, 72))
	mine := w.make("name=mine")
	for name, c := range map[string]struct {
		status       int
		method, path string
		key          string
	}{
		"a patient's values":             {400, "GET", fmt.Sprintf("/channels/%d/feeds.json", w.ada.ID), w.account},
		"a patient's channel":            {403, "GET", fmt.Sprintf("/channels/%d.json", w.ada.ID), w.account},
		"a patient's settings":           {403, "PUT", fmt.Sprintf("/channels/%d.json", w.ada.ID), w.account},
		"a patient's settings, admin":    {403, "PUT", fmt.Sprintf("/channels/%d.json", w.ada.ID), w.adminAccount},
		"publish a patient, admin":       {403, "PUT", fmt.Sprintf("/channels/%d.json?public_flag=true", w.ada.ID), w.adminAccount},
		"clear a patient, admin":         {403, "DELETE", fmt.Sprintf("/channels/%d/feeds.json", w.ada.ID), w.adminAccount},
		"delete a patient, admin":        {403, "DELETE", fmt.Sprintf("/channels/%d.json", w.ada.ID), w.adminAccount},
		"keys of a patient, admin":       {403, "POST", fmt.Sprintf("/channels/%d/api_keys.json", w.ada.ID), w.adminAccount},
		"write":                          {400, "GET", "/update?field1=1", w.account},
		"an administrator's settings":    {403, "PUT", w.fridgePath("")[:len(w.fridgePath(""))-1] + ".json", w.account},
		"an administrator's, by another": {200, "PUT", w.fridgePath("")[:len(w.fridgePath(""))-1] + ".json", w.adminAccount},
		"a nurse's, by an administrator": {200, "PUT", fmt.Sprintf("/channels/%d.json", mine.ID), w.adminAccount},
		"unknown channel":                {403, "PUT", "/channels/999.json", w.account},
		"list with a read key":           {401, "GET", "/channels.json", w.readFridge},
		"list with no key":               {401, "GET", "/channels.json", ""},
		"make with a write key":          {401, "POST", "/channels.json", w.writeFree},
		"change with a read key":         {401, "PUT", fmt.Sprintf("/channels/%d.json", mine.ID), mine.Keys[1].Key},
		"delete with a write key":        {401, "DELETE", fmt.Sprintf("/channels/%d.json", mine.ID), mine.Keys[0].Key},
		"view without a key":             {401, "GET", fmt.Sprintf("/channels/%d.json", mine.ID), ""},
		"bad latitude":                   {400, "PUT", fmt.Sprintf("/channels/%d.json?latitude=91", mine.ID), w.account},
		"bad public_flag":                {400, "PUT", fmt.Sprintf("/channels/%d.json?public_flag=maybe", mine.ID), w.account},
		"long name":                      {400, "PUT", fmt.Sprintf("/channels/%d.json?name=%s", mine.ID, strings.Repeat("x", 201)), w.account},
	} {
		if rec := w.do(c.method, c.path, "", "THINGSPEAKAPIKEY", c.key); rec.Code != c.status {
			t.Errorf("%s: %d %s, want %d", name, rec.Code, rec.Body, c.status)
		}
	}
	ada, err := w.store.Channel(context.Background(), w.ada.ID)
	if err != nil || ada.Public || ada.Name != w.ada.Name {
		t.Errorf("%+v %v", ada, err)
	}
	// Neither does the store, whatever grant it is shown.
	if _, err := w.store.ChangeChannel(context.Background(), access.Grant{}, channel.Channel{ID: mine.ID, Name: "x"}); err == nil {
		t.Error("changed without a grant")
	}
	if err := w.store.DeleteChannel(context.Background(), w.grant, w.ada.ID); err == nil {
		t.Error("deleted a patient's channel")
	}
}

// TestPublic: a public channel needs no key, but a workstation; and can be taken back.
func TestPublic(t *testing.T) {
	w := newWard(t)
	c := w.make("name=Weather&field1=temp&public_flag=true&tags=Rain,sun&latitude=50&longitude=8")
	w.ok(200, "POST", "/update", "field1=20&api_key="+c.Keys[0].Key)
	path := fmt.Sprintf("/channels/%d", c.ID)
	for name, key := range map[string]string{"none": "", "wrong": "AAAAAAAAAAAAAAAA", "another channel's": w.readAda, "a write key": c.Keys[0].Key, "its own": c.Keys[1].Key, "the account's": w.account} {
		if rec := w.do("GET", path+"/feeds/last.json", "", "THINGSPEAKAPIKEY", key); rec.Code != 200 {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	w.ok(200, "GET", path+".json", "")
	w.ok(200, "GET", path+"/charts/1", "")
	w.ok(200, "GET", "/stream"+path+"/feeds", "")
	w.ok(400, "POST", "/update", "field1=20&channel="+fmt.Sprint(c.ID))
	all, err := w.trail.Recent(context.Background(), 200)
	if err != nil {
		t.Fatal(err)
	}
	seen, made := false, false
	for _, e := range all {
		seen = seen || e.Person == "anonymous" && e.Action == "channel:read" && e.Allowed && e.Workstation == station
		made = made || e.Person == w.nurse && strings.Contains(e.Reason, "created, public")
	}
	if !seen || !made {
		t.Error("a reading without a key, or the making of a public channel, is not in the audit log")
	}
	w.at = ""
	w.ok(400, "GET", path+"/feeds.json", "")
	w.ok(403, "GET", "/channels/public.json", "")
	w.at = station
	w.ok(200, "PUT", path+".json", "public_flag=false&api_key="+w.account)
	w.ok(400, "GET", path+"/feeds.json", "")
	w.get(200, path+"/feeds.json", c.Keys[1].Key)
}

// TestPatientChannelsAreNeverPublic: not by the face, not by the store, not by the database itself.
func TestPatientChannelsAreNeverPublic(t *testing.T) {
	w := newWard(t)
	w.append("oxi-a", time.Now(), good(vitals.HeartRate, 72))
	if got := w.ok(400, "GET", fmt.Sprintf("/channels/%d/feeds.json", w.ada.ID), ""); got != "-1" {
		t.Error(got)
	}
	if _, err := w.engine.Decide(context.Background(), access.Subject{Workstation: station, Anonymous: true}, access.ViewChannel, access.OnChannel(w.ada.ID)); err == nil {
		t.Error("anybody may read a patient's channel")
	}
	if _, err := w.store.CreateChannel(context.Background(), channel.Channel{Name: "x", Patient: w.ada.Patient, Public: true}); err == nil {
		t.Error("a public channel of a patient was made")
	}
	if got := w.ok(200, "GET", "/channels/public.json", ""); !strings.Contains(got, `"total_entries":0`) {
		t.Error(got)
	}
}

func TestPublicList(t *testing.T) {
	w := newWard(t)
	for i := range 17 {
		w.make(fmt.Sprintf("name=c%d&public_flag=true&tags=t%d,all&latitude=%d&longitude=8", i, i%2, i))
	}
	w.make("name=hidden&tags=all")
	type page struct {
		Pagination struct {
			Page  int `json:"current_page"`
			Per   int `json:"per_page"`
			Total int `json:"total_entries"`
		}
		Channels []made
	}
	for query, want := range map[string][2]int{ // in all, on this page
		"": {17, 15}, "page=1": {17, 15}, "page=2": {17, 2}, "page=3": {17, 0}, "page=999999999999999999999": {17, 0}, "tag=T1": {8, 8}, "tag=none": {0, 0}, "username=nurse": {17, 15},
		"username=ada": {0, 0}, "latitude=0&longitude=8&distance=112": {2, 2}, "latitude=-80&longitude=8&distance=1": {0, 0},
	} {
		got := decode[page](t, w.ok(200, "GET", "/channels/public.json?"+query, ""))
		if got.Pagination.Total != want[0] || len(got.Channels) != want[1] || got.Pagination.Per != 15 {
			t.Errorf("%s: %+v, %d channels", query, got.Pagination, len(got.Channels))
		}
		for _, c := range got.Channels {
			if c.Name == "hidden" || c.Username != "nurse" || len(c.Keys) != 0 {
				t.Errorf("%s: %+v", query, c)
			}
		}
	}
	if got := decode[page](t, w.ok(200, "GET", "/users/nurse/channels.json", "")); got.Pagination.Total != 17 {
		t.Errorf("%+v", got.Pagination)
	}
	if got := decode[page](t, w.ok(200, "GET", "/users/nobody/channels", "")); got.Pagination.Total != 0 {
		t.Errorf("%+v", got.Pagination)
	}
	for _, query := range []string{"page=x", "latitude=1", "latitude=1&longitude=2&distance=0", "latitude=NaN&longitude=2&distance=1"} {
		w.ok(400, "GET", "/channels/public.json?"+query, "")
	}
}

// TestTalkBack is the life of a queue, in JSON and in text.
func TestTalkBack(t *testing.T) {
	w := newWard(t)
	tb := decode[struct {
		ID  int64
		Key string `json:"api_key"`
	}](t, w.ok(200, "POST", "/talkbacks.json", "name=Doors&api_key="+w.account))
	base, key := fmt.Sprintf("/talkbacks/%d/commands", tb.ID), "api_key="+tb.Key
	queue := func() (texts string) {
		t.Helper()
		for i, c := range decode[[]struct {
			Text     string `json:"command_string"`
			Position int
		}](t, w.ok(200, "GET", base+".json?"+key, "")) {
			texts += c.Text
			if c.Position != i+1 {
				t.Errorf("%s is at %d", c.Text, c.Position)
			}
		}
		return texts
	}
	if got := w.ok(200, "GET", base+"/execute?"+key, ""); got != "" {
		t.Error(got)
	}
	if got := w.ok(200, "GET", base+"/execute.json?"+key, ""); got != "{}" {
		t.Error(got)
	}
	w.ok(404, "GET", base+"/last.json?"+key, "")
	for i, c := range []string{"a", "b", "c", "d&position=2", "e&position=99"} {
		if got := w.ok(200, "POST", base, key+"&command_string="+c); got != fmt.Sprint(i+1) {
			t.Error(got)
		}
	}
	if got := queue(); got != "adbce" {
		t.Error(got)
	}
	if got := w.ok(200, "PUT", base+"/1.json", key+"&command_string=A&position=3"); !strings.Contains(got, `"command_string":"A","position":3,"executed_at":null,"created_at":"`) || queue() != "dbAce" {
		t.Error(got, queue())
	}
	w.ok(200, "PUT", base+"/3", key+"&position=1")
	if got := w.ok(200, "GET", base+"/3?"+key, ""); got != "c" || queue() != "cdbAe" {
		t.Error(got, queue())
	}
	if got := w.ok(200, "DELETE", base+"/2?"+key, ""); got != "b" || queue() != "cdAe" {
		t.Error(got, queue())
	}
	if got := w.ok(200, "POST", base+"/execute.json", key); !strings.Contains(got, `"id":3,"command_string":"c","position":null,"executed_at":"2`) {
		t.Error(got)
	}
	if got := w.ok(200, "GET", base+"/execute?"+key, ""); got != "d" || queue() != "Ae" {
		t.Error(got, queue())
	}
	if got := w.ok(200, "GET", base+"/last?"+key, ""); got != "d" {
		t.Error(got)
	}
	if got := w.ok(200, "GET", base+".xml?"+key, ""); !strings.Contains(got, `<commands type="array">`) || !strings.Contains(got, "<command-string>A</command-string>") || !strings.Contains(got, `<executed-at nil="true"/>`) {
		t.Error(got)
	}
	if got := w.ok(200, "POST", base+"/execute.xml", key); !strings.Contains(got, `<command-string>A</command-string>`) {
		t.Error(got)
	}

	// An update fetches the next command.
	update := "/update?field1=1&api_key=" + w.writeFree + "&talkback_key=" + tb.Key
	if got := w.ok(200, "GET", update, ""); got != "e" {
		t.Error(got)
	}
	if got := w.ok(200, "GET", update, ""); got != "" {
		t.Error(got)
	}
	if got := w.ok(200, "GET", strings.Replace(update, "update", "update.json", 1), ""); got != "{}" {
		t.Error(got)
	}
	if got := w.ok(400, "GET", strings.Replace(update, tb.Key, w.readFridge, 1), ""); got != "0" {
		t.Error(got)
	}
	if c, err := w.store.Channel(context.Background(), w.fridge); err != nil || c.LastEntryID != 3 {
		t.Errorf("%d updates were stored, %v", c.LastEntryID, err)
	}

	w.ok(200, "POST", base+".json", key+"&command_string="+url.QueryEscape("<x> & \"y\""))
	if got := w.ok(200, "DELETE", base+".json?"+key, ""); got != "[]" || queue() != "" {
		t.Error(got, queue())
	}
	for name, c := range map[string]struct {
		status       int
		method, path string
	}{
		"no key":              {401, "GET", base + ".json"},
		"another kind of key": {403, "GET", base + ".json?api_key=" + w.readFridge},
		"a patient's key":     {403, "GET", base + ".json?api_key=" + w.patientKey},
		"another's account":   {403, "GET", base + ".json?api_key=" + w.adminAccount},
		"another queue":       {403, "GET", "/talkbacks/99/commands.json?" + key},
		"queue 0":             {404, "GET", "/talkbacks/0/commands.json?" + key},
		"no text":             {400, "POST", base + ".json?" + key},
		"long":                {413, "POST", base + ".json?" + key + "&command_string=" + strings.Repeat("x", 256)},
		"not UTF-8":           {400, "POST", base + ".json?" + key + "&command_string=%ff"},
		"position":            {400, "POST", base + ".json?" + key + "&command_string=x&position=0"},
		"no such command":     {404, "GET", base + "/99.json?" + key},
		"executed long ago":   {404, "PUT", base + "/3.json?" + key + "&command_string=x"},
		"a channel":           {400, "GET", w.fridgePath("feeds.json?") + key},
		"an update":           {400, "GET", "/update?field1=1&" + key},
		"an account's list":   {401, "GET", "/channels.json?" + key},
		"a queue of its own":  {401, "POST", "/talkbacks.json?" + key},
	} {
		if rec := w.do(c.method, c.path, ""); rec.Code != c.status {
			t.Errorf("%s: %d %s, want %d", name, rec.Code, rec.Body, c.status)
		}
	}
	w.ok(200, "DELETE", fmt.Sprintf("/talkbacks/%d.json?api_key=%s", tb.ID, w.account), "")
	w.ok(401, "GET", base+".json?"+key, "")
}

// TestCharts: a page that draws by itself, loads nothing, and escapes what it is given.
func TestCharts(t *testing.T) {
	w := newWard(t)
	w.week()
	w.append("oxi-a", time.Now(), good(vitals.HeartRate, 72))
	evil := url.QueryEscape(`</title><script>alert(1)</script>"'`)
	rec := w.do("GET", w.fridgePath("charts/1?results=10&title="+evil+"&xaxis="+evil+"&yaxis="+evil+"&key="+w.readFridge), "")
	policy, body := rec.Header().Get("Content-Security-Policy"), rec.Body.String()
	if rec.Code != 200 || !strings.HasPrefix(policy, "default-src 'none'; style-src 'nonce-") || !strings.Contains(policy, "frame-ancestors 'self'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
		t.Errorf("%d %s", rec.Code, policy)
	}
	for _, never := range []string{"<script", "http-equiv", "href", "src=", "@import", "url("} {
		if strings.Contains(body, never) {
			t.Errorf("%s in %s", never, body)
		}
	}
	if !strings.Contains(body, `<svg xmlns="http://www.w3.org/2000/svg" width="450" height="250"`) || strings.Count(body, "L") < 3 {
		t.Error(body)
	}
	for query, want := range map[string]string{
		"color=00ff00": `stroke="#00ff00"`, "color=%2300ff00": `stroke="#00ff00"`, "color=red": `stroke="red"`, "bgcolor=%23abc": "background:#abc", "type=column": "<rect ", "type=bar": "<rect ",
		"type=spline": "C", "type=step": "V", "step=true": "V", "width=600&height=400": `width="600" height="400"`, "width=auto": `width="450"`, "dynamic=true": `<meta http-equiv="refresh" content="15">`,
		"export=true": fmt.Sprintf(`href="/channels/%d/fields/1.csv?`, w.fridge), "yaxismin=-5&yaxismax=95": ">-5</text>", "xaxis=when": ">when</text>", "yaxis=how": ">how</text>",
		"title=T": "<title>T</title>", "average=60": "<path", "min=100": "no values",
	} {
		if got := w.get(200, w.fridgePath("charts/1?results=10&"+query), w.readFridge); !strings.Contains(got, want) {
			t.Errorf("%s: no %s in %s", query, want, got)
		}
	}
	for _, query := range []string{"color=red;x", "bgcolor=url(x)", "color=%23ff", "type=pie", "width=99", "height=1e9", "yaxismin=x", "yaxismin=5&yaxismax=5"} {
		w.get(400, w.fridgePath("charts/1?"+query), w.readFridge)
	}
	w.get(404, w.fridgePath("charts/9"), w.readFridge)
	w.get(400, w.fridgePath("charts/1"), w.readBela)
	if got := w.get(200, fmt.Sprintf("/channels/%d/charts/1", w.ada.ID), w.readAda); !strings.Contains(got, ">heart rate bpm</text>") {
		t.Error(got)
	}
	c := w.make("name=Open&field1=x&public_flag=true")
	if rec := w.do("GET", fmt.Sprintf("/channels/%d/charts/1", c.ID), ""); !strings.HasSuffix(rec.Header().Get("Content-Security-Policy"), "frame-ancestors *") {
		t.Error(rec.Header())
	}
}
