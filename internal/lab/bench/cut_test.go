package bench_test

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"vitalseal/internal/lab/bench"
	"vitalseal/internal/way/overlay/node"
)

// TestMain is also the overlay's child process.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "overlay-node" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
		err := node.RunNode(ctx, node.Config{Dir: os.Args[2], Log: log})
		stop()
		if err != nil {
			log.Error("node", "err", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestCuts goes through every kind of revocation on the real network, a few times each: that each of them ends
// the open connection and refuses a new one is what is tested, not how fast.
func TestCuts(t *testing.T) {
	trials := 2
	if n, err := strconv.Atoi(os.Getenv("VITALSEAL_TRIALS")); err == nil {
		trials = n
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("VITALSEAL_VERBOSE") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	report, err := bench.RunCut(t.Context(), bench.Config{Exe: os.Args[0], NodeArgs: []string{"overlay-node"}, Dir: t.TempDir(),
		Trials: trials, Progress: t.Output(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Cuts {
		if c.Open == nil && c.Dial == nil {
			t.Errorf("%s: nothing was measured", c.Revocation)
		}
	}
}
