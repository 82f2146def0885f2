package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vitalseal/internal/view/client"
)

// passwordEnv holds the password for scripts; a person is asked.
const passwordEnv = "VITALSEAL_PASSWORD" // #nosec G101 -- a variable's name

// session is where an administration command goes and as whom.
type session struct {
	url, login string
	json       bool
}

// adminCommands are clients of the hub's administration face, never of its database.
func adminCommands() []*cobra.Command {
	return []*cobra.Command{
		group("ward", "Wards", addWard(), list("wards", "List the wards", "id", "name")),
		group("bed", "Beds", addBed(), list("beds", "List the beds", "id", "ward", "name")),
		group("patient", "Patients", addPatient(), list("patients", "List the patients", "id", "name", "ward", "bed", "channel")),
		group("user", "People who sign in", addUser(), assignUser("wards"), assignUser("patients")),
		group("identity", "Gateways, sensors and workstations", inviteGateway(), inviteWorkstation(),
			list("inventory", "List every component with its state", "id", "kind", "state", "model", "bed", "last_seen"),
			changeIdentity("disable", "Keep a component out, and end its live connections"),
			changeIdentity("enable", "Let a disabled component back in"),
			changeIdentity("delete", "Remove a component for good")),
		group("channel", "ThingSpeak channels and keys", addChannel(), addKey()),
	}
}

func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: short + `.

These commands sign in at the hub through a workstation's "vitalseal connect" address, as the person named with --login.
The password is asked for, or taken from $` + passwordEnv + `.`}
	onlyGroup(c)
	c.AddCommand(sub...)
	return c
}

// adminCommand is one command that signs in, does its work and signs out.
func adminCommand(use, short string, args int, do func(ctx context.Context, c *client.Client, s session, args []string) error) *cobra.Command {
	var s session
	c := &cobra.Command{Use: use, Short: short, Args: exactArgs(args),
		RunE: func(c *cobra.Command, args []string) (err error) {
			ctx := c.Context()
			cl, err := client.New(s.url)
			if err != nil {
				return &usageError{err, "give the address that `vitalseal connect` printed with --url"}
			}
			password, err := askPassword(s.login)
			if err != nil {
				return err
			}
			err = cl.SignIn(ctx, s.login, password)
			if errors.Is(err, syscall.ECONNREFUSED) {
				return &hinted{err, "start `vitalseal connect` on this workstation, or give its address with --url"}
			}
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, cl.SignOut(context.WithoutCancel(ctx))) }()
			return do(ctx, cl, s, args)
		}}
	c.Flags().StringVar(&s.url, "url", "http://127.0.0.1:8420", "`address` that \"vitalseal connect\" printed")
	c.Flags().StringVar(&s.login, "login", "admin", "who signs in")
	c.Flags().BoolVar(&s.json, "json", false, "print the hub's answer as JSON")
	return c
}

func askPassword(login string) (string, error) {
	if p := os.Getenv(passwordEnv); p != "" {
		return p, nil
	}
	fd := int(os.Stdin.Fd()) // #nosec G115 -- a descriptor fits
	if !term.IsTerminal(fd) {
		return "", &usageError{errors.New("no password"), "set $" + passwordEnv + ", or run this at a terminal"}
	}
	fmt.Fprintf(os.Stderr, "password of %s: ", login)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(os.Stderr)
	return string(b), err
}

