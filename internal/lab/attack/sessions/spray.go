package sessions

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
)

// Spray is the attack with one password on many logins.
func Spray() []attack.Attack {
	return []attack.Attack{
		{ID: "session-password-spray", Threat: "find a weak password without being noticed", Position: "one enrolled workstation, then several",
			Does:     "one password over 10 logins at one workstation, then over 20 more at ten others: one guess each, of persons and of none",
			Expected: "none gets in, and security events name the one workstation, then all together", Right: attack.Reads("none of 30 let in, told: the workstation, all workstations"),
			Control: weaken.SprayCount, Fast: true, Run: passwordSpray},
	}
}

func passwordSpray(ctx context.Context, t *attack.Target) (_ attack.Result, err error) {
	var mu sync.Mutex
	var told []string
	o, err := office.NewWith(ctx, t, nil, access.WithEvents(func(e access.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case e.Kind != access.EventSpray:
		case e.Where == officeStation(0):
			told = append(told, "the workstation")
		case e.Where == "":
			told = append(told, "all workstations")
		default:
			told = append(told, e.Where)
		}
	}))
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	logins := []string{string(access.RoleNurse), string(access.RoleStaff), string(access.RoleDoctor)}
	for _, role := range logins {
		if _, err := o.SignedIn(ctx, access.Role(role)); err != nil {
			return attack.Result{}, err
		}
	}
	for i := len(logins); i < 30; i++ {
		logins = append(logins, fmt.Sprint("a-name-", i))
	}
	in := 0
	for i, login := range logins {
		at := officeStation(0)
		if i >= 10 {
			at = officeStation(1 + i%10)
		}
		_, err := o.SignIn.SignIn(ctx, login, "Summer2026-ward", at)
		switch {
		case err == nil:
			in++
		case !errors.Is(err, signin.ErrSignIn):
			return attack.Result{}, err
		case !looked(err):
			return attack.Result{}, fmt.Errorf("guess %d had to wait, so it is no spray: %w", i+1, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	seen := fmt.Sprintf("none of %d let in, told: ", len(logins))
	for i, who := range told {
		if i > 0 {
			seen += ", "
		}
		seen += who
	}
	return attack.Judge(in > 0 || len(told) == 0, attack.Word("%s", seen), "every guess was judged, and none is told of", "none let in, and told", "%d let in of %d judged; %d security events", in, len(logins), len(told))
}
