package thingspeak

import (
	"net/http"
	"slices"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/shared/form"
	"vitalseal/internal/view/thingspeak/wire"
)

// endpoint is a method and path, who answers, and how a refusal is told.
type endpoint struct {
	pattern string
	answer  func(*request) error
	tell    tell
}

// tell is a way to tell a refusal: ThingSpeak's clients look for different things at different places.
type tell int

const (
	tellObject tell = iota // the error object, or its code as text
	tellRead               // "-1" and 400 for what may not be read, or is not there; else the object
	tellWrite              // as text "0" and 400; as JSON the object
)

// request is one request on its way. What the path said is in its fields; parameters are read by the endpoint.
type request struct {
	w    http.ResponseWriter
	r    *http.Request
	p    wire.Parameters
	ext  string // "json", "xml", "csv", "txt", or "" for no word about it
	path map[string]string
}

// route is an endpoint, taken apart.
type route struct {
	endpoint
	method string
	parts  []string
}

func compile(all []endpoint) []route {
	routes := make([]route, len(all))
	for i, e := range all {
		method, path, _ := strings.Cut(e.pattern, " ")
		routes[i] = route{e, method, strings.Split(path, "/")}
	}
	return routes
}

var extensions = []string{"json", "xml", "csv", "txt"}

// find is the endpoint that q asks for; or nil and the methods that its path has; or nil and "" for an unknown path.
func (f *face) find(q *request) (to *route, allow string) {
	parts := strings.Split(form.Path(q.r.URL.Path), "/")
	if len(parts) > 3 && parts[1] == "channels" {
		switch name, ext, _ := strings.Cut(parts[3], "."); name { // the singular means the same
		case "feed", "field":
			parts[3] = strings.TrimSuffix(name+"s."+ext, ".")
		}
	}
	var methods []string
	for i := range f.routes {
		t := &f.routes[i]
		if len(t.parts) != len(parts) {
			continue
		}
		path, ext, ok := t.match(parts)
		if !ok {
			continue
		}
		if t.method == q.r.Method {
			q.path, q.ext = path, ext
			return t, ""
		}
		if !slices.Contains(methods, t.method) {
			methods = append(methods, t.method)
		}
		q.ext = ext
	}
	return nil, strings.Join(methods, ", ")
}

// match compares a path with the pattern, part by part.
func (t *route) match(parts []string) (path map[string]string, ext string, ok bool) {
	for i, want := range t.parts {
		got := parts[i]
		if rest, free := strings.CutSuffix(want, "{ext}"); free {
			want = rest
			if name, e, has := strings.Cut(got, "."); has {
				if !slices.Contains(extensions, e) {
					return nil, "", false
				}
				got, ext = name, e
			}
		} else if rest, fixed := strings.CutSuffix(want, ".json"); fixed {
			if got, fixed = strings.CutSuffix(got, ".json"); !fixed {
				return nil, "", false
			}
			want, ext = rest, "json"
		}
		if name, isName := strings.CutPrefix(want, "{"); isName {
			if got == "" || strings.Contains(got, ".") && name != "name}" {
				return nil, "", false
			}
			name = strings.TrimSuffix(name, "}")
			if name == "entry" || name == "command" { // numbers: words are endpoints of their own
				if _, err := number(got); err != nil {
					return nil, "", false
				}
			}
			if path == nil {
				path = map[string]string{}
			}
			path[name] = got
		} else if got != want {
			return nil, "", false
		}
	}
	return path, ext, true
}

// number is an id of a path: a plain number from 1.
func number(s string) (int64, error) {
	n, ok := wire.ParseID(s)
	if !ok {
		return 0, errNotFound
	}
	return n, nil
}

// field is the field that the path names, 1 to 8; 0 if it names none.
func (q *request) field() (int, error) {
	s, given := q.path["field"]
	if !given {
		return 0, nil
	}
	if len(s) != 1 || s[0] < '1' || s[0] > '8' {
		return 0, errNotFound
	}
	return int(s[0] - '0'), nil
}

// account is whose account key the request has.
func (f *face) account(q *request) (access.Subject, error) {
	s, k, err := f.SignIn.AuthenticateKey(q.r.Context(), wire.KeyOf(q.r, q.p), f.Workstation(q.r))
	if err == nil && !k.Account() {
		err = access.ErrNoSession
	}
	return s, err
}
