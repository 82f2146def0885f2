package administer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vitalseal/internal/shared/cli"
)

// confirmation is the question before an act that ends something.
type confirmation struct{ yes bool }

// flag gives c the flag that answers the question for a script.
func (q *confirmation) flag(c *cobra.Command) {
	c.Flags().BoolVar(&q.yes, "yes", false, "do not ask; for scripts")
}

// ask returns nil once the user has typed one of words, or has given --yes. what says what will happen.
func (q *confirmation) ask(what string, words ...string) error {
	if q.yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) { // #nosec G115 -- a descriptor fits
		return cli.Usage(fmt.Errorf("not confirmed: %s; nothing was done", what), "run this at a terminal, which asks for its name, or give --yes in a script")
	}
	return typed(os.Stdin, os.Stderr, what, words...)
}

// typed asks for one of words.
func typed(in io.Reader, out io.Writer, what string, words ...string) error {
	fmt.Fprintf(out, "%s.\nType %s to go on: ", what, words[0])
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, w := range words {
		if w != "" && strings.TrimSpace(line) == w {
			return nil
		}
	}
	return cli.Usage(errors.New("that is not it; nothing was done"), "type the id exactly as it stands in the question")
}

// did says what was done, where a script does not read it.
func did(s session, format string, args ...any) {
	if !s.json {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}
