package attack

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/audit"
	"vitalseal/internal/lab/weaken"
)

// leaveAttacks are of a person whose client closes the connection in the middle of an act.
func leaveAttacks() []Attack {
	return []Attack{
		inBureau(Attack{ID: "persons-leave-refusal", Threat: "have one's refused attempts missing in the log", Position: "a doctor, with a client that closes the connection",
			Does:     "opens three patients in emergencies, asks for a fourth and leaves before the answer",
			Expected: "the fourth is not opened, and its refusal stands in the log", Right: reads("refused in the log"), Control: weaken.WholeAct},
			func(ctx context.Context, o *bureau) (Result, error) {
				var fourth string
				for i := range 4 {
					patient, err := o.store.CreatePatient(ctx, "Another")
					if err != nil {
						return Result{}, err
					}
					now := time.Now()
					s := access.Subject{Person: access.Person{ID: "doctor"}, Workstation: bureauDesk, Session: "s", SessionStarted: now, Proven: now}
					ctx, leave := context.WithCancel(ctx)
					if fourth = patient; i == 3 {
						leave()
					}
					_, err = o.engine.BreakGlass(ctx, s, patient, "no reason at all but curiosity")
					leave()
					if i == 3 && err == nil {
						return through("opened", "the fourth patient")
					}
					if i < 3 && err != nil {
						return Result{}, err
					}
				}
				all, err := o.trail.Recent(ctx, 20)
				if err != nil {
					return Result{}, err
				}
				i := slices.IndexFunc(all, func(e audit.Entry) bool { return e.Patient == fourth && e.Action == string(access.BreakGlass) })
				found := "not in the log"
				if i >= 0 {
					found = fmt.Sprintf("%s in the log", map[bool]string{true: "allowed", false: "refused"}[all[i].Allowed])
				}
				return judge(i < 0 || all[i].Allowed, word("%s", found), "the attempt is "+found, "the refusal stands there", "%d entries looked at", len(all))
			}),
	}
}
