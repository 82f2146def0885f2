// Package administer holds the commands by which a person administers a deployment through a
// workstation: persons, wards, beds, patients, components, approvals, quotas, channels. Each signs
// in at the hub's faces as its user ([vitalseal/internal/workstation/client]) and may do what that user
// may do; none opens a store. [Policy] alone works on a file and asks no hub.
package administer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// Commands are clients of the hub's administration face, never of its database.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		group("ward", "Wards", addWard(), list("wards", "List the wards", "id", "name")),
		group("bed", "Beds", addBed(), list("beds", "List the beds", "id", "ward", "name")),
		group("patient", "Patients", append(changePatient(), addPatient(), list("patients", "List the patients", "id", "name", "ward", "bed", "channel"),
			listHolds(), moveReadings())...),
		userCommand(),
		quotaCommand(),
		approvalCommand(),
		identityCommand(),
		thingspeakCommand(),
		group("channel", "ThingSpeak channels, keys and MQTT devices", addChannel(), addKey(), mqttCommand()),
	}
}

func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: short + `.

These commands sign in at the hub through a workstation's "vitalseal connect" address, as the person named with --login.
The password is asked for, or taken from $` + passwordEnv + `; so is a second factor, from $` + totpEnv + `.`}
	cli.OnlyGroup(c)
	c.AddCommand(sub...)
	return c
}

// post sends one object to the administration and prints what came back.
func post(ctx context.Context, c *client.Client, s session, method, path string, in any) error {
	return send(ctx, c, s, method, "/api/admin/"+path, in)
}

// send is post for any of the hub's paths.
func send(ctx context.Context, c *client.Client, s session, method, path string, in any) error {
	var answer json.RawMessage
	if err := c.Do(ctx, method, path, in, &answer); err != nil {
		return err
	}
	return printAnswer(answer, s)
}

// printAnswer prints what the hub made, or that it waits.
func printAnswer(answer json.RawMessage, s session) error {
	if !s.json && saysWait(answer) {
		return nil
	}
	var out map[string]any
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &out); err != nil {
			return fmt.Errorf("the hub's answer cannot be read: %w", err)
		}
	}
	if s.json {
		return json.NewEncoder(os.Stdout).Encode(out)
	}
	for _, k := range []string{"id", "channel", "login", "username", "password", "key"} {
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
	yes := false
	c := adminCommand("add NAME BED", "Create a patient and admit it to a bed", 2, func(ctx context.Context, c *client.Client, s session, a []string) error {
		var answer json.RawMessage
		if err := questioned(ctx, c, "/api/admin/patients", map[string]any{"name": a[0], "bed": a[1]}, yes, &answer); err != nil {
			return err
		}
		return printAnswer(answer, s)
	})
	c.Flags().BoolVar(&yes, "yes", false, "do not ask when a patient of the same name exists")
	return c
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
	c.Flags().StringSliceVar(&fields, "field", nil, "name of a field, in order; up to eight. The channel's feeds show the fields that have a name, or field1 to field8 where none has")
	return c
}

func addKey() *cobra.Command {
	write := false
	c := adminCommand("key CHANNEL", "Make a key for a channel in your own name, shown once", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		n, err := strconv.ParseInt(a[0], 10, 64)
		if err != nil {
			return cli.Usage(fmt.Errorf("channel %q is not a number", a[0]), "`vitalseal patient list` shows them")
		}
		return send(ctx, c, s, http.MethodPost, "/api/account/keys", map[string]any{"channel": n, "write": write})
	})
	c.Long = c.Short + `.

The key speaks for you, never for more than you may at that moment, and only from an enrolled workstation. It reads the channel; with
--write it writes it instead, which a patient's channel refuses to every key. CHANNEL 0 makes the key of your account, which makes and
manages your own free channels and TalkBacks, and reads no patient; it needs a fresh proof of who you are. You may have 1,000 keys, 250 free channels and
250 TalkBacks. How often a key may write, and how much at once, is the hub's to say ("thingspeak: profile:" in its configuration): by default
without limit, else as ThingSpeak has it, one update in 15 seconds (free) or 1 second (paid).`
	c.Flags().BoolVar(&write, "write", false, "a key that writes, for a free channel, instead of one that reads")
	return c
}

