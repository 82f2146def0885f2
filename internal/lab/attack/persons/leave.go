package persons

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/shared/audit"
)

// Leave are the attacks of a person whose client closes the connection in the middle of an act.
func Leave() []attack.Attack {
	return []attack.Attack{
		office.InBureau(attack.Attack{ID: "persons-leave-refusal", Threat: "have one's refused attempts missing in the log", Position: "a doctor, with a client that closes the connection",
			Does:     "opens three patients in emergencies, asks for a fourth and leaves before the answer",
			Expected: "the fourth is not opened, and its refusal stands in the log", Right: attack.Reads("refused in the log"), Control: weaken.WholeAct},
			func(ctx context.Context, o *office.Bureau) (attack.Result, error) {
				var fourth string
				for i := range 4 {
					patient, err := o.Store.CreatePatient(ctx, "Another")
					if err != nil {
						return attack.Result{}, err
					}
					now := time.Now()
					s := access.Subject{Person: access.Person{ID: "doctor"}, Workstation: office.BureauDesk, Session: "s", SessionStarted: now, Proven: now}
					ctx, leave := context.WithCancel(ctx)
					if fourth = patient; i == 3 {
						leave()
					}
					_, err = o.Engine.BreakGlass(ctx, s, patient, "no reason at all but curiosity")
					leave()
					if i == 3 && err == nil {
						return attack.Through("opened", "the fourth patient")
					}
					if i < 3 && err != nil {
						return attack.Result{}, err
					}
				}
				all, err := o.Trail.Recent(ctx, 20)
				if err != nil {
					return attack.Result{}, err
				}
				i := slices.IndexFunc(all, func(e audit.Entry) bool { return e.Patient == fourth && e.Action == string(access.BreakGlass) })
				found := "not in the log"
				if i >= 0 {
					found = fmt.Sprintf("%s in the log", map[bool]string{true: "allowed", false: "refused"}[all[i].Allowed])
				}
				return attack.Judge(i < 0 || all[i].Allowed, attack.Word("%s", found), "the attempt is "+found, "the refusal stands there", "%d entries looked at", len(all))
			}),
	}
}
