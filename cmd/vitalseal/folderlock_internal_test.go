package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
)

// TestHoldFolder: a second connect on a folder is refused before it changes anything, and may begin when the first has ended.
func TestHoldFolder(t *testing.T) {
	dir := t.TempDir()
	release, err := holdFolder(dir, serviceFaces)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holdFolder(dir, serviceFaces); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second one: %v", err)
	}
	other, err := holdFolder(dir, serviceThingSpeak)
	if err != nil {
		t.Errorf("another service of the folder: %v", err)
	} else {
		other()
	}
	release()
	again, err := holdFolder(dir, serviceFaces)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again()
}

// TestHoldNode: a second overlay on a folder ends before it starts a child, and says what to do; the command itself asks for the lock.
func TestHoldNode(t *testing.T) {
	dir := t.TempDir()
	for _, command := range []string{"overlay", "router"} {
		release, err := holdNode(dir, command)
		if err != nil {
			t.Fatal(err)
		}
		c := map[string]func() *cobra.Command{"overlay": overlayCommand, "router": routerCommand}[command]()
		c.SilenceUsage, c.SilenceErrors = true, true
		c.PersistentFlags().String("log-level", "info", "")
		c.PersistentFlags().String("log-format", "text", "")
		c.SetArgs([]string{"--data", dir})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err = c.ExecuteContext(ctx)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "another `vitalseal "+command+"` runs on the folder "+dir) {
			t.Errorf("a second %s: %v", command, err)
		}
		if _, hint := cli.Explain(err); !strings.Contains(hint, "--data") {
			t.Errorf("hint: %q", hint)
		}
		release()
		if again, err := holdNode(dir, command); err != nil {
			t.Errorf("after the first has ended: %v", err)
		} else {
			again()
		}
	}
}
