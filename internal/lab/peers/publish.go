package peers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vitalseal/internal/lab/bench"
	"vitalseal/internal/lab/peers/wire"
)

// peerPublisher sends one sensor's chunks to the broker, with QoS 1 over a TLS connection of its own.
type peerPublisher struct {
	m     *peerMQTT
	topic string
	tally *peerTally

	id  uint16 // the sender's
	buf []byte // the sender's

	mu      sync.Mutex // guards what follows
	waiting int        // not acknowledged yet
	ended   error      // of the receiver
	changed *sync.Cond
}

func newPeerPublisher(ctx context.Context, task peerTask, number int, tally *peerTally) (*peerPublisher, error) {
	conn, err := task.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("measure: broker: %w", err)
	}
	name := "oxi-" + strconv.Itoa(number)
	m, err := newPeerMQTT(conn, name, peerUser, task.Password, true)
	if err != nil {
		return nil, err
	}
	p := &peerPublisher{m: m, topic: peerTopic + name, tally: tally}
	p.changed = sync.NewCond(&p.mu)
	go p.receive()
	return p, nil
}

// receive counts acknowledgements until the connection ends.
func (p *peerPublisher) receive() {
	for {
		kind, body, err := p.m.receive()
		if err == nil && (kind != mqttPuback || len(body) != 2) {
			err = fmt.Errorf("%w: packet %#x for an acknowledgement", wire.ErrBroker, kind)
		}
		p.mu.Lock()
		if err == nil {
			p.waiting--
			p.tally.acked()
		}
		p.ended = err
		p.changed.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *peerPublisher) put(c peerChunk) error {
	if p.id++; p.id == 0 {
		p.id = 1
	}
	p.buf = c.line(p.buf[:0])
	p.mu.Lock()
	p.waiting++
	p.mu.Unlock()
	if err := p.m.publish(p.topic, p.id, p.buf); err != nil {
		return fmt.Errorf("measure: publish: %w", err)
	}
	return nil
}

func (p *peerPublisher) close() error {
	late := time.AfterFunc(peerPatience, func() { _ = p.m.conn.Close() })
	defer late.Stop()
	p.mu.Lock()
	for p.waiting > 0 && p.ended == nil {
		p.changed.Wait()
	}
	left, err := p.waiting, p.ended
	p.mu.Unlock()
	if left > 0 {
		return fmt.Errorf("measure: %s: %d messages not acknowledged: %w", p.topic, left, err)
	}
	return p.m.leave()
}

// RunSubscriber is the process between broker and database: it gathers messages, writes them in batches and acknowledges a message
// when the database has said that it has it. dir holds the task.
func RunSubscriber(ctx context.Context, dir string, ready func() error) error {
	task, err := readPeerTask(dir)
	if err != nil {
		return err
	}
	conn, err := task.dial(ctx)
	if err != nil {
		return fmt.Errorf("measure: broker: %w", err)
	}
	m, err := newPeerMQTT(conn, "subscriber", peerUser, task.Password, false)
	if err != nil {
		return err
	}
	s := &peerSubscriber{task: task, m: m, tally: &peerTally{}, full: make(chan struct{}, 1), http: &http.Client{Timeout: 30 * time.Second}}
	if err := m.subscribe(peerTopic + "#"); err != nil {
		return err
	}
	file := filepath.Join(dir, "subscriber.json")
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := s.receive()
		if ctx.Err() != nil { // that ended it
			return nil
		}
		return err
	})
	g.Go(func() error { return s.store(gctx) })
	g.Go(func() error { return s.tally.run(gctx, file) })
	g.Go(func() error {
		<-gctx.Done()
		return conn.Close()
	})
	g.Go(ready)
	if err := g.Wait(); err != nil {
		return err
	}
	return s.tally.write(file, true)
}

// peerSubscriber is one run of RunPeerSubscriber: one goroutine receives, another stores.
type peerSubscriber struct {
	task  peerTask
	m     *peerMQTT
	tally *peerTally
	http  *http.Client
	full  chan struct{} // a batch is

	mu    sync.Mutex // guards batch
	batch peerBatch
}

// peerBatch is what is written at once.
type peerBatch struct {
	body   []byte
	ids    []uint16
	oldest []time.Time
	points int
}

func (s *peerSubscriber) receive() error {
	for {
		kind, body, err := s.m.receive()
		if err != nil {
			return err
		}
		id, payload, err := wire.Message(kind, body)
		if err != nil {
			return err
		}
		points, oldest, ok := wire.Points(payload)
		if !ok {
			return fmt.Errorf("%w: a message that no gateway of ours sent", wire.ErrBroker)
		}
		s.mu.Lock()
		b := &s.batch
		b.body, b.ids, b.oldest = append(b.body, payload...), append(b.ids, id), append(b.oldest, oldest)
		b.points += points
		full := b.points >= peerBatchPoints
		s.mu.Unlock()
		if full {
			select {
			case s.full <- struct{}{}:
			default:
			}
		}
	}
}

// store writes what was gathered, each time it is enough or old enough.
func (s *peerSubscriber) store(ctx context.Context) error {
	t := time.NewTicker(s.task.Batch)
	defer t.Stop()
	var spare peerBatch
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-s.full:
			t.Reset(s.task.Batch)
		}
		s.mu.Lock()
		b := s.batch
		s.batch = peerBatch{body: spare.body[:0], ids: spare.ids[:0], oldest: spare.oldest[:0]}
		s.mu.Unlock()
		spare = b
		if b.points == 0 {
			continue
		}
		for {
			err := s.write(b.body)
			if err == nil {
				break
			}
			s.tally.failed(err)
			if bench.Wait(ctx, 100*time.Millisecond) != nil {
				return nil
			}
		}
		s.tally.stored(b.points, b.oldest, time.Now())
		if err := s.m.acknowledge(b.ids); err != nil {
			return fmt.Errorf("measure: broker: %w", err)
		}
	}
}

// write has the database take a batch; both answer 204.
func (s *peerSubscriber) write(body []byte) error {
	res, err := s.http.Post(s.task.Write, "text/plain", bytes.NewReader(body)) //nolint:noctx // the client has its bound
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err == nil && res.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("the database answers %s: %s", res.Status, said)
	}
	return err
}
