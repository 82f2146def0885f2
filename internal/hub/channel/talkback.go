package channel

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/seal"
)

// TalkBack is a queue of commands that a thing fetches. Its name is sealed.
type TalkBack struct {
	ID      int64 // from 1
	Owner   string
	Name    string // at most 200 bytes
	Created time.Time
}

// Command is one command of a TalkBack; its text is sealed.
type Command struct {
	ID       int64     // from 1, never used again
	Text     string    // at most 255 bytes of UTF-8
	Position int       // from 1 in the queue; 0: executed
	Executed time.Time // zero: still in the queue
	Created  time.Time
}

// MaxCommands is the most commands that wait in one queue.
const MaxCommands = 8000

func talkBackKey(id int64) string { return "talkback/" + strconv.FormatInt(id, 10) }

// CreateTalkBack makes an empty queue. ErrInvalid if the person has MaxOwned of them, ErrNotFound for an unknown person.
func (s *Registry) CreateTalkBack(ctx context.Context, owner, name string) (TalkBack, error) {
	t := TalkBack{Owner: owner, Name: name, Created: sealdb.FromMicro(sealdb.Micro(s.db.Now()))}
	if err := sealdb.CheckText("talkback name", name, 1, sealdb.MaxName); err != nil {
		return TalkBack{}, sealdb.Named("create talkback", err)
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM talkbacks WHERE person = ?", owner).Scan(&n); err != nil {
			return err
		}
		if n >= MaxOwned {
			return fmt.Errorf("%w: at most %d TalkBacks a person; delete one first", sealdb.ErrInvalid, MaxOwned)
		}
		if err := tx.QueryRowContext(ctx, "INSERT INTO talkbacks (person, created, last_command, sealed) VALUES (?, ?, 0, ?) RETURNING id",
			owner, sealdb.Micro(t.Created), []byte{}).Scan(&t.ID); err != nil {
			return err
		}
		key, err := s.db.NewKey(ctx, tx, talkBackKey(t.ID))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE talkbacks SET sealed = ? WHERE id = ?", key.Seal([]byte(name), sealdb.Associated("talkback", talkBackKey(t.ID))), t.ID)
		return err
	})
	if err == nil {
		err = s.apart.locked(ctx, func(tx *sql.Tx) error {
			_, err := lockStock(ctx, tx, kindTalkBack, t.ID, owner)
			return err
		})
	}
	if err != nil {
		return TalkBack{}, sealdb.Named("create talkback", err)
	}
	return t, nil
}

// TalkBackOwner is whose queue it is.
func (s *Registry) TalkBackOwner(ctx context.Context, id int64) (person string, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT person FROM talkbacks WHERE id = ?", id).Scan(&person)
	return person, sealdb.Named("talkback", err)
}

// DeleteTalkBack takes a queue away, with its commands, its API keys and the key that sealed it. The grant must allow
// access.UseTalkBack on it, like all that follows.
func (s *Registry) DeleteTalkBack(ctx context.Context, g access.Grant, id int64) error {
	if err := s.db.Allowed(g, access.UseTalkBack, access.OnTalkBack(id)); err != nil {
		return sealdb.Named("delete talkback", err)
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM api_keys WHERE talkback = ?", id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM keys WHERE name = ?", talkBackKey(id)); err != nil {
			return err
		}
		return sealdb.Affected(tx.ExecContext(ctx, "DELETE FROM talkbacks WHERE id = ?", id))
	})
	s.db.DropKey(talkBackKey(id))
	if err == nil {
		err = s.sweepGone(ctx, kindTalkBack, id)
	}
	return sealdb.Named("delete talkback", err)
}

func commandData(talkBack, id int64) []byte {
	return sealdb.Associated("command", talkBackKey(talkBack), fmt.Sprint(id))
}

const selectCommand = "SELECT id, coalesce(position, 0), created, executed, sealed FROM commands"

// queue is a TalkBack's, for who holds its key.
type queue struct {
	id    int64
	owner string
	key   seal.Key
	last  int64 // the highest id of a command; in a transaction alone
}

// queue is the gate in front of a TalkBack's commands.
func (s *Registry) queue(ctx context.Context, g access.Grant, id int64) (q queue, err error) {
	if err := s.db.Allowed(g, access.UseTalkBack, access.OnTalkBack(id)); err != nil {
		return q, err
	}
	q.id = id
	if q.owner, err = s.TalkBackOwner(ctx, id); err == nil {
		q.key, err = s.db.Key(ctx, talkBackKey(id))
	}
	return q, err
}