// mqttCommand manages what MQTT clients sign in as.
func mqttCommand() *cobra.Command {
	var publish, subscribe []int64
	add := adminCommand("add", "Make an MQTT device in your own name: client id, user name and password, shown once", 0, func(ctx context.Context, c *client.Client, s session, _ []string) error {
		rights := map[int64]map[string]any{}
		for what, channels := range map[string][]int64{"publish": publish, "subscribe": subscribe} {
			for _, n := range channels {
				if rights[n] == nil {
					rights[n] = map[string]any{"channel": n}
				}
				rights[n][what] = true
			}
		}
		if len(rights) == 0 {
			return cli.Usage(errors.New("a device without channels may do nothing"), "give --publish or --subscribe with numbers of channels")
		}
		return send(ctx, c, s, http.MethodPost, "/api/account/mqtt", map[string]any{"channels": slices.Collect(maps.Values(rights))})
	})
	add.Flags().Int64SliceVar(&publish, "publish", nil, "`channels` that it writes, free ones only; comma-separated")
	add.Flags().Int64SliceVar(&subscribe, "subscribe", nil, "`channels` that it listens to; comma-separated")
	list := adminCommand("list", "List your MQTT devices", 0, func(ctx context.Context, c *client.Client, s session, _ []string) error {
		var devices []struct {
			ID     string `json:"id"`
			Rights []struct {
				Channel   int64 `json:"channel"`
				Publish   bool  `json:"publish"`
				Subscribe bool  `json:"subscribe"`
			} `json:"channels"`
		}
		if err := c.Do(ctx, http.MethodGet, "/api/account/mqtt", nil, &devices); err != nil {
			return err
		}
		if s.json {
			return json.NewEncoder(os.Stdout).Encode(devices)
		}
		var rows []map[string]any
		for _, d := range devices {
			var publish, subscribe []string
			for _, r := range d.Rights {
				n := strconv.FormatInt(r.Channel, 10)
				if r.Publish {
					publish = append(publish, n)
				}
				if r.Subscribe {
					subscribe = append(subscribe, n)
				}
			}
			rows = append(rows, map[string]any{"id": d.ID, "publish": strings.Join(publish, ", "), "subscribe": strings.Join(subscribe, ", ")})
		}
		return table(os.Stdout, []string{"id", "publish", "subscribe"}, rows)
	})
	remove := adminCommand("remove ID", "Take one of your MQTT devices out of use; it is cut off within two seconds", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		return send(ctx, c, s, http.MethodDelete, "/api/account/mqtt/"+url.PathEscape(a[0]), nil)
	})
	c := &cobra.Command{Use: "mqtt", Short: "What MQTT clients sign in as", Long: `What MQTT clients sign in as: a client id, the same as user name, and a password, after ThingSpeak's "MQTT devices".

A device acts in the name of the person who made it, on the channels it was made for, as far as that person may: a patient's channel it can
only listen to. Clients reach the hub's broker through "vitalseal connect --service thingspeak".`}
	cli.OnlyGroup(c)
	c.AddCommand(add, list, remove)
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

// toSecond is a time of the hub's JSON without parts of a second, for people; what is no time stays as it is.
func toSecond(s string) string {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return s
	}
	return t.Format(time.RFC3339)
}

func table(w io.Writer, columns []string, rows []map[string]any) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, r := range rows {
		cells := make([]string, len(columns))
		for i, k := range columns {
			if v := r[k]; v != nil {
				cells[i] = toSecond(fmt.Sprint(v))
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}
