package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/administer"
	"vitalseal/internal/workstation/client"
)

// The kinds of ids that have names.
const (
	kindPerson  = "person"
	kindPatient = "patient"
	kindWard    = "ward"
	kindBed     = "bed"
)

// forgotten stands in the place of the name of a patient who was forgotten, and of the patient's login.
const forgotten = "forgotten"

// auditNames is what the ids of an audit log mean now, by kind and id. A nil one knows nothing.
type auditNames map[string]map[string]string

// exportNames asks the hub for the names, if a login is given.
func exportNames(c *cobra.Command, login *administer.Login, text bool) (names *auditNames, err error) {
	if !login.Given() {
		return nil, nil //nolint:nilnil // no names is an answer
	}
	if !text {
		return nil, cli.Usage(errors.New("--login without --text: JSON lines are as they stand in the log"), "add --text")
	}
	err = login.Do(c.Context(), func(ctx context.Context, cl *client.Client) error {
		names, err = askNames(ctx, cl)
		return err
	})
	return names, err
}

// askNames asks by the way that the person's role has: what a person may see of names the hub decides.
func askNames(ctx context.Context, c *client.Client) (*auditNames, error) {
	var who struct {
		Role string `json:"role"`
	}
	if err := c.Do(ctx, http.MethodGet, "/api/session", nil, &who); err != nil {
		return nil, err
	}
	if who.Role == "admin" {
		return directoryNames(ctx, c)
	}
	var got struct {
		Persons []struct {
			ID, Login, Name, Self string
		}
		Patients []struct {
			ID        string
			Bed       string `json:"bed_name"`
			Ward      string `json:"ward_name"`
			Forgotten bool
		}
		Wards, Beds map[string]string
	}
	if err := c.Do(ctx, http.MethodGet, "/api/admin/audit/names", nil, &got); err != nil {
		return nil, err
	}
	n := auditNames{kindPerson: {}, kindPatient: {}, kindWard: got.Wards, kindBed: got.Beds}
	for _, p := range got.Patients {
		switch {
		case p.Forgotten:
			n[kindPatient][p.ID] = forgotten
		case p.Bed == "":
			n[kindPatient][p.ID] = "at no bed now"
		default:
			n[kindPatient][p.ID] = p.Bed + ", " + p.Ward
		}
	}
	for _, p := range got.Persons {
		n.person(p.ID, p.Login, p.Name, p.Self)
	}
	return &n, nil
}

// directoryNames are the names for an administrator, who keeps them right.
func directoryNames(ctx context.Context, c *client.Client) (*auditNames, error) {
	n := auditNames{kindPerson: {}, kindPatient: {}, kindWard: {}, kindBed: {}}
	for path, kind := range map[string]string{"wards": kindWard, "beds": kindBed, "patients": kindPatient} {
		var all []struct {
			ID   string
			Name *string
		}
		if err := c.Do(ctx, http.MethodGet, "/api/admin/"+path, nil, &all); err != nil {
			return nil, err
		}
		for _, x := range all {
			if x.Name != nil {
				n[kind][x.ID] = *x.Name
			}
			if kind == kindPatient && n[kind][x.ID] == forgottenName {
				n[kind][x.ID] = forgotten
			}
		}
	}
	var persons []struct {
		ID, Login, Self string
		Name            string `json:"display_name"`
	}
	if err := c.Do(ctx, http.MethodGet, "/api/admin/persons", nil, &persons); err != nil {
		return nil, err
	}
	for _, p := range persons {
		n.person(p.ID, p.Login, p.Name, p.Self)
	}
	return &n, nil
}

// forgottenName is what the hub says in the place of a name that is forgotten.
const forgottenName = "(forgotten)"

// person notes a person's name: of a patient's login what the patient is called.
func (n auditNames) person(id, login, name, self string) {
	switch patient := n[kindPatient][self]; {
	case self != "" && (patient == forgotten || name == "" || name == forgottenName):
		n[kindPerson][id] = "login of a patient: " + patient
	case name == "":
		n[kindPerson][id] = login
	case login == "":
		n[kindPerson][id] = name
	default:
		n[kindPerson][id] = name + ", " + login
	}
}

// beside is the name of an id in brackets, to stand behind it; empty where there is none. A component's
// is in its id.
func (n *auditNames) beside(kind, id string) string {
	if n == nil || id == "" {
		return ""
	}
	name := (*n)[kind][id]
	if name == "" {
		return ""
	}
	quoted := strconv.Quote(name) // letters stand as they are; what a terminal could obey does not
	return " (" + quoted[1:len(quoted)-1] + ")"
}

// madeID is an id of a person or a patient as the hub makes them.
var madeID = regexp.MustCompile(`\b[pu]-[a-z2-7]{8}\b`)

// within puts names behind the ids in a text.
func (n *auditNames) within(text string) string {
	if n == nil {
		return text
	}
	return madeID.ReplaceAllStringFunc(text, func(id string) string {
		kind := kindPatient
		if strings.HasPrefix(id, "u-") {
			kind = kindPerson
		}
		return fmt.Sprint(id, n.beside(kind, id))
	})
}
