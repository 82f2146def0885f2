package administer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
	"vitalseal/internal/workstation/connect"
)

// What scripts set in the place of what a person is asked, or types each time.
const (
	passwordEnv = "VITALSEAL_PASSWORD" // #nosec G101 -- a variable's name
	totpEnv     = "VITALSEAL_TOTP"     // the second factor: six digits, or a recovery code
	connectEnv  = "VITALSEAL_CONNECT"  // a connect.json
)

const connectHint = "start `vitalseal connect` on this workstation, or name the connect.json in its data folder with --connect"

// session is where an administration command goes and as whom.
type session struct {
	file, url, login string
	json             bool
	password         string // that signed in; a change of it needs it again, and no person has to type it again
}

// adminCommand is one command that signs in, does its work and signs out.
func adminCommand(use, short string, args int, do func(ctx context.Context, c *client.Client, s session, args []string) error) *cobra.Command {
	var s session
	c := &cobra.Command{Use: use, Short: short, Args: cli.ExactArgs(args),
		RunE: func(c *cobra.Command, args []string) (err error) {
			ctx := c.Context()
			cl, err := s.client()
			if err != nil {
				return err
			}
			if err := s.signIn(ctx, cl); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, cl.SignOut(context.WithoutCancel(ctx))) }()
			err = do(ctx, cl, s, args)
			var status *client.StatusError
			if errors.As(err, &status) && status.Status == http.StatusForbidden && mustChange(ctx, cl) {
				err = cli.Hinted(err, "a one-time password opens nothing but its own change: vitalseal user password "+s.login+" --login "+s.login)
			}
			return err
		}}
	s.addressFlags(c)
	c.Flags().StringVar(&s.login, "login", "admin", "who signs in; the password is asked for, or taken from $"+passwordEnv+", a second factor from $"+totpEnv)
	c.Flags().BoolVar(&s.json, "json", false, "print the hub's answer as JSON")
	return c
}

// addressFlags are where the hub is reached.
func (s *session) addressFlags(c *cobra.Command) {
	c.Flags().StringVar(&s.file, "connect", "", "`file` that \"vitalseal connect\" wrote, connect.json in its data folder (default: $"+connectEnv+", else the one in your configuration directory)")
	c.Flags().StringVar(&s.url, "url", "", "`address` of a \"vitalseal connect --plain\"")
	c.MarkFlagsMutuallyExclusive("connect", "url")
}

// mustChange tells whether who is signed in has a one-time password.
func mustChange(ctx context.Context, c *client.Client) bool {
	var who struct {
		MustChangePassword bool `json:"must_change_password"`
	}
	return c.Do(ctx, http.MethodGet, "/api/session", nil, &who) == nil && who.MustChangePassword
}

// client reaches the workstation's connect address.
func (s session) client() (*client.Client, error) {
	if s.url != "" {
		c, err := client.New(s.url)
		if err != nil {
			return nil, cli.Usage(err, "give the address that `vitalseal connect --plain` printed with --url")
		}
		if c.Base().Scheme == "https" {
			return nil, cli.Usage(fmt.Errorf("--url %s: TLS needs its certificate authority and launch secret", s.url), "name the connect.json with --connect")
		}
		return c, nil
	}
	file := s.file
	if file == "" {
		file = os.Getenv(connectEnv)
	}
	if file == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, cli.Usage(fmt.Errorf("no configuration directory: %w", err), connectHint)
		}
		file = connect.FilePath(filepath.Join(dir, "vitalseal", "connect"))
	}
	c, err := client.FromFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Hinted(err, connectHint)
	}
	if err != nil {
		return nil, cli.Usage(err, connectHint)
	}
	return c, nil
}

// signIn asks for what the sign-in needs.
func (s *session) signIn(ctx context.Context, c *client.Client) error {
	password, err := askPassword(s.login)
	if err != nil {
		return err
	}
	s.password = password
	err = c.SignIn(ctx, s.login, password)
	var second *client.SecondFactor
	if errors.As(err, &second) {
		var p client.Proof
		if p, err = askSecond(second); err == nil {
			err = c.Second(ctx, second.ID, p)
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return cli.Hinted(err, connectHint)
	}
	return err
}

func askPassword(login string) (string, error) {
	if p := os.Getenv(passwordEnv); p != "" {
		return p, nil
	}
	fd := int(os.Stdin.Fd()) // #nosec G115 -- a descriptor fits
	if !term.IsTerminal(fd) {
		return "", cli.Usage(errors.New("no password"), "set $"+passwordEnv+", or run this at a terminal")
	}
	return askHidden(os.Stdin, os.Stderr, fmt.Sprintf("password of %s: ", login))
}

// askSecond asks for a code of the authenticator app or, in its place, a recovery code.
func askSecond(s *client.SecondFactor) (client.Proof, error) {
	if !slices.Contains(s.Methods, "totp") && !slices.Contains(s.Methods, "recovery") {
		return client.Proof{}, cli.Hinted(s, "passkeys work in the browser only; add an authenticator app to this account there to use it here")
	}
	code := os.Getenv(totpEnv)
	if code == "" {
		if !term.IsTerminal(int(os.Stdin.Fd())) { // #nosec G115 -- a descriptor fits
			return client.Proof{}, cli.Usage(errors.New("no second factor"), "set $"+totpEnv+", or run this at a terminal")
		}
		fmt.Fprint(os.Stderr, "code of the authenticator app, or a recovery code: ")
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil {
			return client.Proof{}, err
		}
		code = line
	}
	return proofOf(code), nil
}

// proofOf tells an app's six digits from a recovery code. Both go as they were typed: the hub takes off what does not count.
func proofOf(code string) client.Proof {
	digits := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, code)
	if len(digits) == 6 && strings.Trim(digits, "0123456789") == "" {
		return client.Proof{TOTP: code}
	}
	return client.Proof{Recovery: code}
}
