package administer

import (
	"errors"
	"io"
	"os"

	"golang.org/x/term"
)

// askHidden asks at the terminal in for something that must not show there. The echo is off before the question appears, so that
// what a user types at once does not show either.
func askHidden(in *os.File, out io.Writer, question string) (answer string, err error) {
	fd := int(in.Fd()) // #nosec G115 -- a descriptor fits
	before, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, term.Restore(fd, before)) }()
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "")
	answer, err = t.ReadPassword(question)
	if errors.Is(err, io.EOF) {
		err = errors.New("no answer: the question was broken off")
	}
	return answer, err
}
