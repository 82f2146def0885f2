package administer

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"vitalseal/internal/workstation/client"
)

// Login lets a command that is none of [Commands] sign in as they do, if its user asks for it. The
// zero value signs in as no person.
type Login struct{ s session }

// Flags adds --login, of which purpose says what for, and where the hub is reached.
func (l *Login) Flags(c *cobra.Command, purpose string) {
	c.Flags().StringVar(&l.s.login, "login", "", purpose+"; the password is asked for, or taken from $"+passwordEnv+", a second factor from $"+totpEnv)
	l.s.addressFlags(c)
}

// Given tells whether the user named a login.
func (l *Login) Given() bool { return l.s.login != "" }

// Do signs in, has the work done, and signs out.
func (l *Login) Do(ctx context.Context, do func(context.Context, *client.Client) error) error {
	c, err := l.s.client()
	if err != nil {
		return err
	}
	if err := l.s.signIn(ctx, c); err != nil {
		return err
	}
	return errors.Join(do(ctx, c), c.SignOut(context.WithoutCancel(ctx)))
}