// open reads a row of selectCommand, and its commands' bytes.
func (q queue) open(r sealdb.Scanner) (c Command, err error) {
	var created int64
	var executed *int64
	var sealed []byte
	if err := r.Scan(&c.ID, &c.Position, &created, &executed, &sealed); err != nil {
		return c, err
	}
	c.Created, c.Executed = sealdb.FromMicro(created), sealdb.FromOptional(executed)
	b, err := q.key.Open(sealed, commandData(q.id, c.ID))
	if err != nil {
		return c, sealdb.ErrSealed
	}
	c.Text = string(b)
	return c, nil
}

// talkBack runs f in a transaction that has the queue to itself.
func (s *Registry) talkBack(ctx context.Context, g access.Grant, id int64, f func(tx *sql.Tx, q queue) error) error {
	q, err := s.queue(ctx, g, id)
	if err != nil {
		return sealdb.Named("talkback", err)
	}
	return sealdb.Named("talkback", s.apart.locked(ctx, func(tx *sql.Tx) (err error) {
		if q.last, err = lockStock(ctx, tx, kindTalkBack, id, q.owner); err != nil {
			return err
		}
		return f(tx, q)
	}))
}

// shrink runs a DELETE ... RETURNING length(sealed), and counts what it took away.
func (s *Registry) shrink(ctx context.Context, tx *sql.Tx, q queue, query string, args ...any) error {
	var n, bytes int64
	err := sealdb.Each(ctx, tx, query, func(rows *sql.Rows) error {
		var b int64
		if err := rows.Scan(&b); err != nil {
			return err
		}
		n, bytes = n+1, bytes+b+rowBytes
		return nil
	}, args...)
	if err != nil {
		return err
	}
	return s.grow(ctx, tx, kindTalkBack, q.id, q.owner, q.last, -n, -bytes)
}

// Commands are those that wait, in their order.
func (s *Registry) Commands(ctx context.Context, g access.Grant, talkBack int64) (all []Command, err error) {
	q, err := s.queue(ctx, g, talkBack)
	if err == nil {
		all, err = sealdb.List(ctx, s.apart.DB, func(r *sql.Rows) (Command, error) { return q.open(r) },
			selectCommand+" WHERE talkback = ? AND position IS NOT NULL ORDER BY position LIMIT ?", talkBack, MaxCommands)
	}
	return all, sealdb.Named("talkback", err)
}

// Command is one command, waiting or the last executed.
func (s *Registry) Command(ctx context.Context, g access.Grant, talkBack, id int64) (c Command, err error) {
	q, err := s.queue(ctx, g, talkBack)
	if err == nil {
		c, err = q.open(s.apart.QueryRowContext(ctx, selectCommand+" WHERE talkback = ? AND id = ?", talkBack, id))
	}
	return c, sealdb.Named("talkback", err)
}

// LastCommand is the one that was executed last.
func (s *Registry) LastCommand(ctx context.Context, g access.Grant, talkBack int64) (c Command, err error) {
	q, err := s.queue(ctx, g, talkBack)
	if err == nil {
		c, err = q.open(s.apart.QueryRowContext(ctx, selectCommand+" WHERE talkback = ? AND position IS NULL ORDER BY executed DESC, id DESC LIMIT 1", talkBack))
	}
	return c, sealdb.Named("talkback", err)
}

func checkCommand(text string) error {
	if text == "" || len(text) > sealdb.MaxField || !utf8.ValidString(text) {
		return fmt.Errorf("%w: a command must have 1 to %d bytes of UTF-8", sealdb.ErrInvalid, sealdb.MaxField)
	}
	return nil
}

// AddCommand puts a command into the queue: at position (from 1; those from there move back), or at the end for 0 or beyond it.
func (s *Registry) AddCommand(ctx context.Context, g access.Grant, talkBack int64, text string, position int) (c Command, err error) {
	if err := checkCommand(text); err != nil {
		return c, sealdb.Named("talkback", err)
	}
	err = s.talkBack(ctx, g, talkBack, func(tx *sql.Tx, q queue) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM commands WHERE talkback = ? AND position IS NOT NULL", talkBack).Scan(&n); err != nil {
			return err
		}
		if n >= MaxCommands {
			return fmt.Errorf("%w: the queue is full (%d commands)", sealdb.ErrInvalid, MaxCommands)
		}
		c = Command{ID: q.last + 1, Text: text, Position: position, Created: sealdb.FromMicro(sealdb.Micro(s.db.Now()))}
		if c.Position < 1 || c.Position > n {
			c.Position = n + 1
		} else if _, err := tx.ExecContext(ctx, "UPDATE commands SET position = position + 1 WHERE talkback = ? AND position >= ?", talkBack, c.Position); err != nil {
			return err
		}
		sealed := q.key.Seal([]byte(text), commandData(talkBack, c.ID))
		if _, err := tx.ExecContext(ctx, "INSERT INTO commands (talkback, id, position, created, sealed) VALUES (?, ?, ?, ?, ?)",
			talkBack, c.ID, c.Position, sealdb.Micro(c.Created), sealed); err != nil {
			return err
		}
		return s.grow(ctx, tx, kindTalkBack, talkBack, q.owner, c.ID, 1, int64(len(sealed))+rowBytes)
	})
	return c, err
}

