package persons

import (
	"context"
	"fmt"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/weaken"
)

// table asks the built-in rules one question of a small imagined hospital and wants a refusal.
func table(id, threat, position, does, question, right string, control weaken.Defence) attack.Attack {
	return attack.Attack{ID: id, Threat: threat, Position: position, Does: does, Expected: "refused by the rules (" + right + ")", Right: attack.Reads(right), Control: control, Fast: true,
		Run: func(ctx context.Context, _ *attack.Target) (attack.Result, error) {
			w, err := access.ReadScenario(strings.NewReader(hospital + "refuse " + question + "\n"))
			if err != nil {
				return attack.Result{}, err
			}
			out, err := access.TestPolicies(ctx, "default.cedar", nil, w)
			if err != nil {
				return attack.Result{}, err
			}
			if len(out) != 1 {
				return attack.Result{}, fmt.Errorf("%d answers to one question", len(out))
			}
			return attack.Judge(out[0].Got == "allow", attack.Word("%s", out[0].Got), "allowed", "refused", "%s: %s", question, out[0].Got)
		}}
}

const hospital = `
patient anna on ward-1
patient bert on ward-2
person nina nurse wards ward-1
person adam admin
person leaver nurse wards ward-1 disabled
person fresh nurse wards ward-1 one-time-password
`

// poisoned is a forged policy file; it must be refused whole.
func poisoned(id, does, names, text string) attack.Attack {
	return attack.Attack{ID: id, Threat: "open everything by a policy file", Position: "a user who can change the policy file, or a slip of the pen", Does: does,
		Expected: "the file is refused, by line; the hub does not start with half of it", Right: attack.Says(names), Control: weaken.PolicyStrict, Fast: true,
		Run: func(ctx context.Context, _ *attack.Target) (attack.Result, error) {
			err := access.CheckPolicies("poisoned.cedar", []byte(text))
			return attack.Judge(err == nil, attack.Failure(err), "taken as it is", "refused, by line", "%v", err)
		}}
}

// Policy are the attacks on the rules, and on the file that holds them.
func Policy() []attack.Attack {
	return []attack.Attack{
		table("policy-clock-back", "use a proof of identity for ever", "a user who can set the hub's clock back",
			"an act that needs a fresh proof is asked for with a proof of the future", "adam people:manage system with proven=-48h", "step-up", weaken.FutureProof),
		table("policy-disabled", "go on after being let go", "a former employee with a live session", "a disabled nurse asks for a patient of her ward",
			"leaver patient:view patient:anna", "refuse", weaken.Policy),
		table("policy-one-time", "use a one-time password that was read on a note", "an attacker who found the note", "a user who has not chosen a password asks for a patient",
			"fresh patient:view patient:anna", "refuse", weaken.Policy),
		table("policy-no-workstation", "use a session outside the hospital", "a signed-in person without an enrolled workstation", "a nurse asks for a patient of her ward from nowhere",
			"nina patient:view patient:anna with no-workstation", "refuse", weaken.Policy),
		table("policy-move-readings", "put another ward's readings into a patient's chart", "a nurse of another ward", "a nurse asks to move readings of a patient who lies on another ward",
			"nina readings:move patient:bert", "refuse", weaken.Policy),
		table("policy-move-nobodys", "put readings of no patient into a patient's chart", "a signed-in nurse", "a nurse asks to move what a sensor measured at no bed",
			"nina readings:move system", "refuse", weaken.Policy),
		table("policy-move-sensor", "take a sensor away from another ward's patient", "a nurse of another ward", "a nurse asks to move a sensor of a ward that is not hers",
			"nina sensor:move ward:ward-2", "refuse", weaken.Policy),
		table("policy-confirm-patient", "say that a sensor is on another ward's patient", "a nurse of another ward", "a nurse asks to confirm who wears a sensor on a ward that is not hers",
			"nina patient:confirm patient:bert", "refuse", weaken.Policy),
		poisoned("policy-unknown-attribute", "a forbid with a misspelt attribute, which could never be evaluated and so never forbid", "dissabled",
			`@id("all") permit(principal is Person, action == Action::"patient:view", resource is Patient);
@id("not-disabled") forbid(principal is Person, action == Action::"patient:view", resource is Patient) when { principal.dissabled };`),
		poisoned("policy-wrong-type", "a condition on something of another type, which the evaluator would pass over", "poisoned.cedar:2",
			`@id("all") permit(principal is Person, action == Action::"patient:view", resource is Patient);
@id("night") forbid(principal is Person, action == Action::"patient:view", resource is Patient) when { context.hour == "three" };`),
	}
}
