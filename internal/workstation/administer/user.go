package administer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// newPasswordEnv holds the new password for scripts; a person is asked.
const newPasswordEnv = "VITALSEAL_NEW_PASSWORD" // #nosec G101 -- a variable's name

// userCommand administers those who sign in. People are named by their login, or by their id.
func userCommand() *cobra.Command {
	return group("user", "People who sign in",
		list("persons", "List the people", "login", "display_name", "role", "wards", "patients", "disabled", "id"),
		showUser(), addUser(), roleUser(), assignUser("wards"), assignUser("patients"),
		changeUser("disable", "Keep a person out, and end the person's sessions", "may not sign in any more; the sessions have ended. `vitalseal user enable` lets the person back in"),
		changeUser("enable", "Let a disabled person back in", "may sign in again"),
		changeUser("sign-out", "End all sessions of a person", "is signed out everywhere"),
		passwordUser(),
		changeUser("reset-factors", "Take away a person's second factors and passkeys, and end the person's sessions", "has no second factor and no passkey any more"))
}

// person is a user, as the hub lists them.
type person struct {
	ID                 string   `json:"id"`
	Login              string   `json:"login"`
	DisplayName        string   `json:"display_name"`
	Role               string   `json:"role"`
	Wards              []string `json:"wards"`
	Patients           []string `json:"patients"`
	Self               string   `json:"self"`
	Disabled           bool     `json:"disabled"`
	MustChangePassword bool     `json:"must_change_password"`
}

// findPerson is the person with this login or id.
func findPerson(ctx context.Context, c *client.Client, name string) (person, error) {
	var all []person
	if err := c.Do(ctx, http.MethodGet, "/api/admin/persons", nil, &all); err != nil {
		return person{}, err
	}
	i := slices.IndexFunc(all, func(p person) bool { return p.Login == strings.ToLower(name) || p.ID == name })
	if i < 0 {
		return person{}, cli.Hinted(fmt.Errorf("no user has the login or id %q", name), "`vitalseal user list` shows them")
	}
	return all[i], nil
}

func showUser() *cobra.Command {
	return adminCommand("show LOGIN", "Show a user", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		p, err := findPerson(ctx, c, a[0])
		if err != nil {
			return err
		}
		if s.json {
			return json.NewEncoder(os.Stdout).Encode(p)
		}
		state := "may sign in"
		switch {
		case p.Disabled:
			state = "disabled"
		case p.MustChangePassword:
			state = "has to change a one-time password first"
		}
		for _, line := range [][2]string{{"login", p.Login}, {"id", p.ID}, {"name", p.DisplayName}, {"role", p.Role}, {"state", state},
			{"wards", strings.Join(p.Wards, " ")}, {"patients", strings.Join(p.Patients, " ")}, {"self", p.Self}} {
			if line[1] != "" {
				fmt.Printf("%s: %s\n", line[0], line[1])
			}
		}
		return nil
	})
}

func addUser() *cobra.Command {
	var role, name, self string
	var wards, patients []string
	c := adminCommand("add LOGIN", "Create a person; the answer holds a one-time password", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		return post(ctx, c, s, http.MethodPost, "persons", map[string]any{"login": a[0], "display_name": name, "role": role,
			"wards": wards, "patients": patients, "self": self})
	})
	c.Flags().StringVar(&role, "role", "", "patient, nurse, doctor, staff, auditor or admin (required)")
	c.Flags().StringVar(&name, "name", "", "the person's name, as the dashboard shows it (required)")
	c.Flags().StringSliceVar(&wards, "ward", nil, "a nurse's ward; may be given several times")
	c.Flags().StringSliceVar(&patients, "patient", nil, "a patient whom a doctor treats; may be given several times")
	c.Flags().StringVar(&self, "self", "", "a patient's own id")
	_ = c.MarkFlagRequired("role")
	_ = c.MarkFlagRequired("name")
	return c
}

