package administer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"
	"rsc.io/qr"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// identityCommand is the inventory of components: who exists, who may take part.
func identityCommand() *cobra.Command {
	return group("identity", "Gateways, sensors, workstations, routers and hubs", inviteGateway(), inviteWorkstation(),
		inviteOne("router", "Create an edge router of the overlay and write its ticket, for `vitalseal router`"),
		inviteOne("hub", "Create the identity of another hub and write its ticket: its holder can speak as a hub"),
		inviteOne("egress", "Create an egress, the way out to one address of the internet, and write its ticket"),
		list("inventory", "List every component with its state", "id", "kind", "state", "model", "bed", "version", "last_seen", "kept_out_since", "kept_out_by_login"),
		showIdentity(), addSensors(), replaceSensor(), moveSensor(),
		changeIdentity("disable", "Keep a component out, and end its live connections; a gateway takes its sensors along",
			"it will be kept out and its live connections end, with those of what hangs on it", "is kept out; `vitalseal identity enable` lets it back in"),
		changeIdentity("enable", "Let a disabled component back in", "", "may take part again"),
		changeIdentity("rotate", "Demand a new key when the component renews next; from then on the old one is refused", "", "has to bring a new key when it renews next"),
		changeIdentity("reset-numbers", "Forget how high a sensor or a gateway counted its starts: for one that a forged or lost number keeps out", "", "may count its starts from any number"),
		settleClock(),
		changeIdentity("delete", "Remove a component for good", "it will be removed for good; its name cannot be used again once it has enrolled", "is deleted"),
		ticketAgain())
}

// ticketOut is where a ticket goes: a file, a code in the terminal, or both.
type ticketOut struct {
	file string
	code bool
	yes  bool // what the hub questions is meant
}

func (t *ticketOut) flags(c *cobra.Command) {
	c.Flags().StringVar(&t.file, "out", "", "`file` for the ticket: a secret until it is used")
	c.Flags().BoolVar(&t.code, "qr", false, "show the ticket as a QR code in the terminal, for \"vitalseal enrol --ticket -\" behind a scanner")
}

func inviteGateway() *cobra.Command {
	var sensors []string
	var out ticketOut
	c := adminCommand("invite-gateway ID", "Create a gateway with its sensors and write their ticket", 1, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		specs, err := sensorSpecs(sensors)
		if err != nil {
			return err
		}
		return out.invite(ctx, c, "gateways", a[0], 1+len(specs), map[string]any{"id": a[0], "sensors": specs})
	})
	c.Flags().StringArrayVar(&sensors, "sensor", nil, "ID:MODEL:SERIAL[:BED]; may be given several times")
	out.flags(c)
	c.Flags().BoolVar(&out.yes, "yes", false, "do not ask when something looks like a mistake")
	return c
}

func inviteWorkstation() *cobra.Command {
	var out ticketOut
	var display bool
	var wards []string
	c := adminCommand("invite-workstation ID", "Create a workstation and write its ticket", 1, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		in := map[string]any{"id": a[0]}
		switch {
		case display && len(wards) == 0:
			return cli.Usage(errors.New("--display without --ward"), "name the wards whose beds the screen shows")
		case !display && len(wards) > 0:
			return cli.Usage(errors.New("--ward without --display"), "only a wall screen belongs to wards")
		case display:
			in["mode"], in["wards"] = "display", wards
		}
		return out.invite(ctx, c, "workstations", a[0], 1, in)
	})
	c.Flags().BoolVar(&display, "display", false, "a wall screen: it shows its wards' beds, without names, while no user is signed in")
	c.Flags().StringSliceVar(&wards, "ward", nil, "of a display: a ward whose beds it shows; may be given several times")
	out.flags(c)
	return c
}

func inviteOne(kind, short string) *cobra.Command {
	var out ticketOut
	plural := kind + "s"
	if strings.HasSuffix(kind, "s") {
		plural = kind + "es"
	}
	c := adminCommand("invite-"+kind+" ID", short, 1, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		return out.invite(ctx, c, plural, a[0], 1, map[string]any{"id": a[0]})
	})
	out.flags(c)
	return c
}

const (
	// maxCode is what one QR code holds at its lowest error correction, in bytes.
	maxCode = 2953
	// componentBytes is about what each component adds to a ticket.
	componentBytes = 1000
)

