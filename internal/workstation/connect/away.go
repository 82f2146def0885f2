package connect

import (
	"context"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"strings"
	"time"
)

// awayText is what programs get while the hub is away, the command line among them: they have no
// page and show no numbers.
const awayText = "the hub cannot be reached from this workstation"

// away asks for itself again every few seconds, without a script: a wall screen or a page that is
// opened while the hub is away must come up by itself, and the front end that would ask again is at
// the hub.
//
//go:embed away.html
var awayHTML string

var awayPage = template.Must(template.New("away").Parse(awayHTML))

// awaySays is what the page says in one language. Its sentences are those of the front end
// (web/src/words-absent.ts): one state has one text.
type awaySays struct{ Lang, Title, What, Bedside, Todo, Again string }

// absence is what this workstation knows of a hub that it does not reach.
type absence struct {
	heard time.Time // when it last heard a hub; zero: not since it started
	began time.Time // when it started
	now   time.Time
}

// at is a time for people at this workstation, with its day unless that is today.
func (a absence) at(t time.Time) string {
	t, now := t.Local(), a.now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// says is what the page says, in the language first that the browser prefers.
func (a absence) says(languages string) []awaySays {
	en := awaySays{Lang: "en", Title: "Hub not reached", What: "The hub is not reached since " + a.at(a.heard) + ".",
		Bedside: "No number here is live. That says nothing about the patients. Look at the bedside.",
		Todo:    "If this lasts for more than a minute, check the network of this workstation, and tell those who run the hub.",
		Again:   "This page tries again by itself."}
	de := awaySays{Lang: "de", Title: "Hub nicht erreichbar", What: "Der Hub ist seit " + a.at(a.heard) + " nicht erreichbar.",
		Bedside: "Kein Wert hier ist aktuell. Das sagt nichts über die Patienten. Sehen Sie am Bett nach.",
		Todo:    "Dauert es länger als eine Minute: das Netzwerk dieses Arbeitsplatzes prüfen und den Verantwortlichen des Hubs Bescheid geben.",
		Again:   "Diese Seite versucht es von selbst wieder."}
	if a.heard.IsZero() {
		en.What = "The hub is not reached. It has not been since this workstation's program (vitalseal connect) started at " + a.at(a.began) + "."
		de.What = "Der Hub ist nicht erreichbar. Er war es nicht, seit das Programm dieses Arbeitsplatzes (vitalseal connect) um " + a.at(a.began) + " gestartet wurde."
	}
	for want := range strings.SplitSeq(languages, ",") {
		switch want = strings.ToLower(strings.TrimSpace(want)); {
		case strings.HasPrefix(want, "de"):
			return []awaySays{de, en}
		case strings.HasPrefix(want, "en"):
			return []awaySays{en, de}
		}
	}
	return []awaySays{en, de}
}

// pageTimeout bounds how long a browser that opens a page stands before a blank screen: the front
// end's files are small.
const pageTimeout = 8 * time.Second

// opensPage reports whether a person's browser opens or reloads a page, in contrast to what the
// page's own script asks.
func opensPage(r *http.Request) bool {
	return r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/api/") && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// fromBrowser reports whether a browser asks, for a page or for the page's script: each that is
// current says how it fetches.
func fromBrowser(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") != "" || strings.Contains(r.Header.Get("Accept"), "text/html")
}

// pages gives a page pageTimeout: a hub that is frozen looks like one that is away.
func pages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if opensPage(r) {
			ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

// away answers while the hub is away: a page that tries again to a browser that opens a page; JSON
// to the front end, which learns when the hub was last heard; text to others.
func away(w http.ResponseWriter, r *http.Request, a absence) {
	if !opensPage(r) {
		if !fromBrowser(r) {
			answer(w, r, http.StatusBadGateway, awayText)
			return
		}
		said := struct {
			Error string     `json:"error"`
			Heard *time.Time `json:"hub_heard"` // null: not since this workstation's program started
		}{Error: a.says("")[0].What + " No number here is live. Look at the bedside."}
		if !a.heard.IsZero() {
			heard := a.heard.UTC()
			said.Heard = &heard
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadGateway)
		_ = json.NewEncoder(w).Encode(said) // the browser has gone: it asks again
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusBadGateway)
	_ = awayPage.Execute(w, struct{ Says []awaySays }{a.says(r.Header.Get("Accept-Language"))}) // as above
}
