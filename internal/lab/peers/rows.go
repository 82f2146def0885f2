package peers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// peerTables are plain tables as one would make them: a row a sample, or a row a chunk, found by sensor and time.
const peerTables = `
CREATE TABLE ppg (sensor int NOT NULL, at timestamptz NOT NULL, red int NOT NULL, infrared int NOT NULL, PRIMARY KEY (sensor, at));
CREATE TABLE ppg_chunks (sensor int NOT NULL, at timestamptz NOT NULL, red int[] NOT NULL, infrared int[] NOT NULL, PRIMARY KEY (sensor, at));
CREATE TABLE numbers (sensor int NOT NULL, at timestamptz NOT NULL, heart_rate_bpm real, spo2_percent real, perfusion_percent real, PRIMARY KEY (sensor, at));`

// peerRows sends a gateway's chunks to PostgreSQL over one connection, as rows by COPY, a transaction for all that was gathered.
type peerRows struct {
	task  peerTask
	conn  *pgx.Conn // store's
	tally *peerTally
	stop  chan struct{}
	done  chan error

	mu      sync.Mutex // guards what follows
	waiting []peerChunk
	ended   error
}

func newPeerRows(ctx context.Context, task peerTask, tally *peerTally) (*peerRows, error) {
	conn, err := pgx.Connect(ctx, task.Postgres)
	if err != nil {
		return nil, fmt.Errorf("measure: postgres: %w", err)
	}
	r := &peerRows{task: task, conn: conn, tally: tally, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { r.done <- r.run(context.WithoutCancel(ctx)) }()
	return r, nil
}

func (r *peerRows) put(c peerChunk) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, c)
	return r.ended
}

func (r *peerRows) close() error {
	close(r.stop)
	return <-r.done
}

// run stores what was gathered, again and again, and what is left when it is stopped.
func (r *peerRows) run(ctx context.Context) (err error) {
	defer func() {
		r.mu.Lock()
		r.ended = err
		r.mu.Unlock()
		err = errors.Join(err, r.conn.Close(ctx))
	}()
	t := time.NewTicker(r.task.Batch)
	defer t.Stop()
	for last := false; !last; {
		select {
		case <-r.stop:
			last = true
		case <-t.C:
		}
		r.mu.Lock()
		batch := r.waiting
		r.waiting = nil
		r.mu.Unlock()
		if len(batch) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, peerPatience)
		err := r.store(ctx, batch)
		cancel()
		if err != nil {
			return fmt.Errorf("measure: postgres: %w", err)
		}
		oldest := make([]time.Time, len(batch))
		for i, c := range batch {
			oldest[i] = c.at
		}
		r.tally.durable(oldest, time.Now())
		for range batch {
			r.tally.acked()
		}
	}
	return nil
}

// store commits a batch: one COPY for each table that it has something for.
func (r *peerRows) store(ctx context.Context, batch []peerChunk) error {
	waves, numbers := r.rows(batch)
	if len(numbers) == 0 {
		return r.copyWaves(ctx, r.conn, waves)
	}
	return pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		if err := r.copyWaves(ctx, tx, waves); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"numbers"}, []string{"sensor", "at", "heart_rate_bpm", "spo2_percent", "perfusion_percent"}, pgx.CopyFromRows(numbers))
		return err
	})
}

// rows are a batch's, in the order of the tables' columns.
func (r *peerRows) rows(batch []peerChunk) (waves, numbers [][]any) {
	for _, c := range batch {
		sensor := int32(c.sensor) // #nosec G115 -- at most 10,000
		if n := c.numbers; n != nil {
			numbers = append(numbers, []any{sensor, c.at, n.heartRate, n.spo2, n.perfusion})
			continue
		}
		if r.task.Chunks {
			waves = append(waves, []any{sensor, c.at, integers(c.red), integers(c.infrared)})
			continue
		}
		for i := range c.infrared {
			waves = append(waves, []any{sensor, c.at.Add(time.Duration(i) * peerPeriod), int32(c.red[i]), int32(c.infrared[i])})
		}
	}
	return waves, numbers
}

func integers(a []uint16) []int32 {
	b := make([]int32, len(a))
	for i, v := range a {
		b[i] = int32(v)
	}
	return b
}

// copier is a connection or a transaction of it.
type copier interface {
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

func (r *peerRows) copyWaves(ctx context.Context, c copier, waves [][]any) error {
	if len(waves) == 0 {
		return nil
	}
	table := "ppg"
	if r.task.Chunks {
		table = "ppg_chunks"
	}
	_, err := c.CopyFrom(ctx, pgx.Identifier{table}, []string{"sensor", "at", "red", "infrared"}, pgx.CopyFromRows(waves))
	return err
}
