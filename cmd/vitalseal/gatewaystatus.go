package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/shared/cli"
)

// statusStale is the age from which the file of a gateway without a socket says that it does not run: it is written each second.
const statusStale = 10 * time.Second

var errNoGatewayFolder = errors.New("neither --data nor --config")

func gatewayStatusCommand() *cobra.Command {
	var data, file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show a gateway's links, what waits for the hub, and what is lost",
		Long: `Status asks the gateway that runs on this machine, by the socket in its data folder: the links of its sensors to the hub, how
much waits and how fast it drains, what was dropped, whether the disk takes readings, and the state of the clock. It needs no
network. If no gateway answers, it shows what one last wrote, and says so. The last lines say what needs a person, and so does
"wrong" in the JSON, beside "running".

Exit codes: 0 the gateway runs and nothing needs a person; 1 it does not run, or something does: a chip that does not work, a
sensor without connection, a refusal of the hub, a disk that takes nothing, a clock that is wrong; 2 the command line is wrong.`,
		Example: `  vitalseal gateway status --data /var/lib/vitalseal/gateway
  vitalseal gateway status --config gateway.yaml --json`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if data == "" && file != "" {
				cfg := gateway.Default()
				if err := loadConfig(file, &cfg); err != nil {
					return err
				}
				data = cfg.Data
			}
			if data == "" {
				return cli.Usage(errNoGatewayFolder, "name the gateway's data folder with --data, or its configuration with --config")
			}
			raw, st, err := gateway.ReadStatus(c.Context(), data)
			silent := errors.Is(err, gateway.ErrNotRunning)
			if err != nil && !silent {
				return cli.Hinted(err, "is this the data folder of a gateway that has run?")
			}
			// A gateway of an earlier version has no socket, only its file.
			if silent && errors.Is(err, fs.ErrNotExist) && time.Since(st.Time).Abs() <= statusStale {
				silent = false
			}
			var text error
			if asJSON {
				text = printStatusJSON(os.Stdout, raw, st, silent)
			} else {
				text = printGatewayStatus(os.Stdout, st, time.Now(), silent)
			}
			if text != nil {
				return text
			}
			if silent {
				return cli.Hinted(fmt.Errorf("the gateway does not answer; what is shown was written %s", ago(st.Time, time.Now())), "it does not run: look at its log")
			}
			if wrong := st.Troubles(); len(wrong) > 0 {
				return cli.Hinted(fmt.Errorf("the gateway runs, but: %s", strings.Join(wrong, "; ")), "its log says more")
			}
			return nil
		},
	}
	c.Flags().StringVar(&data, "data", "", "the gateway's data folder")
	c.Flags().StringVar(&file, "config", "", "the gateway's configuration file, instead of --data")
	c.Flags().BoolVar(&asJSON, "json", false, "print the status as JSON")
	return c
}

// printStatusJSON prints what the gateway answered or wrote, of whatever version it is, with what this program makes of it.
func printStatusJSON(w io.Writer, raw []byte, st gateway.Status, silent bool) error {
	all := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return err
	}
	all["running"], all["wrong"] = !silent, append([]string{}, st.Troubles()...)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

// ago says how long before now a time is. One after now was told by a clock that was ahead then, or this one was set back.
func ago(at, now time.Time) string {
	if age := now.Sub(at).Round(time.Second); age >= 0 {
		return fmt.Sprintf("%v ago", age)
	}
	return fmt.Sprintf("%v ahead of this machine's clock: it was set back since, or is behind", at.Sub(now).Round(time.Second))
}

