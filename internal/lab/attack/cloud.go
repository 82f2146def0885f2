package attack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"vitalseal/internal/lab/weaken"
)

// The way to a cloud: what leaves in clear must have been wanted by more than one. That has no control: the database itself refuses a
// request that is approved by the person who made it.
func cloudAttacks() []Attack {
	return []Attack{
		{ID: "cloud-nurse", Threat: "send a patient's readings to a server of one's own", Position: "a signed-in nurse of another ward", Does: "forwarding of a patient's channel is asked for",
			Expected: "403", Right: answers(http.StatusForbidden), Control: weaken.Policy, Run: func(ctx context.Context, t *Target) (Result, error) {
				return oneAsk(ctx, t, "nurse", forwarding(t.ward.Patients[1].Channel, "sealed"))
			}},
		{ID: "cloud-plain-alone", Threat: "send a patient's readings out in clear", Position: "the treating doctor, without a second person", Does: "plain forwarding is asked for and then approved by the same person",
			Expected: "403: the approver must be another person", Right: reads("403 another person"), Control: weaken.None, Run: plainAlone},
	}
}

func forwarding(channel int64, mode string) request {
	return request{method: "PUT", path: fmt.Sprintf("/api/cloud/channels/%d", channel),
		body: map[string]any{"server": "https://cloud.example.org", "remote_channel": 1, "write_key": randomKey(), "mode": mode}}
}

func plainAlone(ctx context.Context, t *Target) (Result, error) {
	s, err := t.as(ctx, "doctor")
	if err != nil {
		return Result{}, err
	}
	ask := forwarding(t.ward.Patients[0].Channel, "plain")
	ask.bearer = s.Access
	asked, err := t.front().send(ctx, ask)
	if err != nil {
		return Result{}, err
	}
	var wanted struct {
		Requested string `json:"requested"`
	}
	if err := json.Unmarshal(asked.Body, &wanted); err != nil || !asked.ok() {
		return Result{}, fmt.Errorf("asking for it: %s", asked)
	}
	approve := request{method: "POST", path: ask.path + "/approve", bearer: s.Access, body: map[string]any{"requested": wanted.Requested}}
	a, err := t.front().send(ctx, approve)
	if err != nil {
		return Result{}, err
	}
	seen := status(a)
	if a.Status == http.StatusForbidden && strings.Contains(string(a.Body), "another person than the one who asked") {
		seen = word("403 another person")
	}
	return judge(a.ok(), seen, "approved by the person who asked", "refused", "%s %s: %s", approve.method, approve.path, a)
}
