// Package cli is what the commands of both binaries, vitalseal and vitalseal-lab, share: how a command line is run, how an error
// becomes an exit code and a hint, the logger's flags, and how a process says that it is ready.
//
// It hides cobra's own words for a wrong command line behind [UsageError], and sd_notify(3) behind [NotifyReady]. It guarantees the
// exit codes that `vitalseal --help` lists ([Failed], [WrongUsage], [Denied]) and that every error goes to stderr on one line, with a
// hint on a second one where there is a remedy. It knows no command and decides nothing; it does not protect what a command prints.
package cli

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

	"vitalseal/internal/shared/process"
)

// Exit codes, part of the command line's contract.
const (
	Failed     = 1 // it was tried and failed
	WrongUsage = 2 // the command line or a configuration file was wrong; nothing was tried
	Denied     = 3 // the hub or the overlay refused
)

// Main runs this process's command line and exits with its code.
func Main(newRoot func() *cobra.Command) {
	// Every command: those that run for long hold keys, those that do not may hold the root key. Where it fails a gateway measures
	// all the same.
	root := newRoot()
	if err := process.KeepPrivate(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: warning: %v: a crash may leave keys and readings in a file; see SECURITY.md\n", root.Name(), err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Run(ctx, root, os.Args[1:])
	stop()
	os.Exit(code)
}

// Prepare gives a binary's root command what every command has: its version, the logger's flags and hints at wrong flags.
func Prepare(root *cobra.Command, version string) {
	root.Version, root.SilenceUsage, root.SilenceErrors = version, true, true
	root.PersistentFlags().String("log-level", "info", "least severe log line to print: debug, info, warn or error")
	root.PersistentFlags().String("log-format", "text", "log format on stderr: text or json")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return Usage(err, fmt.Sprintf("see `%s --help`", c.CommandPath()))
	})
}

// Run executes one command line and gives its exit code.
func Run(ctx context.Context, root *cobra.Command, args []string) int {
	tried := false
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
	var usage *UsageError
	if !tried && !errors.As(err, &usage) { // cobra's own words for an unknown command or a missing flag
		err = Usage(err, fmt.Sprintf("see `%s --help`", c.CommandPath()))
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", root.Name(), OnceNamed(err.Error()))
	code, hint := Explain(err)
	if hint != "" {
		fmt.Fprintf(os.Stderr, "hint: %s\n", hint)
	}
	return code
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
			err = Usage(fmt.Errorf("--%s: empty", f.Name), fmt.Sprintf("see `%s --help`", c.CommandPath()))
		}
	})
	return err
}

// OnlyGroup makes c explain itself when it stands alone, and refuse a subcommand that does not exist.
func OnlyGroup(c *cobra.Command) {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return Usage(fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath()), fmt.Sprintf("see `%s --help`", c.CommandPath()))
		}
		return c.Help()
	}
}

// ExactArgs refuses any other number of arguments than n, and says how the command is used.
func ExactArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return Usage(fmt.Errorf("%s: %d arguments, want %d", c.CommandPath(), len(args), n), "usage: "+c.UseLine())
		}
		return nil
	}
}

// Logger makes the process's logger from the flags that [Prepare] defines. The error is a [UsageError].
func Logger(c *cobra.Command) (*slog.Logger, error) {
	name, _ := c.Flags().GetString("log-level")
	format, _ := c.Flags().GetString("log-format")
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, Usage(fmt.Errorf("--log-level %q: unknown", name), "use debug, info, warn or error")
	}
	o := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return nil, Usage(fmt.Errorf("--log-format %q: unknown", format), "use text or json")
}

// UsageError is a mistake in the command line or a configuration file: exit code [WrongUsage].
type UsageError struct {
	Err  error
	Hint string // what to do about it
}

// Usage is err as a [UsageError].
func Usage(err error, hint string) error { return &UsageError{err, hint} }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap is the mistake itself.
func (e *UsageError) Unwrap() error { return e.Err }

// hinted is any other error whose remedy the command knows.
type hinted struct {
	err  error
	hint string
}

// Hinted is err with what to do about it.
func Hinted(err error, hint string) error { return &hinted{err, hint} }

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// Explain gives an error's exit code and, where there is one, what to do about it.
func Explain(err error) (code int, hint string) {
	var usage *UsageError
	if errors.As(err, &usage) {
		return WrongUsage, usage.Hint
	}
	code = Failed
	if isDenied(err) {
		code = Denied
	}
	var h *hinted
	if errors.As(err, &h) {
		return code, h.hint
	}
	return code, hintFor(err)
}