// invite has the hub make components and their ticket. What would lose the ticket is found before it is made.
func (t *ticketOut) invite(ctx context.Context, c *client.Client, path, id string, components int, in map[string]any) error {
	switch {
	case t.file == "" && !t.code:
		return cli.Usage(errors.New("no place for the ticket"), "give a new file with --out, or --qr for a code in the terminal")
	case t.file == "" && components*componentBytes > maxCode:
		return cli.Usage(fmt.Errorf("--qr: a ticket for %d components does not fit into one code, which holds %d bytes", components, maxCode),
			"write it to a file with --out and carry that to the component, or invite a gateway with at most one sensor")

	}
	file := t.file
	if file == "" {
		file = id + ".ticket" // made only if the code cannot be shown
	}
	// The file first: a ticket that cannot be kept must not be made.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- the administrator names the file
	if err != nil {
		return cli.Usage(err, "give a new file with --out")
	}
	var ticket json.RawMessage
	if err := questioned(ctx, c, "/api/admin/"+path, in, t.yes, &ticket); err != nil {
		return errors.Join(err, f.Close(), os.Remove(file))
	}
	if saysWait(ticket) {
		fmt.Fprintln(os.Stderr, "the approver gets the ticket")
		return errors.Join(f.Close(), os.Remove(file))
	}
	_, err = f.Write(ticket)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if t.code {
		if err := showCode(os.Stdout, ticket); err != nil {
			return cli.Hinted(fmt.Errorf("%w; the ticket is in %s", err, file), "carry that file to the component: vitalseal enrol --ticket "+file+" --data DIR")
		}
		if t.file == "" {
			fmt.Fprintln(os.Stderr, "scan it once, soon, into: vitalseal enrol --ticket - --data DIR")
			return os.Remove(file)
		}
	}
	run := "enrol"
	if path == "routers" || strings.HasPrefix(path, "identities/router/") {
		run = "router"
	}
	fmt.Fprintf(os.Stderr, "%s: use it once, soon: vitalseal %s --ticket %s --data DIR\n", file, run, file)
	return nil
}

// showCode draws a ticket as one QR code.
func showCode(w io.Writer, ticket []byte) error {
	var compact bytes.Buffer
	if err := json.Compact(&compact, ticket); err != nil {
		return errors.New("the hub's ticket is not JSON")
	}
	if _, err := qr.Encode(compact.String(), qr.L); err != nil {
		return fmt.Errorf("the ticket has %d bytes and does not fit into one code, which holds %d", compact.Len(), maxCode)
	}
	qrterminal.GenerateWithConfig(compact.String(), qrterminal.Config{Level: qr.L, Writer: w, HalfBlocks: true, QuietZone: 2,
		BlackChar: qrterminal.BLACK_BLACK, WhiteChar: qrterminal.WHITE_WHITE,
		BlackWhiteChar: qrterminal.BLACK_WHITE, WhiteBlackChar: qrterminal.WHITE_BLACK})
	return nil
}

// identityPath is a component's path in the administration face, from its SPIFFE id or KIND/NAME.
func identityPath(id string) (string, error) {
	parts := strings.Split(strings.TrimPrefix(id, "spiffe://"), "/")
	if strings.HasPrefix(id, "spiffe://") && len(parts) > 0 {
		parts = parts[1:]
	}
	if len(parts) != 2 || parts[0] == "" || parts[1] == "" {
		return "", cli.Usage(fmt.Errorf("%q is no component", id), "write its SPIFFE id, or KIND/NAME such as sensor/oxi-1; `vitalseal identity list` shows them")
	}
	return "identities/" + url.PathEscape(parts[0]) + "/" + url.PathEscape(parts[1]), nil
}

// sensorName is the short name of a sensor, given as NAME, sensor/NAME or its SPIFFE id.
func sensorName(id string) (string, error) {
	if id != "" && !strings.Contains(id, "/") {
		return id, nil
	}
	path, err := identityPath(id)
	if err != nil {
		return "", err
	}
	kind, escaped, _ := strings.Cut(strings.TrimPrefix(path, "identities/"), "/")
	if kind != "sensor" {
		return "", cli.Usage(fmt.Errorf("%q is no sensor", id), "write its name, sensor/NAME or its SPIFFE id; `vitalseal identity list` shows them")
	}
	return url.PathUnescape(escaped)
}

// writeLine writes an answer of the hub as it is, and a line end; nothing for no answer.
func writeLine(w io.Writer, answer []byte) error {
	if len(answer) == 0 {
		return nil
	}
	_, err := w.Write(append(bytes.TrimSpace(answer), '\n'))
	return err
}

