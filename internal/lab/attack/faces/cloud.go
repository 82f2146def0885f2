package faces

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/weaken"
)

// Cloud are the attacks on the way to a cloud: what leaves in clear must have been wanted by more
// than one. That has no control: the database itself refuses a request that is approved by the
// person who made it.
func Cloud() []attack.Attack {
	return []attack.Attack{
		{ID: "cloud-nurse", Threat: "send a patient's readings to a server of one's own", Position: "a signed-in nurse of another ward", Does: "forwarding of a patient's channel is asked for",
			Expected: "403", Right: attack.Answers(http.StatusForbidden), Control: weaken.Policy, Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
				return oneAsk(ctx, t, "nurse", forwarding(t.Ward.Patients[1].Channel, "sealed"))
			}},
		{ID: "cloud-plain-alone", Threat: "send a patient's readings out in clear", Position: "the treating doctor, without a second person", Does: "plain forwarding is asked for and then approved by the same person",
			Expected: "403: the approver must be another person", Right: attack.Reads("403 another person"), Control: weaken.None, Run: plainAlone},
	}
}

func forwarding(channel int64, mode string) attack.Request {
	return attack.Request{Method: "PUT", Path: fmt.Sprintf("/api/cloud/channels/%d", channel),
		Body: map[string]any{"server": "https://cloud.example.org", "remote_channel": 1, "write_key": randomKey(), "mode": mode}}
}

func plainAlone(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.As(ctx, "doctor")
	if err != nil {
		return attack.Result{}, err
	}
	ask := forwarding(t.Ward.Patients[0].Channel, "plain")
	ask.Bearer = s.Access
	asked, err := t.Front().Send(ctx, ask)
	if err != nil {
		return attack.Result{}, err
	}
	var wanted struct {
		Requested string `json:"requested"`
	}
	if err := json.Unmarshal(asked.Body, &wanted); err != nil || !asked.OK() {
		return attack.Result{}, fmt.Errorf("asking for it: %s", asked)
	}
	approve := attack.Request{Method: "POST", Path: ask.Path + "/approve", Bearer: s.Access, Body: map[string]any{"requested": wanted.Requested}}
	a, err := t.Front().Send(ctx, approve)
	if err != nil {
		return attack.Result{}, err
	}
	seen := attack.Status(a)
	if a.Status == http.StatusForbidden && strings.Contains(string(a.Body), "another person than the one who asked") {
		seen = attack.Word("403 another person")
	}
	return attack.Judge(a.OK(), seen, "approved by the person who asked", "refused", "%s %s: %s", approve.Method, approve.Path, a)
}
