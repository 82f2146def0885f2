package dashboard

import (
	"net/http"

	"vitalseal/internal/hub/access"
)

// deviceAnswer is what an MQTT client signs in as, without its password.
type deviceAnswer struct {
	ID     string        `json:"id"` // client id and user name
	Rights []deviceRight `json:"channels"`
	// Refused is how many of its messages were refused since this hub started, and why the last one was.
	Refused uint64 `json:"refused,omitempty"`
	Reason  string `json:"refused_reason,omitempty"`
}

type deviceRight struct {
	Channel   int64 `json:"channel"`
	Publish   bool  `json:"publish"`
	Subscribe bool  `json:"subscribe"`
}

func describeDevice(d access.MQTTDevice) deviceAnswer {
	out := deviceAnswer{ID: d.ClientID, Rights: make([]deviceRight, 0, len(d.Rights))}
	for _, r := range d.Rights {
		out.Rights = append(out.Rights, deviceRight(r))
	}
	return out
}

// mqttDevices are the person's own; a password is in no list.
func (h *Handler) mqttDevices(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	list, err := h.cfg.SignIn.MQTTDevices(r.Context(), s)
	if err != nil {
		return err
	}
	out := make([]deviceAnswer, 0, len(list))
	for _, d := range list {
		one := describeDevice(d)
		if h.cfg.MQTTRefused != nil {
			one.Refused, one.Reason = h.cfg.MQTTRefused(d.ClientID)
		}
		out = append(out, one)
	}
	h.write(w, http.StatusOK, out)
	return nil
}

// newMQTTDevice makes a device in the person's own name; its password is in this answer alone.
func (h *Handler) newMQTTDevice(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Rights []deviceRight `json:"channels"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	rights := make([]access.MQTTRight, 0, len(in.Rights))
	for _, x := range in.Rights {
		rights = append(rights, access.MQTTRight(x))
	}
	password, d, err := h.cfg.SignIn.NewMQTTDevice(r.Context(), s, rights)
	if err != nil {
		return err
	}
	h.write(w, http.StatusCreated, struct {
		deviceAnswer
		Username string `json:"username"`
		Password string `json:"password"`
	}{describeDevice(d), d.ClientID, password})
	return nil
}

func (h *Handler) deleteMQTTDevice(w http.ResponseWriter, r *http.Request) error {
	s, err := h.cfg.Gate.Subject(r)
	if err != nil {
		return err
	}
	if err := h.cfg.SignIn.DeleteMQTTDevice(r.Context(), s, r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