// saySettled says what the settling of a sensor's clock brought to the charts.
func saySettled(w io.Writer, sensor string, answer []byte) error {
	var out struct {
		Released int  `json:"released_chunks"`
		Waiting  *int `json:"waiting_chunks"` // before; a hub of an earlier version does not say it
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return fmt.Errorf("the hub's answer cannot be read: %w", err)
	}
	var err error
	switch {
	case out.Waiting != nil && *out.Waiting == 0:
		_, err = fmt.Fprintf(w, "nothing waits for the clock of %s: nothing was changed\n", sensor)
	case out.Released == 0:
		_, err = fmt.Fprintf(w, "no chunk of %s came to a chart: `vitalseal identity show sensor/%s` says what waits\n", sensor, sensor)
	case out.Waiting != nil && *out.Waiting != out.Released:
		_, err = fmt.Fprintf(w, "%d of %d chunks of %s that waited are on the charts now\n", out.Released, *out.Waiting, sensor)
	default:
		_, err = fmt.Fprintf(w, "%d chunks of %s that waited are on the charts now\n", out.Released, sensor)
	}
	return err
}

// changeIdentity changes a component. With a warning it asks first, for the component's name.
func changeIdentity(change, short, warning, done string) *cobra.Command {
	var q confirmation
	c := adminCommand(change+" ID", short, 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		d, err := findIdentity(ctx, c, a[0])
		if err != nil {
			return err
		}
		if warning != "" {
			if err := q.ask(d.what()+": "+warning, d.name(), d.ID); err != nil {
				return err
			}
		}
		var answer json.RawMessage
		if err := c.Do(ctx, http.MethodPost, "/api/admin/"+d.path+"/"+change, map[string]any{}, &answer); err != nil {
			return err
		}
		if err := printAnswer(answer, s); err != nil || isWait(answer) {
			return err
		}
		did(s, "%s %s", d.ID, done)
		return nil
	})
	if warning != "" {
		q.flag(c)
	}
	return c
}

// foundIdentity is a component as the hub knows it.
type foundIdentity struct {
	ID, Kind, State, Bed, Model string
	path                        string // in the administration face
}

// findIdentity asks the hub for a component, so that a question and an answer can say which one is meant.
func findIdentity(ctx context.Context, c *client.Client, id string) (d foundIdentity, err error) {
	path, err := identityPath(id)
	if err != nil {
		return d, err
	}
	err = c.Do(ctx, http.MethodGet, "/api/admin/"+path, nil, &d)
	d.path = path
	return d, err
}

// name is KIND/NAME.
func (d foundIdentity) name() string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(d.ID, "spiffe://"), "/")
	return rest
}

// what describes a component in one line.
func (d foundIdentity) what() string {
	s := d.name() + ", " + d.State
	for _, more := range []string{d.Model, d.Bed} {
		if more != "" {
			s += ", " + more
		}
	}
	return s
}

// ticketAgain gives a component that lost its keys, or whose ticket was used up for nothing, a new ticket.
func ticketAgain() *cobra.Command {
	var out ticketOut
	var q confirmation
	c := adminCommand("ticket ID", "Write a new ticket for a component; the keys that it has end", 1, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		d, err := findIdentity(ctx, c, a[0])
		if err != nil {
			return err
		}
		if d.State == "active" {
			if err := q.ask(d.what()+": it will be cut off until the new ticket has been used on it", d.name(), d.ID); err != nil {
				return err
			}
		}
		components := 1
		if d.Kind == "gateway" {
			components = 2 // at least: its sensors are on the ticket
		}
		return out.invite(ctx, c, d.path+"/ticket", strings.ReplaceAll(d.name(), "/", "-"), components, map[string]any{})
	})
	c.Long = c.Short + `.

For a component whose disk is dead, whose first ticket has expired or was used up, or that the overlay does not know any more. A gateway's
ticket is for its sensors as well. The component keeps its name, its place and its readings; the keys that it had are worth nothing from
now on. Enrol it into the folder that it had, or into an empty one.`
	out.flags(c)
	q.flag(c)
	return c
}

// settleClock says when what waits of a sensor was measured.
func settleClock() *cobra.Command {
	var ahead float64
	var measured bool
	c := adminCommand("clock SENSOR", "Say by how much a gateway's clock was wrong, so that what waits for that comes to the chart", 1,
		func(ctx context.Context, c *client.Client, s session, a []string) error {
			name, err := sensorName(a[0])
			if err != nil {
				return err
			}
			in := map[string]any{"as_measured": true}
			if !measured {
				in = map[string]any{"ahead_seconds": ahead}
			}
			var answer json.RawMessage
			if err := c.Do(ctx, http.MethodPost, "/api/admin/identities/sensor/"+url.PathEscape(name)+"/clock", in, &answer); err != nil || s.json {
				return errors.Join(err, writeLine(os.Stdout, answer))
			}
			return saySettled(os.Stdout, name, answer)
		})
	c.Long = `Clock settles what readings of a sensor wait for because its gateway's clock was wrong ("vitalseal identity show" says how many
wait, and how far the clock was measured to be off). Mostly nothing has to be done: set the gateway's clock right, and its own
record of the step says when everything was measured. Where no record is left, look at the gateway's clock and say by how many
seconds it was ahead of the right time (behind: a number below zero), or take what the hub measured when each reading came.`
	c.Flags().Float64Var(&ahead, "ahead", 0, "by how many seconds the clock was ahead; below zero: behind")
	c.Flags().BoolVar(&measured, "as-measured", false, "take what the hub measured when each reading came")
	c.MarkFlagsOneRequired("ahead", "as-measured")
	c.MarkFlagsMutuallyExclusive("ahead", "as-measured")
	return c
}

