package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/gateway/legacy"
	"vitalseal/internal/shared/cli"
)

func gatewayLegacyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "legacy",
		Short: "Keys of devices that speak ThingSpeak to this gateway",
		Long: `Legacy devices, such as an Arduino with ThingSpeak's library, send to an address of their gateway (legacy.listen_http and
legacy.listen_mqtt in its configuration). Each is a sensor of chip "legacy" with a key of its own. Its numbers are sealed like any
sensor's, and shown as asserted by such a device: nothing vouches for them but the key, which travels in the clear on the devices' network.`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(legacyKeyCommand(), legacyRevokeCommand())
	return c
}

func legacyKeyCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "key SENSOR",
		Short: "Make a key for a legacy device; the one before it stops working",
		Long: `Key makes a write key of 16 characters for a legacy device and prints it: now, and never again, because the data folder keeps its
hash only. The device sends it as THINGSPEAKAPIKEY or api_key, or over MQTT as the password, with the sensor's name as user name and
client id. The key before it stops working within a second. The gateway may run meanwhile.`,
		Example: "  vitalseal gateway legacy key gw-a-arduino-1 --config gateway.yaml",
		Args:    cli.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := legacyConfig(file)
			if err != nil {
				return err
			}
			key, err := gateway.MakeLegacyKey(cfg, args[0])
			if errors.Is(err, gateway.ErrNotLegacy) {
				return cli.Usage(err, "add it to `sensors` with `chip: legacy`; vitalseal gateway --print-config shows how")
			}
			if err != nil {
				return cli.Hinted(err, "run this as the user that the gateway runs as")
			}
			fmt.Fprintln(os.Stderr, "This key is shown once:")
			_, err = fmt.Println(key)
			return err
		},
	}
	c.Flags().StringVar(&file, "config", "", "the gateway's configuration file")
	return c
}

func legacyRevokeCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "revoke SENSOR",
		Short:   "Take a legacy device's key away",
		Long:    `Revoke takes a legacy device's key away. The gateway, if it runs, refuses it within a second.`,
		Example: "  vitalseal gateway legacy revoke gw-a-arduino-1 --config gateway.yaml",
		Args:    cli.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := legacyConfig(file)
			if err != nil {
				return err
			}
			return legacy.RevokeKey(cfg.Data, args[0])
		},
	}
	c.Flags().StringVar(&file, "config", "", "the gateway's configuration file")
	return c
}

func legacyConfig(file string) (gateway.Config, error) {
	cfg := gateway.Default()
	if file == "" {
		return cfg, cli.Usage(errMissingConfig, "name the gateway's configuration file")
	}
	if err := loadConfig(file, &cfg); err != nil {
		return cfg, err
	}
	if err := cfg.Validate(); err != nil {
		return cfg, cli.Usage(err, "vitalseal gateway --print-config shows every key with its meaning")
	}
	return cfg, nil
}

// printLegacyStatus adds what is known of legacy devices, if there are any.
func printLegacyStatus(row func(name, format string, args ...any), st *legacy.Status, now time.Time) {
	if st == nil {
		return
	}
	strangers := fmt.Sprintf("%d wrong keys, %d attempts not looked at, %d requests malformed", st.Strangers.BadKey, st.Strangers.TooOften, st.Strangers.Malformed)
	if st.Strangers.MalformedReason != "" {
		strangers += " (the last: " + st.Strangers.MalformedReason + ")"
	}
	row("legacy", "%s", strangers)
	if st.Strangers.PushedOut > 0 || st.Strangers.TurnedAway > 0 {
		row("  connections", "too many: %d that showed no key pushed out for newer ones, %d turned away", st.Strangers.PushedOut, st.Strangers.TurnedAway)
	}
	for _, id := range slices.Sorted(maps.Keys(st.Devices)) {
		c, last := st.Devices[id], "none yet"
		if c.Last != nil {
			last = "the last " + ago(*c.Last, now)
		}
		row("  "+id, "%d entries, %s; %d messages refused (%d bad values, %d too large, %d too often, %d sent again, %d not allowed, %d disk busy, %d not supported), %d fields left out",
			c.Accepted, last, c.Refused(), c.BadValue, c.TooLarge, c.TooOften, c.Replayed, c.NotAllowed, c.Busy, c.Unsupported, c.Fields)
		if c.Reason != "" {
			row("    the last reason", "%s", c.Reason)
		}
		if c.LateSeconds != 0 {
			why := "is its clock slow? Around a change of the patient what it sends waits until a person says whose it is"
			if c.LocalTime {
				why = "local time without its offset? They are stored, and stand for no present"
			}
			row("    CLOCK", "its times are %v late: %s", time.Duration(c.LateSeconds)*time.Second, why)
		}
	}
}