// post sends one object and prints what came back.
func post(ctx context.Context, c *client.Client, s session, method, path string, in any) error {
	var out map[string]any
	if err := c.Do(ctx, method, "/api/admin/"+path, in, &out); err != nil {
		return err
	}
	if s.json {
		return json.NewEncoder(os.Stdout).Encode(out)
	}
	for _, k := range []string{"id", "channel", "login", "password", "key", "write_key"} {
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

func addUser() *cobra.Command {
	var role, name, self string
	var wards, patients []string
	c := adminCommand("add LOGIN", "Create a person; the answer holds a password, once", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
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

// assignUser replaces a nurse's wards or a doctor's patients.
func assignUser(what string) *cobra.Command {
	return adminCommand(what+" PERSON-ID ID,ID,...", "Replace a person's "+what, 2, func(ctx context.Context, c *client.Client, s session, a []string) error {
		ids := []string{}
		if a[1] != "" {
			ids = strings.Split(a[1], ",")
		}
		return post(ctx, c, s, http.MethodPut, "persons/"+url.PathEscape(a[0])+"/"+what, map[string][]string{what: ids})
	})
}

func inviteGateway() *cobra.Command {
	var sensors []string
	var out string
	c := adminCommand("invite-gateway ID", "Create a gateway with its sensors and write their ticket", 1, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		specs := []map[string]string{}
		for _, s := range sensors {
			f := strings.Split(s, ":")
			if len(f) < 3 || len(f) > 4 {
				return &usageError{fmt.Errorf("--sensor %q", s), "write ID:MODEL:SERIAL or ID:MODEL:SERIAL:BED, for instance oxi-1:MAX30100:A17:a-1"}
			}
			spec := map[string]string{"id": f[0], "model": f[1], "serial": f[2]}
			if len(f) == 4 {
				spec["bed"] = f[3]
			}
			specs = append(specs, spec)
		}
		return ticket(ctx, c, "gateways", map[string]any{"id": a[0], "sensors": specs}, out)
	})
	c.Flags().StringArrayVar(&sensors, "sensor", nil, "ID:MODEL:SERIAL[:BED]; may be given several times")
	c.Flags().StringVar(&out, "out", "", "file for the ticket (required): a secret until it is used")
	_ = c.MarkFlagRequired("out")
	return c
}

func inviteWorkstation() *cobra.Command {
	var out string
	c := adminCommand("invite-workstation ID", "Create a workstation and write its ticket", 1, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		return ticket(ctx, c, "workstations", map[string]string{"id": a[0]}, out)
	})
	c.Flags().StringVar(&out, "out", "", "file for the ticket (required): a secret until it is used")
	_ = c.MarkFlagRequired("out")
	return c
}

func ticket(ctx context.Context, c *client.Client, path string, in any, out string) error {
	// The file first: a ticket that cannot be kept must not be made.
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- the administrator names the file
	if err != nil {
		return &usageError{err, "give a new file with --out"}
	}
	var t json.RawMessage
	if err := c.Do(ctx, http.MethodPost, "/api/admin/"+path, in, &t); err != nil {
		return errors.Join(err, f.Close(), os.Remove(out))
	}
	_, err = f.Write(t)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: use it once, soon: vitalseal enrol --ticket %s --data DIR\n", out, out)
	return nil
}

func changeIdentity(change, short string) *cobra.Command {
	return adminCommand(change+" SPIFFE-ID", short, 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		return post(ctx, c, s, http.MethodPost, "identities/"+url.PathEscape(a[0])+"/"+change, map[string]any{})
	})
}

func addChannel() *cobra.Command {
	var fields []string
	c := adminCommand("add NAME", "Create a free channel; the answer holds its write key, once", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		return post(ctx, c, s, http.MethodPost, "channels", map[string]any{"name": a[0], "fields": fields})
	})
	c.Flags().StringSliceVar(&fields, "field", nil, "name of a field, in order; up to eight")
	return c
}

func addKey() *cobra.Command {
	return adminCommand("key PERSON-ID CHANNEL", "Make a read key for a channel in a person's name, shown once", 2, func(ctx context.Context, c *client.Client, s session, a []string) error {
		n, err := strconv.ParseInt(a[1], 10, 64)
		if err != nil {
			return &usageError{fmt.Errorf("channel %q is not a number", a[1]), "`vitalseal patient list` shows them"}
		}
		return post(ctx, c, s, http.MethodPost, "keys", map[string]any{"person": a[0], "channel": n})
	})
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
