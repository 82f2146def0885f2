package persons

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
)

// otherWard puts the bureau's patient to bed in its ward, and makes a second patient in another
// ward.
func otherWard(ctx context.Context, o *office.Bureau) (other string, err error) {
	if err = o.Store.CreateWard(ctx, directory.Ward{ID: "ward-2", Name: "Ward 2"}); err != nil {
		return "", err
	}
	for bed, ward := range map[string]string{"bed-1": "ward", "bed-2": "ward", "bed-3": "ward-2"} {
		if err = o.Store.CreateBed(ctx, directory.Bed{ID: bed, Ward: ward, Name: bed}); err != nil {
			return "", err
		}
	}
	if other, err = o.Store.CreatePatient(ctx, "Somebody Else"); err != nil {
		return "", err
	}
	since := time.Now().Add(-3 * time.Hour)
	if err = o.Store.Admit(ctx, o.Patient, "bed-1", since); err != nil {
		return "", err
	}
	return other, o.Store.Admit(ctx, other, "bed-3", since)
}

// askAlone asks as the administrator for what takes two persons, and approves of it as the same
// one.
func askAlone(ctx context.Context, o *office.Bureau, path, body string) (attack.Result, error) {
	asked := o.Ask(ctx, o.Admin, "admin", "POST", path, body)
	switch asked.Status {
	case http.StatusCreated, http.StatusNoContent:
		return attack.Through("done by one person", "%d", asked.Status)
	case http.StatusAccepted:
	default:
		return attack.Result{}, fmt.Errorf("asked for: %s", asked)
	}
	request, err := waitingID(asked)
	if err != nil {
		return attack.Result{}, err
	}
	got := o.Ask(ctx, o.Admin, "admin", "POST", "/api/admin/approvals/"+request+"/approve", "{}")
	return attack.Judge(got.OK(), attack.Status(got), "approved alone", "it waits", "%s", got)
}

func lastHour(from, to string) string {
	now := time.Now().UTC()
	return fmt.Sprintf(`{"from":%q,"to":%q,"begin":%q,"end":%q,"meant":true}`, from, to, now.Add(-time.Hour).Format(time.RFC3339), now.Add(-time.Minute).Format(time.RFC3339))
}

// Moves are the attacks of one administrator who moves readings or displays over a ward's border.
func Moves() []attack.Attack {
	return []attack.Attack{
		office.InBureau(attack.Attack{ID: "persons-move-ward", Threat: "show another ward a patient's readings, in another's chart", Position: "the administrator",
			Does: "moves the readings of an hour to a patient of another ward, and approves that alone", Expected: "it waits for a second person; 403 for the approval",
			Right: attack.Answers(http.StatusForbidden), Control: weaken.TwoPersons},
			func(ctx context.Context, o *office.Bureau) (attack.Result, error) {
				other, err := otherWard(ctx, o)
				if err != nil {
					return attack.Result{}, err
				}
				return askAlone(ctx, o, "/api/admin/readings/move", lastHour(o.Patient, other))
			}),
		office.InBureau(attack.Attack{ID: "persons-move-transfer", Threat: "show another ward a patient's readings, in another's chart", Position: "the administrator",
			Does:     "enters late that the other patient lay on this ward already, moves the readings of that time, and approves that alone",
			Expected: "it waits for a second person: the stay on the other ward counts; 403 for the approval", Right: attack.Answers(http.StatusForbidden), Control: weaken.WardHistory},
			func(ctx context.Context, o *office.Bureau) (attack.Result, error) {
				other, err := otherWard(ctx, o)
				if err != nil {
					return attack.Result{}, err
				}
				late := o.Ask(ctx, o.Admin, "admin", "POST", "/api/admin/patients/"+other+"/admit", fmt.Sprintf(`{"bed":"bed-2","at":%q}`, time.Now().Add(-2*time.Hour).UTC().Format(time.RFC3339)))
				if !late.OK() {
					return attack.Result{}, fmt.Errorf("the transfer: %s", late)
				}
				return askAlone(ctx, o, "/api/admin/readings/move", lastHour(o.Patient, other))
			}),
		office.InBureau(attack.Attack{ID: "persons-display-ticket", Threat: "see live numbers without a person", Position: "the administrator",
			Does: "makes a new ticket for a wall display that was approved long ago, and approves that alone", Expected: "it waits for a second person; 403 for the approval",
			Right: attack.Answers(http.StatusForbidden), Control: weaken.TwoPersons},
			func(ctx context.Context, o *office.Bureau) (attack.Result, error) {
				if err := o.Store.CreateDevice(ctx, directory.Device{ID: "spiffe://attack.test/workstation/wall", Kind: "workstation", Mode: directory.ModeDisplay, Wards: []string{"ward"}, State: directory.DeviceActive}); err != nil {
					return attack.Result{}, err
				}
				return askAlone(ctx, o, "/api/admin/identities/workstation/wall/ticket", "{}")
			}),
	}
}
