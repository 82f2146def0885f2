package legacy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/shared/form"
)

const (
	legacyReadTime   = 10 * time.Second // for a whole request
	legacyIdle       = 2 * time.Minute  // of a connection between requests
	maxLegacyHeaders = 8 << 10
	maxLegacyQuery   = 8 << 10
)

// serveHTTP is the small part of ThingSpeak's REST API that devices write with:
//
//	GET, POST /update[.json]                       form, JSON or query
//	POST      /channels/ID/bulk_update.{json,csv}
//
// Nothing can be read here.
func (d *Server) serveHTTP(ctx context.Context, ln net.Listener) error {
	server := &http.Server{Handler: http.HandlerFunc(d.route), ReadTimeout: legacyReadTime, WriteTimeout: legacyReadTime, IdleTimeout: legacyIdle, MaxHeaderBytes: maxLegacyHeaders,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)} // errors on strangers' bytes are of no use
	ln = form.Listener(ln, d.guard.malformed)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
		return err
	}
	return nil
}

// route finds who answers. A ServeMux would redirect an unclean path, and repeat the key in the answer.
func (d *Server) route(w http.ResponseWriter, r *http.Request) {
	switch path := form.Path(r.URL.Path); path {
	case "/update":
		d.update(w, r, "")
	case "/update.json":
		d.update(w, r, ".json")
	default:
		rest, ok := strings.CutPrefix(path, "/channels/")
		channel, call, ok2 := strings.Cut(rest, "/")
		if ext, ok3 := strings.CutPrefix(call, "bulk_update"); ok && ok2 && ok3 && (ext == ".json" || ext == ".csv") {
			d.bulk(w, r, channel, ext)
			return
		}
		const why = "only /update and /channels/ID/bulk_update are here"
		d.guard.malformed(why)
		legacyRefuse(w, ".json", http.StatusNotFound, "error_resource_not_found", why)
	}
}

// update takes one message. As ThingSpeak has it, the answer is the entry's id, or 0 for a refusal, whose reason is in a header: small
// devices do not show it, but an engineer who looks for the mistake sees it.
func (d *Server) update(w http.ResponseWriter, r *http.Request, ext string) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		legacyRefuse(w, ".json", http.StatusMethodNotAllowed, "error_method_invalid", "use GET or POST")
		return
	}
	at, dev, m, err := d.updated(w, r)
	if err != nil {
		d.refuse(w, ext, dev, err)
		return
	}
	if why := dev.hint(m); why != nil {
		w.Header().Set("X-Vitalseal-Error", why.Error())
	}
	id := strconv.FormatInt(at.Unix(), 10)
	if ext == "" {
		legacyAnswer(w, http.StatusOK, "text/plain; charset=utf-8", []byte(id))
		return
	}
	body := map[string]any{"channel_id": dev.limit.channel, "created_at": at.UTC().Format("2006-01-02T15:04:05Z"), "entry_id": at.Unix(),
		"latitude": nil, "longitude": nil, "elevation": nil, "status": nil}
	for i, k := range dev.kinds {
		name := "field" + strconv.Itoa(i+1)
		body[name] = nil
		for _, n := range m.numerics {
			if n.Kind == k && n.Quality.HasValue() {
				body[name] = strconv.FormatFloat(n.Value, 'f', -1, 64)
			}
		}
	}
	b, _ := json.Marshal(body) // of texts and numbers: it always can
	legacyAnswer(w, http.StatusOK, "application/json; charset=utf-8", b)
}

// updated says whose key it was, even when the message is refused.
func (d *Server) updated(w http.ResponseWriter, r *http.Request) (at time.Time, dev *legacyDevice, m legacyMessage, err error) {
	now := time.Now()
	p, unread := legacyParameters(w, r, maxLegacyMessage*3) // a message, however it is escaped
	if dev, err = d.device(legacyKeyOf(r, p.Of), legacyAddress(r.RemoteAddr), now); err != nil {
		if unread != nil && errors.Is(err, errLegacyKey) && legacyHeaderKey(r) == "" {
			err = unread // its key may have been in what could not be read
		}
		return at, nil, m, err
	}
	if unread == nil {
		m, unread = dev.message(p)
	}
	if unread != nil {
		dev.refused(unread, m, now)
		return at, dev, m, unread
	}
	at, err = dev.take([]legacyMessage{m}, false, now)
	return at, dev, m, err
}

// bulk takes many messages, all or none.
func (d *Server) bulk(w http.ResponseWriter, r *http.Request, channel, ext string) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		legacyRefuse(w, ".json", http.StatusMethodNotAllowed, "error_method_invalid", "use POST")
		return
	}
	dev, err := d.bulked(w, r, channel, ext)
	if err != nil {
		d.refuse(w, ".json", dev, err)
		return
	}
	legacyAnswer(w, http.StatusAccepted, "application/json; charset=utf-8", []byte(`{"success":true}`))
}

func (d *Server) bulked(w http.ResponseWriter, r *http.Request, channel, ext string) (dev *legacyDevice, err error) {
	now := time.Now()
	p, updates, unread := form.Values{}, []json.RawMessage(nil), error(nil)
	if ext == ".json" {
		p.Of, updates, unread = legacyBulkBody(w, r)
	} else {
		p, unread = legacyParameters(w, r, maxLegacyBulk)
	}
	if dev, err = d.device(legacyKeyOf(r, p.Of), legacyAddress(r.RemoteAddr), now); err != nil {
		if unread != nil && errors.Is(err, errLegacyKey) && legacyHeaderKey(r) == "" {
			err = unread
		}
		return nil, err
	}
	var messages []legacyMessage
	switch {
	case unread != nil:
	case channel != strconv.FormatInt(dev.limit.channel, 10):
		unread = errLegacyChannel
	case ext == ".json":
		messages, unread = dev.bulkJSON(updates, now)
	default:
		messages, unread = dev.bulkCSV(p, now)
	}
	if unread != nil {
		dev.refused(unread, legacyMessage{}, now)
		return dev, unread
	}
	_, err = dev.take(messages, true, now)
	return dev, err
}

