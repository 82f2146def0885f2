package administer

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// changePatient are the commands that change one patient.
func changePatient() []*cobra.Command {
	all := []*cobra.Command{forgetPatient()}
	for _, x := range []struct {
		use, short, path, field, done string
	}{
		{"admit ID BED", "Put a patient into a bed, out of the one before", "admit", "bed", "%s lies in %s now"},
		{"discharge ID", "End a patient's stay", "discharge", "", "%s is discharged"},
		{"hold ID REASON", "Place a legal hold: retention and forgetting leave the patient's data alone", "hold", "reason", "%s is under a legal hold: %s"},
		{"release ID", "Release a legal hold", "release", "", "the legal hold of %s is released"},
	} {
		args := 1
		if x.field != "" {
			args = 2
		}
		var at string
		c := adminCommand(x.use, x.short, args, func(ctx context.Context, c *client.Client, s session, a []string) error {
			in, shown := map[string]any{}, []any{a[0]}
			if at != "" {
				t, err := past("--at", at)
				if err != nil {
					return err
				}
				in["at"] = t
			}
			if x.field != "" {
				in[x.field] = a[1]
				shown = append(shown, a[1])
			}
			if err := post(ctx, c, s, http.MethodPost, "patients/"+url.PathEscape(a[0])+"/"+x.path, in); err != nil {
				return err
			}
			did(s, x.done, shown...)
			return nil
		})
		if x.path == "admit" || x.path == "discharge" {
			c.Flags().StringVar(&at, "at", "", "`time` in the past at which it was, at most 31 days ago; default: now")
		}
		all = append(all, c)
	}
	return all
}

// forgetPatient destroys a patient's key, once the user has typed which patient that is.
func forgetPatient() *cobra.Command {
	var q confirmation
	c := adminCommand("forget ID", "Destroy a patient's key, so that the patient's data cannot be opened ever again", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		var all []struct{ ID, Name, Ward, Bed string }
		if err := c.Do(ctx, http.MethodGet, "/api/admin/patients", nil, &all); err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(p struct{ ID, Name, Ward, Bed string }) bool { return p.ID == a[0] })
		if i < 0 {
			return cli.Hinted(fmt.Errorf("no patient has the id %q", a[0]), "`vitalseal patient list` shows them")
		}
		p := all[i]
		if err := q.ask(fmt.Sprintf("%s (%s): the key will be destroyed here, and no person can ever again open a reading, a chart or the name of this patient", p.Name, p.ID), p.ID, p.Name); err != nil {
			return err
		}
		if err := post(ctx, c, s, http.MethodPost, "patients/"+url.PathEscape(p.ID)+"/forget", map[string]string{}); err != nil {
			return err
		}
		did(s, "%s is forgotten: the key is destroyed here. Destroy older copies of the keys of backups as well (doc/install.md)", p.ID)
		return nil
	})
	q.flag(c)
	return c
}
