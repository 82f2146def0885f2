package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
)

// labCommands are the commands of the laboratory's binary, vitalseal-lab. Here each is an alias: it gives its whole command line to
// that binary, which takes this process's place: same arguments, streams and exit code.
func labCommands() (out []*cobra.Command) {
	for _, x := range []struct{ use, short string }{
		{"attack", "Attack a deployment of its own from every position, and say what came of it"},
		{"bench", "Measure this system on this machine"},
		{"accuracy", "Measure heart rate, SpO2, blood pressure and breathing on recordings of people"},
		{"replay", "Play a recording to a simulated chip, and show what a gateway makes of it"},
	} {
		c := &cobra.Command{
			Use:                x.use,
			Short:              x.short,
			DisableFlagParsing: true, // the flags are the laboratory's
			ValidArgsFunction: func(_ *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
				return completeLab(append(append([]string{x.use}, args...), to))
			},
			RunE: func(_ *cobra.Command, args []string) error { return runLab(append([]string{x.use}, args...)) },
		}
		c.SetHelpFunc(func(c *cobra.Command, _ []string) { // vitalseal help attack
			if err := runLab([]string{x.use, "--help"}); err != nil {
				c.PrintErrf("%s\n\n%s: %v\n", x.short, c.Root().Name(), err)
				if _, hint := cli.Explain(err); hint != "" {
					c.PrintErrf("hint: %s\n", hint)
				}
			}
		})
		out = append(out, c)
	}
	return out
}

// runLab lets vitalseal-lab run the command line in this process's place. It returns only where that does not begin.
func runLab(args []string) error {
	lab, err := cli.Sibling("vitalseal", "vitalseal-lab")
	if err == nil {
		// Its name stays ours, so that its help and errors say what the user typed.
		if err = become(lab, append([]string{"vitalseal"}, args...)); err == nil {
			return nil
		}
	}
	return cli.Usage(fmt.Errorf("%s is a command of the laboratory, a binary of its own: %w", args[0], err),
		"a hospital does not need it; `make build` makes bin/vitalseal-lab (`make weakened` bin/vitalseal-lab-weakened): put it beside this binary or in $PATH")
}

// completeLab asks the laboratory for the shell's completion of a command line.
func completeLab(args []string) ([]string, cobra.ShellCompDirective) {
	lab, err := cli.Sibling("vitalseal", "vitalseal-lab")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	out, err := exec.Command(lab, append([]string{cobra.ShellCompRequestCmd}, args...)...).Output() // #nosec G204 -- as in become
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	directive, err := strconv.Atoi(strings.TrimPrefix(lines[len(lines)-1], ":")) // cobra's last line is its directive
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:len(lines)-1], cobra.ShellCompDirective(directive)
}
