package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/gateway"
)

const (
	// statusStale is the age from which a status says that the gateway does not run: it is written each second.
	statusStale = 10 * time.Second
	// maxStatusBytes bounds the file.
	maxStatusBytes = 1 << 20
)

var errNoGatewayFolder = errors.New("neither --data nor --config")

func gatewayStatusCommand() *cobra.Command {
	var data, file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show a gateway's links, what waits for the hub, and what is lost",
		Long: `Status reads what the gateway on this machine writes each second into its data folder: the links of its sensors to the hub,
how much waits and how fast it drains, what was dropped, and the state of the clock. It needs no network. It exits with 1 if
the gateway does not run.`,
		Example: `  vitalseal gateway status --data /var/lib/vitalseal/gateway
  vitalseal gateway status --config gateway.yaml --json`,
		Args: exactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if data == "" && file != "" {
				cfg := gateway.Default()
				if err := loadConfig(file, &cfg); err != nil {
					return err
				}
				data = cfg.Data
			}
			if data == "" {
				return &usageError{errNoGatewayFolder, "name the gateway's data folder with --data, or its configuration with --config"}
			}
			raw, st, err := readGatewayStatus(filepath.Join(data, "status.json"))
			if err != nil {
				return &hinted{err, "is this the data folder of a gateway that has run?"}
			}
			if asJSON {
				_, err = os.Stdout.Write(raw)
			} else {
				err = printGatewayStatus(os.Stdout, st, time.Now())
			}
			if err != nil {
				return err
			}
			if age := time.Since(st.Time); age > statusStale {
				return &hinted{fmt.Errorf("the gateway last wrote its status %v ago", age.Round(time.Second)), "it does not run, or its disk takes nothing: look at its log"}
			}
			return nil
		},
	}
	c.Flags().StringVar(&data, "data", "", "the gateway's data folder")
	c.Flags().StringVar(&file, "config", "", "the gateway's configuration file, instead of --data")
	c.Flags().BoolVar(&asJSON, "json", false, "print status.json as it is")
	return c
}

func readGatewayStatus(path string) (raw []byte, st gateway.Status, err error) {
	f, err := os.Open(path) // #nosec G304 -- the administrator names the folder
	if err != nil {
		return nil, st, fmt.Errorf("gateway status: %w", err)
	}
	defer f.Close()
	if raw, err = io.ReadAll(io.LimitReader(f, maxStatusBytes)); err != nil {
		return nil, st, fmt.Errorf("gateway status: %w", err)
	}
	if err := json.Unmarshal(raw, &st); err != nil {
		return nil, st, fmt.Errorf("gateway status: %s: %w", path, err)
	}
	return raw, st, nil
}

func printGatewayStatus(w io.Writer, st gateway.Status, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("gateway", "%s, start %d, as of %s (%v ago)", st.Gateway, st.Boot, st.Time.Format(time.RFC3339), now.Sub(st.Time).Round(time.Second))
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
		row("  "+s.Sensor, "%s; chip %s, %d faults", link, orNone(s.Device), s.Faults)
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
	if a := strings.TrimSpace(st.Audit.Alarm); a != "" {
		row("audit", "ALARM: %s", a)
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
