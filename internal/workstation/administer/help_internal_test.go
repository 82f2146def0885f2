package administer

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelpNamesVariables: the help of every command that signs in says where a script puts what a person is asked for.
func TestHelpNamesVariables(t *testing.T) {
	signIn := 0
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		if c.Flags().Lookup("login") != nil {
			signIn++
			for _, want := range []string{passwordEnv, totpEnv, connectEnv} {
				if !strings.Contains(c.UsageString(), want) {
					t.Errorf("%s --help does not name $%s", c.CommandPath(), want)
				}
			}
		}
		if c.CommandPath() == "user password" && !strings.Contains(c.Long, newPasswordEnv) {
			t.Errorf("%s --help does not name $%s", c.CommandPath(), newPasswordEnv)
		}
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	for _, c := range Commands() {
		look(c)
	}
	if signIn < 40 {
		t.Errorf("%d commands sign in", signIn)
	}
}

// TestAfterReplace: what is left to do after a replacement names both sensors and the gateway, and removes the old one last.
func TestAfterReplace(t *testing.T) {
	text := afterReplace("oxi-1", "oxi-9", "gw-1")
	at := -1
	for _, want := range []string{"oxi-1 measures on", "on gw-1: enrol", "connect oxi-9", "numbers of oxi-9", "identity delete sensor/oxi-1"} {
		i := strings.Index(text, want)
		if i <= at {
			t.Errorf("%q is missing or out of order:\n%s", want, text)
		}
		at = i
	}
}