func printGatewayStatus(w io.Writer, st gateway.Status, now time.Time, silent bool) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	if silent {
		row("NOT RUNNING", "no gateway answers; this is what one wrote %s", ago(st.Time, now))
	}
	row("gateway", "%s, start %d, as of %s (%s)", st.Gateway, st.Boot, st.Time.Format(time.RFC3339), ago(st.Time, now))
	up := 0
	for _, s := range st.Sensors {
		if s.Connected {
			up++
		}
	}
	row("link", "%d of %d sensors connected to the hub", up, len(st.Sensors))
	for _, s := range st.Sensors {
		link := "connected"
		if !s.Connected {
			link = "NOT CONNECTED"
		}
		if !s.Since.IsZero() {
			link += fmt.Sprintf(" for %v", st.Time.Sub(s.Since).Round(time.Second))
		}
		if s.Refused != "" {
			link += "; the hub says: " + s.Refused
		}
		chip := orNone(s.Device)
		if s.Device != "" && s.Device != sensor.Working.String() {
			chip = "DOES NOT WORK: " + s.Device
		}
		row("  "+s.Sensor, "%s; chip %s, %d faults", link, chip, s.Faults)
	}
	if b := st.Backlog; b.Records == 0 {
		row("backlog", "none")
	} else {
		row("backlog", "%d records, %.1f MiB on disk, the oldest %v old", b.Records, float64(b.Bytes)/(1<<20), seconds(b.OldestAgeSeconds))
		if b.LeftSeconds != nil {
			row("  drains", "%.0f records a second, about %v left", b.RecordsPerSecond, seconds(*b.LeftSeconds))
		} else {
			row("  drains", "not now")
		}
	}
	var rejected, lost uint64
	for _, s := range st.Streams {
		rejected, lost = rejected+s.Rejected, lost+s.Lost
	}
	if d := st.Storage; d.Failing {
		row("disk", "DOES NOT TAKE READINGS: %s", d.Problem)
		row("  from memory", "%d records so far, %.1f MiB wait; a power cut loses them", d.HeldRecords, float64(d.HeldBytes)/(1<<20))
	} else if d.FreeBytes != nil {
		row("disk", "takes readings; %.1f MiB are free at %s", float64(*d.FreeBytes)/(1<<20), d.Folder)
	}
	if s := st.Stalls; s.Count > 0 && s.Last != nil {
		row("stood still", "%d times since the start, %v in all; last for %v from %s: nothing was measured then", s.Count, seconds(s.Seconds), seconds(s.LastSeconds), s.Last.Format(time.RFC3339))
	}
	row("lost", "%d chunks dropped (outbox full), %d not written (disk), %d damaged stretches", st.Gaps.Dropped, lost, st.Gaps.Corrupt)
	row("  gap records", "%d told, %d waiting", st.Gaps.Told, st.Gaps.Waiting)
	row("refused", "%d chunks set aside in the folder `rejected`", rejected)
	printLegacyStatus(row, st.Legacy, st.Time)
	clock := "not known to be right: no time service"
	if st.Clock.Synchronised {
		clock = fmt.Sprintf("right within %.3f s", st.Clock.ErrorSeconds)
	}
	if st.Clock.Steps > 0 {
		clock += fmt.Sprintf("; set %d times, last by %+.3f s", st.Clock.Steps, st.Clock.LastStepBy)
	}
	row("clock", "%s", clock)
	switch c := st.Clock; {
	case c.Problem != "":
		row("  WRONG", "%s; set it: until then readings are shown live with a mark, and wait for the chart", c.Problem)
	case c.AheadSeconds != nil:
		row("  to the hub", "%+.3f s, within %.3f s", *c.AheadSeconds, c.AheadErrorSeconds)
	}
	if a := strings.TrimSpace(st.Audit.Alarm); a != "" {
		row("audit", "ALARM: %s", a)
	} else if !st.Audit.Proven.IsZero() {
		compared := "not compared with what others saw since the start"
		if !st.Audit.Compared.IsZero() {
			compared = "the same as others saw " + ago(st.Audit.Compared, st.Time)
		}
		row("audit", "%d entries, proven %s; %s", st.Audit.Size, ago(st.Audit.Proven, st.Time), compared)
	}
	wrong := st.Troubles()
	if silent {
		wrong = append([]string{"no gateway answers"}, wrong...)
	}
	for _, x := range wrong {
		row("NEEDS A PERSON", "%s", x)
	}
	if len(wrong) == 0 {
		row("well", "nothing needs a person")
	}
	return t.Flush()
}

func orNone(s string) string {
	if s == "" {
		return "not looked at yet"
	}
	return s
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}
