package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vitalseal/internal/view/client"
)

// adminCommands are clients of the hub's administration face, never of its database.
func adminCommands() []*cobra.Command {
	return []*cobra.Command{
		group("ward", "Wards", addWard(), list("wards", "List the wards", "id", "name")),
		group("bed", "Beds", addBed(), list("beds", "List the beds", "id", "ward", "name")),
		group("patient", "Patients", append(changePatient(), addPatient(), list("patients", "List the patients", "id", "name", "ward", "bed", "channel"),
			listHolds())...),
		userCommand(),
		identityCommand(),
		thingspeakCommand(),
		group("channel", "ThingSpeak channels and keys", addChannel(), addKey()),
	}
}

func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: short + `.

These commands sign in at the hub through a workstation's "vitalseal connect" address, as the person named with --login.
The password is asked for, or taken from $` + passwordEnv + `; so is a second factor, from $` + totpEnv + `.`}
	onlyGroup(c)
	c.AddCommand(sub...)
	return c
}

// post sends one object to the administration and prints what came back.
func post(ctx context.Context, c *client.Client, s session, method, path string, in any) error {
	return send(ctx, c, s, method, "/api/admin/"+path, in)
}

// send is post for any of the hub's paths.
func send(ctx context.Context, c *client.Client, s session, method, path string, in any) error {
	var out map[string]any
	if err := c.Do(ctx, method, path, in, &out); err != nil {
		return err
	}
	if s.json {
		return json.NewEncoder(os.Stdout).Encode(out)
	}
	for _, k := range []string{"id", "channel", "login", "password", "key"} {
		if v, ok := out[k]; ok && v != "" {
			fmt.Printf("%s: %v\n", k, v)
		}
	}
	return nil
}

func addWard() *cobra.Command {
	return adminCommand("add ID NAME", "Create a ward", 2, func(ctx context.Context, c *client.Client, s session, a []string) error {
		return post(ctx, c, s, http.MethodPost, "wards", map[string]string{"id": a[0], "name": a[1]})
	})
}

func addBed() *cobra.Command {
	return adminCommand("add ID WARD NAME", "Create a bed on a ward", 3, func(ctx context.Context, c *client.Client, s session, a []string) error {
		return post(ctx, c, s, http.MethodPost, "beds", map[string]string{"id": a[0], "ward": a[1], "name": a[2]})
	})
}

func addPatient() *cobra.Command {
	return adminCommand("add NAME BED", "Create a patient and admit it to a bed", 2, func(ctx context.Context, c *client.Client, s session, a []string) error {
		return post(ctx, c, s, http.MethodPost, "patients", map[string]string{"name": a[0], "bed": a[1]})
	})
}

// changePatient are the commands that change one patient.
func changePatient() (all []*cobra.Command) {
	for _, x := range []struct {
		use, short, path, field string
	}{
		{"admit ID BED", "Put a patient into a bed, out of the one before", "admit", "bed"},
		{"discharge ID", "End a patient's stay", "discharge", ""},
		{"hold ID REASON", "Place a legal hold: retention and forgetting leave the patient's data alone", "hold", "reason"},
		{"release ID", "Release a legal hold", "release", ""},
		{"forget ID", "Destroy a patient's key, so that nobody can open the patient's data ever again", "forget", ""},
	} {
		args := 1
		if x.field != "" {
			args = 2
		}
		all = append(all, adminCommand(x.use, x.short, args, func(ctx context.Context, c *client.Client, s session, a []string) error {
			in := map[string]string{}
			if x.field != "" {
				in[x.field] = a[1]
			}
			return post(ctx, c, s, http.MethodPost, "patients/"+url.PathEscape(a[0])+"/"+x.path, in)
		}))
	}
	return all
}

func listHolds() *cobra.Command {
	c := list("holds", "List the legal holds", "patient", "person", "since", "reason")
	c.Use = "holds"
	return c
}

func addChannel() *cobra.Command {
	var fields []string
	c := adminCommand("add NAME", "Create a free channel (make a key for it with `channel key --write`)", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		return post(ctx, c, s, http.MethodPost, "channels", map[string]any{"name": a[0], "fields": fields})
	})
	c.Flags().StringSliceVar(&fields, "field", nil, "name of a field, in order; up to eight")
	return c
}

func addKey() *cobra.Command {
	write := false
	c := adminCommand("key CHANNEL", "Make a key for a channel in your own name, shown once", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		n, err := strconv.ParseInt(a[0], 10, 64)
		if err != nil {
			return &usageError{fmt.Errorf("channel %q is not a number", a[0]), "`vitalseal patient list` shows them"}
		}
		return send(ctx, c, s, http.MethodPost, "/api/account/keys", map[string]any{"channel": n, "write": write})
	})
	c.Flags().BoolVar(&write, "write", false, "a key that writes, for a free channel, instead of one that reads")
	return c
}

// list prints one of the hub's lists as a table.
func list(path, short string, columns ...string) *cobra.Command {
	return adminCommand("list", short, 0, func(ctx context.Context, c *client.Client, s session, _ []string) error {
		var rows []map[string]any
		if err := c.Do(ctx, http.MethodGet, "/api/admin/"+path, nil, &rows); err != nil {
			return err
		}
		if s.json {
			return json.NewEncoder(os.Stdout).Encode(rows)
		}
		return table(os.Stdout, columns, rows)
	})
}

func table(w io.Writer, columns []string, rows []map[string]any) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, r := range rows {
		cells := make([]string, len(columns))
		for i, k := range columns {
			if v := r[k]; v != nil {
				cells[i] = fmt.Sprint(v)
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}
