package administer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// quotaUse is a use and its limit.
type quotaUse struct {
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"`
	Set   bool  `json:"set"`
}

func (u *quotaUse) String() string {
	if u == nil {
		return "-"
	}
	set := ""
	if u.Set {
		set = " (set)"
	}
	return fmt.Sprintf("%d/%d%s", u.Used, u.Limit, set)
}

type quotaLine struct {
	ID        string    `json:"id"`
	Entries   *quotaUse `json:"entries"`
	Bytes     *quotaUse `json:"bytes"`
	LiveViews *quotaUse `json:"live_views"`
	Sessions  *quotaUse `json:"sessions"`
	Keys      *quotaUse `json:"keys"`
	Refused   int64     `json:"refused"`
}

// quotaCommand shows and changes what persons and workstations may use.
func quotaCommand() *cobra.Command {
	return group("quota", "What each person and workstation uses, and of how much", showQuotas(), setQuota())
}

func showQuotas() *cobra.Command {
	return adminCommand("show", "Show use and limit of each person and workstation", 0, func(ctx context.Context, c *client.Client, s session, _ []string) error {
		var answer json.RawMessage
		if err := c.Do(ctx, http.MethodGet, "/api/admin/quotas", nil, &answer); err != nil {
			return err
		}
		if s.json {
			fmt.Println(string(answer))
			return nil
		}
		var all struct {
			Persons, Workstations []quotaLine
			Hospital              quotaLine
			LiveViews             quotaUse `json:"live_views"`
			First                 int      `json:"first_live_views"`
		}
		if err := json.Unmarshal(answer, &all); err != nil {
			return fmt.Errorf("the hub's list cannot be read: %w", err)
		}
		var people []person
		if err := c.Do(ctx, http.MethodGet, "/api/admin/persons", nil, &people); err != nil {
			return err
		}
		logins := map[string]string{}
		for _, p := range people {
			logins[p.ID] = p.Login
		}
		row := func(who string, l quotaLine) map[string]any {
			return map[string]any{"who": who, "entries": l.Entries, "bytes": l.Bytes, "live_views": l.LiveViews, "sessions": l.Sessions, "keys": l.Keys, "refused": l.Refused}
		}
		var rows []map[string]any
		for _, l := range all.Persons {
			rows = append(rows, row(logins[l.ID], l))
		}
		rows = append(rows, row("(hospital)", all.Hospital))
		for _, l := range all.Workstations {
			_, name, _ := strings.Cut(strings.TrimPrefix(l.ID, "spiffe://"), "/")
			rows = append(rows, row(name, l))
		}
		if err := table(os.Stdout, []string{"who", "entries", "bytes", "live_views", "sessions", "keys", "refused"}, rows); err != nil {
			return err
		}
		fmt.Printf("live views beyond the first %d of each workstation: %s\n", all.First, all.LiveViews.String())
		return nil
	})
}

func setQuota() *cobra.Command {
	return adminCommand("set person|station|hospital WHO entries|bytes|live_views LIMIT",
		"Set a limit for one person (login), one workstation (name) or the hospital (-); 0 is the configuration's again", 4,
		func(ctx context.Context, c *client.Client, s session, a []string) error {
			limit, err := strconv.ParseInt(a[3], 10, 64)
			if err != nil || limit < 0 {
				return cli.Usage(fmt.Errorf("limit %q is not a whole number of at least 0", a[3]), "a limit of bytes is in bytes: 1 GiB is 1073741824; 0 is the configuration's again")
			}
			var id string
			switch a[0] {
			case "person":
				p, err := findPerson(ctx, c, a[1])
				if err != nil {
					return err
				}
				id = p.ID
			case "station":
				if id, err = stationID(ctx, c, a[1]); err != nil {
					return err
				}
			case "hospital":
				id = ""
			default:
				return cli.Usage(fmt.Errorf("%q is none of person, station and hospital", a[0]), "`vitalseal quota set person LOGIN entries 5000000`")
			}
			if err := c.Do(ctx, http.MethodPut, "/api/admin/quotas", map[string]any{"kind": a[0], "id": id, "name": a[2], "limit": limit}, nil); err != nil {
				return err
			}
			if !s.json {
				if limit == 0 {
					fmt.Printf("%s %s: %s has the configuration's limit again\n", a[0], a[1], a[2])
				} else {
					fmt.Printf("%s %s: %s now has the limit %d\n", a[0], a[1], a[2], limit)
				}
			}
			return nil
		})
}

// stationID is the SPIFFE id of the workstation with this name or id.
func stationID(ctx context.Context, c *client.Client, name string) (string, error) {
	var all struct{ Workstations []quotaLine }
	if err := c.Do(ctx, http.MethodGet, "/api/admin/quotas", nil, &all); err != nil {
		return "", err
	}
	for _, l := range all.Workstations {
		if l.ID == name || strings.HasSuffix(l.ID, "/workstation/"+strings.TrimPrefix(name, "workstation/")) {
			return l.ID, nil
		}
	}
	return "", cli.Hinted(fmt.Errorf("no workstation has the name %q", name), "`vitalseal quota show` lists them")
}
