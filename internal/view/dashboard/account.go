package dashboard

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"rsc.io/qr"

	"vitalseal/internal/hub/access"
)

// maxQR bounds what is drawn as a QR code: about what the largest can hold.
const maxQR = 2300

// changePassword changes the person's own; it ends their other sessions.
func (h *Handler) changePassword(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Old string `json:"old"`
		New string `json:"new"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	if err := h.cfg.SignIn.ChangePassword(r.Context(), s, in.Old, in.New); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) beginTOTP(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	secret, uri, err := h.cfg.SignIn.BeginTOTP(r.Context(), s)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, struct {
		Secret string `json:"secret"`
		URI    string `json:"uri"`
	}{secret, uri})
	return nil
}

// confirmTOTP answers with recovery codes: once, here.
func (h *Handler) confirmTOTP(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Code string `json:"code"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	codes, err := h.cfg.SignIn.ConfirmTOTP(r.Context(), s, in.Code)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, struct {
		Recovery []string `json:"recovery"`
	}{append([]string{}, codes...)})
	return nil
}

// newRecovery replaces the recovery codes; the new ones are in this answer alone.
func (h *Handler) newRecovery(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	codes, err := h.cfg.SignIn.NewRecovery(r.Context(), s)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, struct {
		Recovery []string `json:"recovery"`
	}{append([]string{}, codes...)})
	return nil
}

func (h *Handler) beginPasskey(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	options, err := h.cfg.SignIn.BeginPasskey(r.Context(), s)
	if err != nil {
		return err
	}
	h.write(w, http.StatusOK, options)
	return nil
}

func (h *Handler) finishPasskey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name     string          `json:"name"`
		Response json.RawMessage `json:"response"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	if err := h.cfg.SignIn.FinishPasskey(r.Context(), s, in.Name, in.Response, h.origin(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type factorAnswer struct {
	ID       string     `json:"id"`
	Kind     string     `json:"kind"` // totp, passkey or recovery
	Name     string     `json:"name,omitempty"`
	Created  time.Time  `json:"created"`
	LastUsed *time.Time `json:"last_used,omitempty"`
}

func describeFactor(f access.Factor) factorAnswer {
	out := factorAnswer{ID: f.ID, Kind: f.Kind, Name: f.Name, Created: f.Created.UTC()}
	if !f.LastUsed.IsZero() {
		used := f.LastUsed.UTC()
		out.LastUsed = &used
	}
	return out
}

func (h *Handler) factors(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	list, err := h.cfg.SignIn.Factors(r.Context(), s)
	if err != nil {
		return err
	}
	out := make([]factorAnswer, 0, len(list))
	for _, f := range list {
		out = append(out, describeFactor(f))
	}
	h.write(w, http.StatusOK, out)
	return nil
}

func (h *Handler) removeFactor(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	if err := h.cfg.SignIn.RemoveFactor(r.Context(), s, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type keyAnswer struct {
	ID      string `json:"id"`      // SHA-256 of the key
	Channel int64  `json:"channel"` // 0: none; then it is a TalkBack's, or the account's
	Write   bool   `json:"write"`
	// TalkBack is the queue of commands that it is for; absent for none.
	TalkBack int64 `json:"talkback,omitempty"`
}

func describeKey(k access.APIKey) keyAnswer {
	return keyAnswer{hex.EncodeToString(k.Hash[:]), k.Channel, k.Write, k.TalkBack}
}

// keys are the person's own; a key itself is in no list.
func (h *Handler) keys(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	list, err := h.cfg.SignIn.Keys(r.Context(), s)
	if err != nil {
		return err
	}
	out := make([]keyAnswer, 0, len(list))
	for _, k := range list {
		out = append(out, describeKey(k))
	}
	h.write(w, http.StatusOK, out)
	return nil
}

// newKey makes a key in the person's own name: no person makes one for another.
func (h *Handler) newKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Channel int64 `json:"channel"`
		Write   bool  `json:"write"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	key, k, err := h.cfg.SignIn.NewKey(r.Context(), s, in.Channel, in.Write)
	if err != nil {
		return err
	}
	h.write(w, http.StatusCreated, struct {
		Key string `json:"key"`
		keyAnswer
	}{key, describeKey(k)})
	return nil
}

func (h *Handler) deleteKey(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	var hash [32]byte
	if id, err := hex.DecodeString(r.PathValue("id")); err != nil || copy(hash[:], id) != len(hash) || len(id) != len(hash) {
		return errNoSuchPath
	}
	if err := h.cfg.SignIn.DeleteKey(r.Context(), s, hash); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// channels are those of patients whom the person may see, to choose from when making a key.
func (h *Handler) channels(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	refs, err := h.cfg.Store.Patients(r.Context())
	if err != nil {
		return err
	}
	rooms, err := h.rooms(r.Context())
	if err != nil {
		return err
	}
	type channel struct {
		Channel int64 `json:"channel"`
		place
	}
	out := []channel{}
	visible, err := h.cfg.Access.Filter(r.Context(), s, access.ViewPatient, refs)
	if err != nil {
		return err
	}
	for _, p := range visible {
		c, err := h.cfg.Store.ChannelOf(r.Context(), p.ID)
		if err != nil {
			return err
		}
		out = append(out, channel{c.ID, rooms.place(p)})
	}
	h.write(w, http.StatusOK, out)
	return nil
}

// qr draws a text as a QR code: rows of 0 and 1, for a page that shows a secret to the user's phone. The text
// is neither kept nor logged.
func (h *Handler) qr(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Text string `json:"text"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	if _, err := h.cfg.Gate.Subject(r); err != nil {
		return err
	}
	if in.Text == "" || len(in.Text) > maxQR {
		return badRequest("text: 1 to " + strconv.Itoa(maxQR) + " bytes.")
	}
	code, err := qr.Encode(in.Text, qr.L)
	if err != nil {
		return badRequest("text: does not fit into a QR code.")
	}
	rows := make([]string, code.Size)
	for y := range rows {
		row := make([]byte, code.Size)
		for x := range row {
			row[x] = '0'
			if code.Black(x, y) {
				row[x] = '1'
			}
		}
		rows[y] = string(row)
	}
	h.write(w, http.StatusOK, struct {
		Rows []string `json:"rows"`
	}{rows})
	return nil
}
