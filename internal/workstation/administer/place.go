package administer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// questioned sends a request, and where the hub questions it asks the person, unless yes says that it is meant: then the same goes again.
func questioned(ctx context.Context, c *client.Client, path string, in map[string]any, yes bool, out any) error {
	if yes {
		in["meant"] = true
	}
	err := c.Do(ctx, http.MethodPost, path, in, out)
	var status *client.StatusError
	if !errors.As(err, &status) || len(status.Questions) == 0 {
		return err
	}
	for _, q := range status.Questions {
		fmt.Fprintln(os.Stderr, q)
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) { // #nosec G115 -- a file descriptor
		return cli.Usage(errors.New("not done: this looks like a mistake"), "if it is meant, say it again with --yes")
	}
	fmt.Fprint(os.Stderr, "Is that meant? [y/N] ")
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if line = strings.ToLower(strings.TrimSpace(line)); line != "y" && line != "yes" {
		return errors.New("not done")
	}
	in["meant"] = true
	return c.Do(ctx, http.MethodPost, path, in, out)
}

// past reads a time that a person gives: RFC 3339, or a clock time of this machine's zone on the latest day on which it is past.
func past(flag, text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	now := time.Now()
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			at := time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.Local)
			if at.After(now) {
				at = at.AddDate(0, 0, -1)
			}
			return at, nil
		}
	}
	return time.Time{}, cli.Usage(fmt.Errorf("%s: %q is no time", flag, text), "write 10:02, \"2026-11-29 10:02\" (this machine's zone) or 2026-11-29T10:02:00Z")
}

// moveSensor puts a sensor at another bed.
func moveSensor() *cobra.Command {
	var at string
	var yes bool
	c := adminCommand("move ID BED", "Move a sensor to another bed (BED - takes it from its bed)", 2, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		name, err := sensorName(a[0])
		if err != nil {
			return err
		}
		in := map[string]any{"bed": strings.TrimPrefix(a[1], "-")}
		if at != "" {
			t, err := past("--at", at)
			if err != nil {
				return err
			}
			in["at"] = t
		}
		if err := questioned(ctx, c, "/api/admin/identities/sensor/"+url.PathEscape(name)+"/bed", in, yes, nil); err != nil {
			return err
		}
		if at != "" {
			fmt.Fprintln(os.Stderr, "what it measured since then stays where it was stored; `vitalseal patient move-readings` moves it")
		}
		return nil
	})
	c.Flags().StringVar(&at, "at", "", "`time` in the past at which it was moved, at most 31 days ago; default: now")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask when another sensor for the same is at that bed")
	return c
}

// addSensors makes sensors for a gateway that is there.
func addSensors() *cobra.Command {
	var sensors []string
	var out ticketOut
	c := adminCommand("add-sensor GATEWAY", "Create sensors of a gateway that is there, and write their ticket for its folder", 1, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		specs, err := sensorSpecs(sensors)
		if err != nil {
			return err
		}
		if len(specs) == 0 {
			return cli.Usage(errors.New("no sensor"), "name at least one with --sensor ID:MODEL:SERIAL[:BED]")
		}
		return out.invite(ctx, c, "gateways/"+url.PathEscape(a[0])+"/sensors", a[0]+"-sensors", len(specs), map[string]any{"sensors": specs})
	})
	c.Flags().StringArrayVar(&sensors, "sensor", nil, "ID:MODEL:SERIAL[:BED]; may be given several times")
	out.flags(c)
	c.Flags().BoolVar(&out.yes, "yes", false, "do not ask when something looks like a mistake")
	return c
}

// replaceSensor makes a sensor that takes the bed and the gateway of another one.
func replaceSensor() *cobra.Command {
	var out ticketOut
	c := adminCommand("replace OLD NEW:MODEL:SERIAL", "Create a sensor in the place of another one, at its bed and gateway, and write its ticket", 2, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		old, err := sensorName(a[0])
		if err != nil {
			return err
		}
		var d struct{ Gateway, Kind string }
		if err := c.Do(ctx, http.MethodGet, "/api/admin/identities/sensor/"+url.PathEscape(old), nil, &d); err != nil {
			return err
		}
		specs, err := sensorSpecs(a[1:])
		if err != nil {
			return err
		}
		specs[0]["replaces"] = old
		gateway := d.Gateway[strings.LastIndexByte(d.Gateway, '/')+1:]
		if err := out.invite(ctx, c, "gateways/"+url.PathEscape(gateway)+"/sensors", specs[0]["id"], 1, map[string]any{"sensors": specs}); err != nil {
			return err
		}
		fmt.Fprint(os.Stderr, afterReplace(old, specs[0]["id"], gateway))
		return nil
	})
	c.Long = c.Short + `.

The old sensor stays in the inventory and measures on, so that the patient is never without one. It is not taken out by itself: only the person at
the bed sees that the new one measures. When it does, take the old one out with "vitalseal identity delete"; its readings stay.`
	out.flags(c)
	c.Flags().BoolVar(&out.yes, "yes", false, "do not ask when something looks like a mistake")
	return c
}