// ChangeCommand gives a waiting command another text ("" leaves it) or place (0 leaves it).
func (s *Registry) ChangeCommand(ctx context.Context, g access.Grant, talkBack, id int64, text string, position int) (c Command, err error) {
	if text != "" {
		if err := checkCommand(text); err != nil {
			return c, sealdb.Named("talkback", err)
		}
	}
	err = s.talkBack(ctx, g, talkBack, func(tx *sql.Tx, q queue) error {
		if c, err = q.open(tx.QueryRowContext(ctx, selectCommand+" WHERE talkback = ? AND id = ? AND position IS NOT NULL", talkBack, id)); err != nil {
			return err
		}
		if text != "" {
			more := int64(len(text) - len(c.Text))
			c.Text = text
			if _, err := tx.ExecContext(ctx, "UPDATE commands SET sealed = ? WHERE talkback = ? AND id = ?", q.key.Seal([]byte(text), commandData(talkBack, id)), talkBack, id); err != nil {
				return err
			}
			if err := s.grow(ctx, tx, kindTalkBack, talkBack, q.owner, q.last, 0, more); err != nil {
				return err
			}
		}
		if position < 1 || position == c.Position {
			return nil
		}
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM commands WHERE talkback = ? AND position IS NOT NULL", talkBack).Scan(&n); err != nil {
			return err
		}
		from := c.Position
		c.Position = min(position, n)
		move := "UPDATE commands SET position = position - 1 WHERE talkback = ?1 AND position > ?2 AND position <= ?3"
		if c.Position < from {
			move = "UPDATE commands SET position = position + 1 WHERE talkback = ?1 AND position >= ?3 AND position < ?2"
		}
		if _, err := tx.ExecContext(ctx, move, talkBack, from, c.Position); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE commands SET position = ? WHERE talkback = ? AND id = ?", c.Position, talkBack, id)
		return err
	})
	return c, err
}

// ExecuteCommand takes the first command out of the queue; ErrNotFound if it is empty. The one executed before is forgotten.
func (s *Registry) ExecuteCommand(ctx context.Context, g access.Grant, talkBack int64) (c Command, err error) {
	err = s.talkBack(ctx, g, talkBack, func(tx *sql.Tx, q queue) error {
		if c, err = q.open(tx.QueryRowContext(ctx, selectCommand+" WHERE talkback = ? AND position IS NOT NULL ORDER BY position LIMIT 1", talkBack)); err != nil {
			return err
		}
		from := c.Position
		c.Position, c.Executed = 0, sealdb.FromMicro(sealdb.Micro(s.db.Now()))
		if err := s.shrink(ctx, tx, q, "DELETE FROM commands WHERE talkback = ? AND position IS NULL RETURNING length(sealed)", talkBack); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE commands SET position = NULL, executed = ? WHERE talkback = ? AND id = ?", sealdb.Micro(c.Executed), talkBack, c.ID); err != nil {
			return err
		}
		return closeUp(ctx, tx, talkBack, from)
	})
	return c, err
}

// DeleteCommand takes one command away, DeleteCommands all of them.
func (s *Registry) DeleteCommand(ctx context.Context, g access.Grant, talkBack, id int64) (c Command, err error) {
	err = s.talkBack(ctx, g, talkBack, func(tx *sql.Tx, q queue) error {
		if c, err = q.open(tx.QueryRowContext(ctx, selectCommand+" WHERE talkback = ? AND id = ?", talkBack, id)); err != nil {
			return err
		}
		err := s.shrink(ctx, tx, q, "DELETE FROM commands WHERE talkback = ? AND id = ? RETURNING length(sealed)", talkBack, id)
		if err != nil || c.Position == 0 {
			return err
		}
		return closeUp(ctx, tx, talkBack, c.Position)
	})
	return c, err
}

// DeleteCommands empties the queue.
func (s *Registry) DeleteCommands(ctx context.Context, g access.Grant, talkBack int64) error {
	return s.talkBack(ctx, g, talkBack, func(tx *sql.Tx, q queue) error {
		return s.shrink(ctx, tx, q, "DELETE FROM commands WHERE talkback = ? RETURNING length(sealed)", talkBack)
	})
}

// closeUp moves up those behind a place that has become free.
func closeUp(ctx context.Context, tx *sql.Tx, talkBack int64, from int) error {
	_, err := tx.ExecContext(ctx, "UPDATE commands SET position = position - 1 WHERE talkback = ? AND position > ?", talkBack, from)
	return err
}
