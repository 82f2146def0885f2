package connect

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	launchPath   = "/launch"
	launchHeader = "X-Vitalseal-Launch"
	maxTickets   = 16 // links not used yet
	maxBrowsers  = 64
	ticketLife   = 10 * time.Minute
	browserLife  = 30 * 24 * time.Hour
	maxSecret    = 128
)

// launches knows who has been let in: programs by the secret in connect.json, browsers by a cookie
// that a link gives once. All of it ends with the process. Secrets are kept as hashes and looked up
// as such, so that the time taken tells nothing. It is safe for concurrent use; a nil one lets
// every client in.
type launches struct {
	secret string
	hash   [sha256.Size]byte // of secret
	cookie string            // its name; with the port, because browsers share cookies between ports

	mu       sync.Mutex // guards the maps: when each ends
	tickets  map[[sha256.Size]byte]time.Time
	browsers map[[sha256.Size]byte]time.Time
}

func newLaunches(port string) *launches {
	secret := rand.Text()
	return &launches{secret: secret, hash: sha256.Sum256([]byte(secret)), cookie: "__Host-vitalseal_launch_" + port,
		tickets: map[[sha256.Size]byte]time.Time{}, browsers: map[[sha256.Size]byte]time.Time{}}
}

// ticket makes a link's secret.
func (l *launches) ticket() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return remember(l.tickets, maxTickets, ticketLife)
}

// redeem uses up a link's secret for a browser's cookie.
func (l *launches) redeem(ticket string) (cookie string, ok bool) {
	hash := sha256.Sum256([]byte(ticket))
	l.mu.Lock()
	defer l.mu.Unlock()
	end, ok := l.tickets[hash]
	delete(l.tickets, hash)
	if !ok || time.Now().After(end) {
		return "", false
	}
	return remember(l.browsers, maxBrowsers, browserLife), true
}

// remember makes a secret and keeps its hash, in the place of the oldest if there are too many.
func remember(m map[[sha256.Size]byte]time.Time, most int, life time.Duration) string {
	for len(m) >= most {
		var oldest [sha256.Size]byte
		end := time.Time{}
		for h, t := range m {
			if end.IsZero() || t.Before(end) {
				oldest, end = h, t
			}
		}
		delete(m, oldest)
	}
	secret := rand.Text()
	m[sha256.Sum256([]byte(secret))] = time.Now().Add(life)
	return secret
}

// program reports whether a request comes from a program that could read connect.json.
func (l *launches) program(r *http.Request) bool {
	given := r.Header.Get(launchHeader)
	hash := sha256.Sum256([]byte(given[:min(len(given), maxSecret)]))
	return subtle.ConstantTimeCompare(hash[:], l.hash[:]) == 1
}

// browser reports whether a request comes from a browser that was let in.
func (l *launches) browser(r *http.Request) bool {
	cookie, err := r.Cookie(l.cookie)
	if err != nil || len(cookie.Value) > maxSecret {
		return false
	}
	hash := sha256.Sum256([]byte(cookie.Value))
	l.mu.Lock()
	defer l.mu.Unlock()
	end, ok := l.browsers[hash]
	return ok && time.Now().Before(end)
}

// strip takes out of a request to the hub what is none of its business.
func (l *launches) strip(r *http.Request) {
	r.Header.Del(launchHeader)
	cookies := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range cookies {
		if (l == nil || c.Name != l.cookie) && c.Name != seenCookie {
			r.AddCookie(c)
		}
	}
}

// launched lets in who has been launched, and serves the launching.
func (d *Door) launched(next http.Handler) http.Handler {
	l := d.launches
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == launchPath && r.Method == http.MethodGet:
			d.launch(w, r)
		case r.URL.Path == launchPath && r.Method == http.MethodPost && l.program(r):
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(map[string]string{"url": d.LaunchURL()})
		//defence:launch-secret only programs and browsers with the launch secret are answered
		case !l.program(r) && !l.browser(r):
			answer(w, r, http.StatusForbidden, "Only the user who started vitalseal connect is let in. Open the link that it printed; it works once. A new one: vitalseal connect launch.")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// launch lets a browser in.
func (d *Door) launch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	ticket := r.URL.Query().Get("once")
	if ticket == "" || len(ticket) > maxSecret {
		answer(w, r, http.StatusForbidden, "This is not a whole link. Print a new one: vitalseal connect launch.")
		return
	}
	value, ok := d.launches.redeem(ticket)
	if !ok {
		if d.launches.browser(r) { // the link is reloaded, or opened a second time in the same browser
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		d.cfg.Log.Warn("a launch link was used that is not, or no longer, good")
		answer(w, r, http.StatusForbidden, "This link was used before, or is too old. Print a new one: vitalseal connect launch.")
		return
	}
	http.SetCookie(w, &http.Cookie{Name: d.launches.cookie, Value: value, Path: "/", MaxAge: int(browserLife.Seconds()),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// isDocument reports whether a request is for a page that a person looks at.
func isDocument(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/api/") && (dest == "" || dest == "document") &&
		strings.Contains(r.Header.Get("Accept"), "text/html")
}
