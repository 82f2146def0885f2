package connect

import (
	"html"
	"net"
	"net/http"
)

// ownPages answers only requests for this very address (so that a web page elsewhere cannot rebind
// a name to it) that no other page has caused: a browser tells where a request comes from in Origin
// and Sec-Fetch-Site. Programs send neither.
func (d *Door) ownPages(next http.Handler) http.Handler {
	hosts := d.hosts()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		//defence:host-name a loopback address answers only to its own name
		if !hosts[r.Host] {
			answer(w, r, http.StatusMisdirectedRequest, "This address answers only to its own name; open "+d.URL())
			return
		}
		//defence:own-pages requests that another page caused are refused
		if origin, ok := r.Header["Origin"]; ok && (len(origin) != 1 || origin[0] != d.scheme+"://"+r.Host) {
			answer(w, r, http.StatusForbidden, "This request comes from another page.")
			return
		}
		//defence:own-pages requests that another page caused are refused
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
			if enters(r) {
				comeAgain(w, r)
				return
			}
			answer(w, r, http.StatusForbidden, "This request comes from another page.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hosts are the names that this address answers to: the one, and in plain HTTP, for programs that
// know no other, its number as well.
func (d *Door) hosts() map[string]bool {
	hosts := map[string]bool{net.JoinHostPort(Host, d.port): true}
	if d.port == map[string]string{"https": "443", "http": "80"}[d.scheme] {
		hosts[Host] = true
	}
	if d.cfg.Plain {
		hosts[d.ln.Addr().String()] = true
		hosts[net.JoinHostPort("localhost", d.port)] = true
	}
	return hosts
}

// enters reports whether a page elsewhere leads a person here, by a link or from an identity
// provider, as opposed to making the browser ask for something behind the person's back.
func enters(r *http.Request) bool {
	return r.Method == http.MethodGet && (r.URL.Path == "/" || r.URL.Path == "/api/session/oidc/callback") &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" && r.Header.Get("Origin") == ""
}

// comeAgain has the browser ask once more, now as a page of ours: our cookies are sent with no
// request that comes from elsewhere. Nothing has been carried to the hub so far.
func comeAgain(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	to := r.URL.Path
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	to = html.EscapeString(to)
	_, _ = w.Write([]byte(`<!doctype html><meta http-equiv="refresh" content="0;url=` + to + `"><title>vitalseal</title><a href="` + to + `">Continue</a>` + "\n"))
}
