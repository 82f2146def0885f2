package sealdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
)

// checkpointAt is how long the write-ahead log of a partition, or of channels.db, may get before it is moved into the file. It is rare on purpose: a page
// that fills chunk by chunk then moves once, not each time. And it is done beside the writer, since it takes as long as a slow
// disk wants.
const checkpointAt = 48 << 20

const (
	// checkpointLeft is how many pages are left to the writer, which moves them while all other writers of the file wait: what was
	// written while the pass before moved no more than that. A scattered bulk update writes thousands during the first pass.
	checkpointLeft = 128
	// checkpointPasses bounds the passes beside a writer that is as fast as the disk.
	checkpointPasses = 8
)

// Checkpointer moves one file's log. All but state belongs to the writer.
type Checkpointer struct {
	Log   string // path of the write-ahead log
	state atomic.Int32
	ended chan struct{} // closed when the last one in the background has; nil: there was none
}

// The states of a checkpointer.
const (
	checkpointIdle = iota
	checkpointRuns // in the background
	checkpointRest // what was written meanwhile is left, for the writer
)

// Committed is called by a file's writer after each commit. A failure costs disk, not data, and comes again.
func (c *Checkpointer) Committed(ctx context.Context, write, read *sql.DB, log *slog.Logger, name string) {
	var err error
	switch c.state.Load() {
	case checkpointRuns:
	case checkpointRest:
		c.state.Store(checkpointIdle)
		// Only when all of the log is in the file does the next commit begin it anew.
		_, err = passive(ctx, write)
	case checkpointIdle:
		info, statErr := os.Stat(c.Log)
		if statErr != nil || info.Size() < checkpointAt {
			if !errors.Is(statErr, fs.ErrNotExist) {
				err = statErr
			}
			break
		}
		c.state.Store(checkpointRuns)
		ended := make(chan struct{})
		c.ended = ended
		go func() {
			defer close(ended)
			if err := passes(func() (int, error) { return passive(ctx, read) }); err != nil {
				log.Warn("checkpoint beside the writer failed, the writer does it", "file", name, "err", err)
			}
			c.state.Store(checkpointRest)
		}()
	}
	if err != nil {
		log.Error("write-ahead log not moved into its file", "file", name, "err", err)
	}
}

// Wait is for the caller that closes the partition.
func (c *Checkpointer) Wait() {
	if c.ended != nil {
		<-c.ended
	}
}

// passes moves what the log holds, then what was written meanwhile, and so on until little is left. pass says how many pages of the log
// have been moved since it began.
func passes(pass func() (moved int, err error)) error {
	before := 0
	for range checkpointPasses {
		moved, err := pass()
		if err != nil || moved-before <= checkpointLeft {
			return err
		}
		before = moved
	}
	return nil
}

// passive moves what no reader needs any more, and does not wait. moved is how many pages of the log have been since it began.
func passive(ctx context.Context, db *sql.DB) (moved int, err error) {
	var busy, pages int
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &pages, &moved); err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	return moved, nil
}
