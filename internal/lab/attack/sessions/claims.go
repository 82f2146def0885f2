package sessions

import (
	"context"
	"fmt"
	"maps"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
)

func foreignClaims(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	in, err := o.SignedIn(ctx, access.RoleDoctor)
	if err != nil {
		return attack.Result{}, err
	}
	sign, err := o.Sign(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	head, body, err := office.OpenToken(in.Tokens.Access)
	if err != nil {
		return attack.Result{}, err
	}
	same, err := sign(head, body)
	if err != nil {
		return attack.Result{}, err
	}
	if _, err := o.SignIn.Check(ctx, same, office.Desk); err != nil {
		return attack.Result{}, fmt.Errorf("a token that is as it should be: %w", err)
	}
	now := time.Now().Unix()
	var accepted []string
	var seen []attack.Seen
	changes := map[string]map[string]any{
		"audience":  {"aud": "somewhere-else"},
		"issuer":    {"iss": "other.vitalseal.internal"},
		"expired":   {"iat": now - 900, "nbf": now - 900, "exp": now - 600},
		"future":    {"iat": now + 600, "nbf": now + 600, "exp": now + 900},
		"long-life": {"exp": now + 86400},
		"no-proof":  {"auth_time": nil},
	}
	for what, change := range changes {
		b := maps.Clone(body)
		maps.Copy(b, change)
		token, err := sign(head, b)
		if err != nil {
			return attack.Result{}, err
		}
		if _, err := o.SignIn.Check(ctx, token, office.Desk); err == nil {
			accepted = append(accepted, what)
		} else {
			seen = append(seen, attack.Failure(err)...)
		}
	}
	return attack.Judge(len(accepted) > 0, seen, "taken for good", "each refused", "%d tokens tried, accepted: %v", len(changes), accepted)
}