func showIdentity() *cobra.Command {
	return adminCommand("show ID", "Show everything that is known of a component", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		path, err := identityPath(a[0])
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := c.Do(ctx, http.MethodGet, "/api/admin/"+path, nil, &raw); err != nil {
			return err
		}
		if s.json {
			_, err := os.Stdout.Write(append(raw, '\n'))
			return err
		}
		return describeIdentity(os.Stdout, raw)
	})
}

func describeIdentity(w io.Writer, raw []byte) error {
	var d struct {
		ID, Kind, State, Model, Serial, Gateway, Bed, Mode, Version string
		Wards                                                       []string
		EnrolledBy                                                  string     `json:"enrolled_by"`
		Enrolled                                                    *time.Time `json:"enrolled"`
		LastSeen                                                    *time.Time `json:"last_seen"`
		NewKey                                                      bool       `json:"new_key_demanded"`
		KeptOutSince                                                *time.Time `json:"kept_out_since"`
		KeptOutBy                                                   string     `json:"kept_out_by"`
		KeptOutByLogin                                              string     `json:"kept_out_by_login"`
		Trouble, Alert                                              *struct {
			Text string    `json:"text"`
			At   time.Time `json:"at"`
		}
		Certificate *struct {
			SHA256    string    `json:"sha256"`
			NotBefore time.Time `json:"not_before"`
			NotAfter  time.Time `json:"not_after"`
		} `json:"certificate"`
		Clock *struct {
			Known   bool    `json:"known"`
			Ahead   float64 `json:"ahead_seconds"`
			Error   float64 `json:"error_seconds"`
			Problem string  `json:"problem"`
			Waiting int64   `json:"waiting_chunks"`
		} `json:"clock"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("the hub's answer: %w", err)
	}
	at := func(t *time.Time) string {
		if t == nil {
			return "never"
		}
		return t.UTC().Format(time.RFC3339)
	}
	state := d.State
	if d.KeptOutSince != nil {
		if state += " since " + at(d.KeptOutSince); d.KeptOutBy != "" {
			state += ", by " + cmp.Or(d.KeptOutByLogin, d.KeptOutBy)
		}
	}
	lines := [][2]string{{"id", d.ID}, {"kind", strings.TrimSpace(d.Kind + " " + d.Mode)}, {"state", state}, {"model", d.Model},
		{"serial", d.Serial}, {"gateway", d.Gateway}, {"bed", d.Bed}, {"wards", strings.Join(d.Wards, ", ")}, {"version", d.Version},
		{"invited by", d.EnrolledBy}, {"enrolled", at(d.Enrolled)}, {"last seen", at(d.LastSeen)}}
	if d.Certificate != nil {
		lines = append(lines, [2]string{"certificate", "SHA-256 " + d.Certificate.SHA256},
			[2]string{"valid", at(&d.Certificate.NotBefore) + " to " + at(&d.Certificate.NotAfter)})
	}
	if d.Trouble != nil {
		lines = append(lines, [2]string{"trouble", d.Trouble.Text + ", since " + at(&d.Trouble.At)})
	}
	if d.Alert != nil {
		lines = append(lines, [2]string{"last alert", d.Alert.Text + ", " + at(&d.Alert.At)})
	}
	if k := d.Clock; k != nil {
		said := k.Problem
		switch {
		case said == "" && k.Known:
			said = fmt.Sprintf("%+.3f s to the hub's, within %.3f s", k.Ahead, k.Error)
		case said == "":
			said = "not measured"
		}
		if k.Waiting > 0 {
			said += fmt.Sprintf("; %d chunks wait for the chart", k.Waiting)
		}
		lines = append(lines, [2]string{"clock", said})
	}
	if d.NewKey {
		lines = append(lines, [2]string{"key", "a new one is demanded at the next renewal"})
	}
	for _, l := range lines {
		if l[1] != "" {
			if _, err := fmt.Fprintf(w, "%-12s %s\n", l[0], l[1]); err != nil {
				return err
			}
		}
	}
	return nil
}