// legacyParameters reads address and body of a write; the body wins.
func legacyParameters(w http.ResponseWriter, r *http.Request, most int64) (form.Values, error) {
	if len(r.URL.RawQuery) > maxLegacyQuery {
		return form.Values{}, errLegacyLarge
	}
	p, err := legacyForm(r.URL.RawQuery)
	if err != nil || r.Method == http.MethodGet {
		return p, err
	}
	b, err := legacyBody(w, r, most)
	if err != nil || len(b) == 0 {
		return p, err
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var given form.Values
	switch {
	case kind == "application/json" && err == nil:
		given, err = legacyJSON(b)
	case kind == "application/x-www-form-urlencoded" && err == nil, r.Header.Get("Content-Type") == "": // small devices leave it out
		given, err = legacyForm(string(b))
	default:
		err = &legacyMistake{"Content-Type", "is neither application/x-www-form-urlencoded nor application/json"}
	}
	for name, x := range given.Of {
		p.Of[name] = x
		if delete(p.Malformed, name); given.Malformed[name] {
			p.Malformed[name] = true
		}
	}
	return p, err
}

func legacyBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, errLegacyLarge
	case err != nil:
		return nil, &legacyMistake{"", "the body could not be read"}
	}
	return b, nil
}

// legacyBulkBody reads {"write_api_key": ..., "updates": [...]}.
func legacyBulkBody(w http.ResponseWriter, r *http.Request) (p map[string]string, updates []json.RawMessage, err error) {
	p = map[string]string{}
	b, err := legacyBody(w, r, maxLegacyBulk)
	if err != nil {
		return p, nil, err
	}
	var in struct {
		Key     string            `json:"write_api_key"`
		Updates []json.RawMessage `json:"updates"`
	}
	if twice := form.Twice(b); twice != "" {
		return p, nil, &legacyMistake{"", "the body is not clear: " + twice}
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return p, nil, &legacyMistake{"", "the body is not a JSON object with write_api_key and updates"}
	}
	p["write_api_key"] = in.Key
	return p, in.Updates, nil
}

// legacyKeyOf finds the key as ThingSpeak does: a header wins, then the parameters.
func legacyKeyOf(r *http.Request, p map[string]string) string {
	if key := legacyHeaderKey(r); key != "" {
		return key
	}
	for _, name := range []string{"write_api_key", "key", "api_key", "apikey"} {
		if p[name] != "" {
			return p[name]
		}
	}
	return ""
}

func legacyHeaderKey(r *http.Request) string {
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if strings.Contains(strings.ToUpper(name), "THINGSPEAKAPIKEY") && r.Header.Get(name) != "" {
			return r.Header.Get(name)
		}
	}
	return ""
}

// legacyAddress is whose guesses are counted together: an address, or an IPv6 subnet of one link.
func legacyAddress(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return ip.Mask(net.CIDRMask(64, 128)).String()
	}
	return host
}

// refuse is the one place where a refusal becomes a status and a text.
func (d *Server) refuse(w http.ResponseWriter, ext string, dev *legacyDevice, err error) {
	status, code := http.StatusBadRequest, "error_bad_request"
	switch {
	case errors.Is(err, errLegacyKey):
		status, code = http.StatusUnauthorized, "error_auth_required"
	case errors.Is(err, errLegacyChannel):
		status, code = http.StatusForbidden, "error_forbidden"
	case errors.Is(err, errLegacyLarge):
		status, code = http.StatusRequestEntityTooLarge, "error_request_too_large"
	case errors.Is(err, errLegacyOften):
		status, code = http.StatusTooManyRequests, "error_too_many_requests"
	case errors.Is(err, errLegacyReplay):
		status, code = http.StatusConflict, "error_conflict"
	case errors.Is(err, errLegacyBusy):
		status, code = http.StatusServiceUnavailable, "error_unavailable"
	}
	if dev != nil {
		d.log.Debug("legacy message refused", "sensor", dev.id, "err", err)
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	legacyRefuse(w, ext, status, code, err.Error())
}

func legacyRefuse(w http.ResponseWriter, ext string, status int, code, text string) {
	w.Header().Set("X-Vitalseal-Error", text)
	if ext == "" { // ThingSpeak's own statuses: 200 for too often, else 400
		switch {
		case status == http.StatusTooManyRequests:
			status = http.StatusOK
		case status < http.StatusInternalServerError:
			status = http.StatusBadRequest
		}
		legacyAnswer(w, status, "text/plain; charset=utf-8", []byte("0"))
		return
	}
	b, _ := json.Marshal(map[string]any{"status": strconv.Itoa(status),
		"error": map[string]string{"error_code": code, "message": text, "details": text}}) // of texts: it always can
	legacyAnswer(w, status, "application/json; charset=utf-8", b)
}

// legacyAnswer sends an answer whole: small devices cannot read chunked ones.
func legacyAnswer(w http.ResponseWriter, status int, media string, b []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b) // #nosec G705 -- a number or JSON
}