// afterReplace says what is left to do, in its order.
func afterReplace(old, id, gateway string) string {
	return fmt.Sprintf(`both sensors are in the inventory now, and %[1]s measures on until you take it out:
  1. on %[3]s: enrol the ticket into the gateway's folder, connect %[2]s and write it into gateway.yaml in the place of %[1]s; restart the gateway
  2. see that the numbers of %[2]s stand on the bed's tile
  3. vitalseal identity delete sensor/%[1]s   (its readings stay)
`, old, id, gateway)
}

// sensorSpecs reads ID:MODEL:SERIAL[:BED].
func sensorSpecs(sensors []string) ([]map[string]string, error) {
	specs := []map[string]string{}
	for _, s := range sensors {
		f := strings.Split(s, ":")
		if len(f) < 3 || len(f) > 4 {
			return nil, cli.Usage(fmt.Errorf("sensor %q", s), "write ID:MODEL:SERIAL or ID:MODEL:SERIAL:BED, for instance oxi-1:MAX30100:A17:a-1")
		}
		spec := map[string]string{"id": f[0], "model": f[1], "serial": f[2]}
		if len(f) == 4 {
			spec["bed"] = f[3]
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// moveReadings says that a span of readings was another patient's.
func moveReadings() *cobra.Command {
	var sensor string
	var yes bool
	c := adminCommand("move-readings FROM TO BEGIN END", "Move what was measured from BEGIN to END from one patient to another", 4, func(ctx context.Context, c *client.Client, s session, a []string) error {
		begin, err := past("BEGIN", a[2])
		if err != nil {
			return err
		}
		end, err := past("END", a[3])
		if err != nil {
			return err
		}
		var name string
		if sensor != "" {
			if name, err = sensorName(sensor); err != nil {
				return err
			}
		}
		var answer json.RawMessage
		in := map[string]any{"from": a[0], "to": a[1], "begin": begin, "end": wholeSecond(end), "sensor": name}
		cli.Progress("from " + begin.UTC().Format("2006-01-02 15:04:05") + " to " + end.UTC().Format("2006-01-02 15:04:05") + " UTC, that second included")
		if err := questioned(ctx, c, "/api/admin/readings/move", in, yes, &answer); err != nil {
			return err
		}
		if !saysWait(answer) {
			saysMoved(answer)
		}
		return nil
	})
	c.Long = c.Short + `.

For readings that went to the wrong patient: a bed was changed, or a sensor moved, and entered late. FROM and TO are ids of patients
("vitalseal patient list"); FROM may be "unassigned", with --sensor, for what a sensor measured before it was known at which bed it is. BEGIN and END are
times of this machine (10:02, of today or yesterday), or 2026-11-30T10:02:00Z; the second END is moved as well. At most
24 hours at once, at most 31 days ago. The readings are sealed again under the other patient's key, trends are made anew, and both charts say that values were
moved, when and by whom. What was forwarded to a cloud before is not called back.

Where the two were not in one and the same ward, and in no other, for the last two months, the move waits for a second person, like a new login
("vitalseal approval --help"); where acts take one person it is done, and is shown to auditors and administrators.`
	c.Flags().BoolVar(&yes, "yes", false, "do not ask where the span is empty, or the other patient has numbers of their own of that time")
	c.Flags().StringVar(&sensor, "sensor", "", "move what this sensor (short `name`) measured, and nothing else")
	return c
}

// wholeSecond is the end of a span that holds all of the second that a person named last; the hub moves what is before an end.
func wholeSecond(end time.Time) time.Time {
	return end.Truncate(time.Second).Add(time.Second)
}

// saysMoved says what became of a move of readings, if that is what the hub answered.
func saysMoved(answer []byte) {
	var out struct {
		Done *bool `json:"done"`
	}
	switch err := json.Unmarshal(answer, &out); {
	case err != nil || out.Done == nil:
	case *out.Done:
		fmt.Fprintln(os.Stderr, "moved; both patients' charts say so")
	default:
		fmt.Fprintln(os.Stderr, "noted; another hub moves them within seconds")
	}
}
