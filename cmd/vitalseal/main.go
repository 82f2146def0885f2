// Command vitalseal is the whole system in one binary: `vitalseal demo` runs all of it on one machine; the other
// subcommands are its parts. This package holds flags and wiring, one file a subcommand; nothing imports it.
//
// It hides nothing and guarantees only the exit codes in `vitalseal --help`. Protection is the packages' matter.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vitalseal/internal/process"
)

// Exit codes, part of the command line's contract.
const (
	exitFailed = 1 // it was tried and failed
	exitUsage  = 2 // the command line or a configuration file was wrong; nothing was tried
	exitDenied = 3 // the hub or the overlay refused
)

// version is set at link time (-X main.version=...).
var version = "dev"

func main() {
	// Every command: those that run for long hold keys, those that do not may hold the root key. Where it fails a gateway measures
	// all the same.
	if err := process.KeepPrivate(); err != nil {
		fmt.Fprintf(os.Stderr, "vitalseal: warning: %v: a crash may leave keys and readings in a file; see SECURITY.md\n", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command line and gives its exit code.
func run(ctx context.Context, args []string) int {
	root, tried := newRoot(), false
	each(root, func(c *cobra.Command) {
		if do := c.RunE; do != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				if err := requiredAreGiven(c); err != nil {
					return err
				}
				tried = true
				return do(c, args)
			}
		}
	})
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var usage *usageError
	if !tried && !errors.As(err, &usage) { // cobra's own words for an unknown command or a missing flag
		err = &usageError{err, fmt.Sprintf("see `%s --help`", c.CommandPath())}
	}
	fmt.Fprintf(os.Stderr, "vitalseal: %s\n", onceNamed(err.Error()))
	code, hint := explain(err)
	if hint != "" {
		fmt.Fprintf(os.Stderr, "hint: %s\n", hint)
	}
	return code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "vitalseal",
		Short: "Every vital sign sealed at the sensor; every access proven",
		Long: `Vitalseal watches patients with cheap medical sensors and trusts nobody: not the network, not the gateway,
not the cloud, not the user inside the building. Research use, not a cleared medical device.

Start with "vitalseal demo": everything on this machine, no hardware, no configuration.

A deployment is four long-running commands, each its own process:
  overlay   the OpenZiti controller and edge router          on premises
  hub       takes in, stores and shows sealed readings       on premises or cloud; opens no port
  gateway   turns sensors' registers into sealed chunks      a Raspberry Pi 5; dials out only
  connect   a loopback address that leads to the dashboard   an enrolled workstation

Exit codes: 0 done; 1 tried and failed; 2 wrong command line or configuration, nothing was tried; 3 refused.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().String("log-level", "info", "least severe log line to print: debug, info, warn or error")
	root.PersistentFlags().String("log-format", "text", "log format on stderr: text or json")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{err, fmt.Sprintf("see `%s --help`", c.CommandPath())}
	})
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "admin", Title: "Administer (through a workstation):"},
		&cobra.Group{ID: "keep", Title: "Keep and prove (on the hub's machine):"},
		&cobra.Group{ID: "signals", Title: "Judge the signals (offline, on recordings):"})
	for _, c := range []*cobra.Command{demoCommand(), overlayCommand(), routerCommand(), hubCommand(), gatewayCommand(), connectCommand(), egressCommand(), enrolCommand()} {
		c.GroupID = "run"
		root.AddCommand(c)
	}
	for _, c := range adminCommands() {
		c.GroupID = "admin"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{backupCommand(), restoreCommand(), checkCommand(), auditCommand(), policyCommand(), attackCommand(), benchCommand()} {
		c.GroupID = "keep"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{replayCommand(), accuracyCommand(), calibrateCommand()} {
		c.GroupID = "signals"
		root.AddCommand(c)
	}
	return root
}

// each calls f with c and every command below it.
func each(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		each(sub, f)
	}
}

// requiredAreGiven refuses a required flag that is there but empty, as from an unset variable in a script: an empty
// folder name would be the working directory.
func requiredAreGiven(c *cobra.Command) (err error) {
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[cobra.BashCompOneRequiredFlag] != nil && f.Value.String() == "" {
			err = &usageError{fmt.Errorf("--%s: empty", f.Name), fmt.Sprintf("see `%s --help`", c.CommandPath())}
		}
	})
	return err
}

// onlyGroup makes c explain itself when it stands alone, and refuse a subcommand that does not exist.
func onlyGroup(c *cobra.Command) {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return &usageError{fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath()), fmt.Sprintf("see `%s --help`", c.CommandPath())}
		}
		return c.Help()
	}
}

// logger makes the process's logger from the persistent flags.
func logger(c *cobra.Command) (*slog.Logger, error) {
	name, _ := c.Flags().GetString("log-level")
	format, _ := c.Flags().GetString("log-format")
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, &usageError{fmt.Errorf("--log-level %q: unknown", name), "use debug, info, warn or error"}
	}
	o := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return nil, &usageError{fmt.Errorf("--log-format %q: unknown", format), "use text or json"}
}

// usageError is a mistake in the command line or a configuration file.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// hinted is any other error whose remedy the command knows.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func exactArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return &usageError{fmt.Errorf("%s: %d arguments, want %d", c.CommandPath(), len(args), n), "usage: " + c.UseLine()}
		}
		return nil
	}
}

// explain gives an error's exit code and, where there is one, what to do about it.
func explain(err error) (code int, hint string) {
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage, usage.hint
	}
	code = exitFailed
	if isDenied(err) {
		code = exitDenied
	}
	var h *hinted
	if errors.As(err, &h) {
		return code, h.hint
	}
	return code, hintFor(err)
}