// roleUser changes a user's role; relationships of the old role end.
func roleUser() *cobra.Command {
	var wards, patients []string
	c := adminCommand("role LOGIN ROLE", "Change a user's role; the old role's wards or patients go with it", 2, func(ctx context.Context, c *client.Client, s session, a []string) error {
		p, err := findPerson(ctx, c, a[0])
		if err != nil {
			return err
		}
		return post(ctx, c, s, http.MethodPut, "persons/"+url.PathEscape(p.ID)+"/role", map[string]any{"role": a[1], "wards": wards, "patients": patients})
	})
	c.Flags().StringSliceVar(&wards, "ward", nil, "a nurse's ward; may be given several times")
	c.Flags().StringSliceVar(&patients, "patient", nil, "a patient whom a doctor treats; may be given several times")
	return c
}

// assignUser replaces a nurse's wards or a doctor's patients.
func assignUser(what string) *cobra.Command {
	return adminCommand(what+" LOGIN ID,ID,...", "Replace a user's "+what+` ("" for none)`, 2, func(ctx context.Context, c *client.Client, s session, a []string) error {
		p, err := findPerson(ctx, c, a[0])
		if err != nil {
			return err
		}
		ids := []string{}
		if a[1] != "" {
			ids = strings.Split(a[1], ",")
		}
		return post(ctx, c, s, http.MethodPut, "persons/"+url.PathEscape(p.ID)+"/"+what, map[string][]string{what: ids})
	})
}

func changeUser(change, short, done string) *cobra.Command {
	return adminCommand(change+" LOGIN", short, 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		p, err := findPerson(ctx, c, a[0])
		if err != nil {
			return err
		}
		if err := post(ctx, c, s, http.MethodPost, "persons/"+url.PathEscape(p.ID)+"/"+change, map[string]any{}); err != nil {
			return err
		}
		did(s, "%s %s", p.Login, done)
		return nil
	})
}

// passwordUser changes one's own password, or makes a one-time password for another user.
func passwordUser() *cobra.Command {
	c := adminCommand("password LOGIN", "Change your own password (LOGIN is --login), or make a one-time password for another user", 1,
		func(ctx context.Context, c *client.Client, s session, a []string) error {
			if strings.EqualFold(a[0], s.login) {
				return changeOwnPassword(ctx, c, s)
			}
			p, err := findPerson(ctx, c, a[0])
			if err != nil {
				return err
			}
			return post(ctx, c, s, http.MethodPost, "persons/"+url.PathEscape(p.ID)+"/password", map[string]any{})
		})
	c.Long = c.Short + `.

With your own login (the one of --login) it changes your password: the old one is asked for, or taken from $` + passwordEnv + `, the new one is asked
for twice, or taken from $` + newPasswordEnv + `; a second factor comes from $` + totpEnv + `. With another login, as an administrator, it makes a one-time
password, prints it, and ends that person's sessions.`
	c.Example = `  vitalseal user password admin
  vitalseal user password tom --login tom
  ` + passwordEnv + `=... ` + newPasswordEnv + `=... vitalseal user password admin`
	return c
}

func changeOwnPassword(ctx context.Context, c *client.Client, s session) error {
	fd := int(os.Stdin.Fd()) // #nosec G115 -- a descriptor fits
	fresh := os.Getenv(newPasswordEnv)
	old := cmp.Or(os.Getenv(passwordEnv), s.password)
	ask := func(what string) (string, error) { return askHidden(os.Stdin, os.Stderr, what+": ") }
	if (old == "" || fresh == "") && !term.IsTerminal(fd) {
		return cli.Usage(errors.New("no new password"), "set $"+passwordEnv+" and $"+newPasswordEnv+", or run this at a terminal")
	}
	var err error
	if old == "" {
		if old, err = ask("old password of " + s.login); err != nil {
			return err
		}
	}
	if fresh == "" {
		again := ""
		if fresh, err = ask("new password"); err != nil {
			return err
		}
		if again, err = ask("new password, again"); err != nil {
			return err
		}
		if fresh != again {
			return errors.New("the two new passwords differ; nothing was changed")
		}
	}
	if err := c.Do(ctx, http.MethodPost, "/api/account/password", map[string]string{"old": old, "new": fresh}, nil); err != nil {
		return err
	}
	did(s, "the password of %s is changed", s.login)
	return nil
}
