//go:build weaken

package weaken

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Build tells whether this binary is a weakened one.
const Build = true

// variable holds names with commas between them, or @FILE with them in it: a file can be changed
// while a deployment runs.
const variable = "VITALSEAL_WEAKEN"

// readEach is how old what was read of the file may be.
const readEach = 20 * time.Millisecond

var state struct {
	mu   sync.Mutex // guards what follows
	at   time.Time
	text string
}

// Skip reports whether a defence is taken away.
func Skip(d Defence) bool {
	if d == None {
		return false
	}
	state.mu.Lock()
	defer state.mu.Unlock()
	if now := time.Now(); state.at.IsZero() || now.Sub(state.at) >= readEach || now.Before(state.at) {
		state.at, state.text = now, os.Getenv(variable)
		if file, ok := strings.CutPrefix(state.text, "@"); ok {
			b, err := os.ReadFile(file) // #nosec G304 -- named by the user of the test build
			if err != nil {
				b = nil // nothing is taken away
			}
			state.text = string(b)
		}
	}
	for name := range strings.SplitSeq(state.text, ",") {
		if strings.TrimSpace(name) == string(d) {
			return true
		}
	}
	return false
}

// Share makes file the place where this process and those that it starts look.
func Share(file string) error {
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return fmt.Errorf("weaken: %w", err)
	}
	state.mu.Lock()
	defer state.mu.Unlock()
	state.at = time.Time{}
	return os.Setenv(variable, "@"+file)
}

// Set takes away exactly these defences, in every process that shares the file.
func Set(ds ...Defence) error {
	file, ok := strings.CutPrefix(os.Getenv(variable), "@")
	if !ok {
		return fmt.Errorf("weaken: nothing is shared")
	}
	var names []string
	for _, d := range ds {
		names = append(names, string(d))
	}
	if err := os.WriteFile(file+".new", []byte(strings.Join(names, ",")), 0o600); err != nil { // #nosec G703 -- likewise
		return fmt.Errorf("weaken: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil { // #nosec G703 -- likewise
		return fmt.Errorf("weaken: %w", err)
	}
	time.Sleep(2 * readEach) // until every process has seen it
	state.mu.Lock()
	defer state.mu.Unlock()
	state.at = time.Time{}
	return nil
}

// Folder is where the shared file lies (see Share), for what weakened processes have to tell each
// other; empty without one.
func Folder() string {
	file, ok := strings.CutPrefix(os.Getenv(variable), "@")
	if !ok {
		return ""
	}
	return filepath.Dir(file)
}
