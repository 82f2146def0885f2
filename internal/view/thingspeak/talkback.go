package thingspeak

import (
	"net/http"
	"strconv"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/view/thingspeak/wire"
)

// commandObject is a command as ThingSpeak describes it.
type commandObject struct {
	ID       int64   `json:"id"`
	Text     string  `json:"command_string"`
	Position *int    `json:"position"`
	Executed *string `json:"executed_at"`
	Created  string  `json:"created_at"`
}

func commandOf(c channel.Command) commandObject {
	form := wire.WrittenShape(0)
	o := commandObject{ID: c.ID, Text: c.Text, Created: form.Stamp(c.Created)}
	if c.Position != 0 {
		o.Position = &c.Position
	}
	if !c.Executed.IsZero() {
		s := form.Stamp(c.Executed)
		o.Executed = &s
	}
	return o
}

func (o commandObject) cells(created, executed time.Time) []wire.Cell {
	position := wire.Cell{Name: "position", Number: true}
	if o.Position != nil {
		position = wire.WholeCell("position", int64(*o.Position))
	}
	return []wire.Cell{wire.WholeCell("id", o.ID), {Name: "command_string", Value: &o.Text}, position, {Name: "executed_at", At: executed}, {Name: "created_at", At: created}}
}

// talkBack has the use of a TalkBack decided: of the one that the path names, by the request's key.
func (f *face) talkBack(q *request) (int64, access.Grant, error) {
	id, err := number(q.path["id"])
	if err != nil {
		return 0, access.Grant{}, err
	}
	if q.p, err = wire.WriteParameters(q.w, q.r, wire.MaxBodyBytes); err != nil {
		return 0, access.Grant{}, err
	}
	s, _, err := f.SignIn.AuthenticateKey(q.r.Context(), wire.KeyOf(q.r, q.p), f.Workstation(q.r))
	if err != nil {
		return 0, access.Grant{}, err
	}
	g, err := f.Access.Decide(q.r.Context(), s, access.UseTalkBack, access.OnTalkBack(id))
	return id, g, err
}

// talkBackOf has the use of the TalkBack decided that a key is for.
func (f *face) talkBackOf(q *request, key string) (int64, access.Grant, error) {
	s, k, err := f.SignIn.AuthenticateKey(q.r.Context(), key, f.Workstation(q.r))
	if err == nil && k.TalkBack == 0 {
		err = access.ErrNoSession
	}
	if err != nil {
		return 0, access.Grant{}, err
	}
	g, err := f.Access.Decide(q.r.Context(), s, access.UseTalkBack, access.OnTalkBack(k.TalkBack))
	return k.TalkBack, g, err
}

// createTalkBack makes a queue of the account's owner, and its key, which is shown here and never again. ThingSpeak has no such
// call: there a web page does it.
func (f *face) createTalkBack(q *request) error {
	ctx := q.r.Context()
	var err error
	if q.p, err = wire.WriteParameters(q.w, q.r, wire.MaxBodyBytes); err != nil {
		return err
	}
	s, err := f.account(q)
	if err != nil {
		return err
	}
	g, err := f.Access.DecideFor(ctx, s, access.CreateChannel, access.OnSystem(), "talkback")
	if err != nil {
		return err
	}
	name := q.p["name"]
	if name == "" {
		name = "TalkBack"
	}
	t, err := f.Store.CreateTalkBack(ctx, s.Person.ID, name)
	if err != nil {
		return err
	}
	if err := f.Access.Record(ctx, g, access.OnTalkBack(t.ID), "created"); err != nil {
		return err
	}
	use, err := f.Access.DecideFor(ctx, s, access.UseTalkBack, access.OnTalkBack(t.ID), "first key")
	if err != nil {
		return err
	}
	key, err := f.SignIn.IssueKey(ctx, use, access.APIKey{TalkBack: t.ID})
	if err != nil {
		return err
	}
	return object(q, http.StatusOK, struct {
		ID      int64  `json:"id"`
		Name    string `json:"name"`
		Key     string `json:"api_key"`
		Created string `json:"created_at"`
	}{t.ID, t.Name, key, wire.WrittenShape(0).Stamp(t.Created)})
}

func (f *face) deleteTalkBack(q *request) error {
	id, g, err := f.talkBack(q)
	if err != nil {
		return err
	}
	if err := f.Store.DeleteTalkBack(q.r.Context(), g, id); err != nil {
		return err
	}
	write(q.w, http.StatusOK, mediaJSON, []byte("{}"))
	return nil
}

// commands lists those that wait.
func (f *face) commands(q *request) error {
	id, g, err := f.talkBack(q)
	if err != nil {
		return err
	}
	all, err := f.Store.Commands(q.r.Context(), g, id)
	if err != nil {
		return err
	}
	if q.ext == "xml" {
		b := append([]byte(wire.XMLHead), "<commands type=\"array\">\n"...)
		for _, c := range all {
			b = appendCommand(b, c)
		}
		write(q.w, http.StatusOK, mediaXML, append(b, "</commands>\n"...))
		return nil
	}
	out := []commandObject{}
	for _, c := range all {
		out = append(out, commandOf(c))
	}
	return object(q, http.StatusOK, out)
}

func appendCommand(b []byte, c channel.Command) []byte {
	form := wire.WrittenShape(0)
	b = append(b, "<command>\n"...)
	b = form.AppendElements(b, "  ", commandOf(c).cells(c.Created, c.Executed))
	return append(b, "</command>\n"...)
}

// tellCommand answers with one command, in text as its text or, where that was sent just now, its id.
func (q *request) tellCommand(c channel.Command, text string) error {
	switch q.ext {
	case "json":
		return object(q, http.StatusOK, commandOf(c))
	case "xml":
		write(q.w, http.StatusOK, mediaXML, appendCommand([]byte(wire.XMLHead), c))
	default:
		write(q.w, http.StatusOK, mediaText, []byte(text))
	}
	return nil
}

// position is the place in the queue that a request asks for; 0 for none.
func position(p wire.Parameters) (int, error) {
	n, given, err := p.Number("position", channel.MaxCommands)
	if err == nil && given && n == 0 {
		err = wire.Bad("position is not a whole number from 1.")
	}
	return n, err
}

// commandString is the text of a command that a request has, as far as it has one.
func commandString(p wire.Parameters, needed bool) (string, error) {
	s := p["command_string"]
	switch {
	case s == "" && needed:
		return "", wire.Bad("command_string is missing.")
	case len(s) > wire.MaxFieldBytes:
		return "", wire.ErrTooLarge
	}
	return s, nil
}

func (f *face) addCommand(q *request) error {
	id, g, err := f.talkBack(q)
	if err != nil {
		return err
	}
	text, err := commandString(q.p, true)
	if err != nil {
		return err
	}
	at, err := position(q.p)
	if err != nil {
		return err
	}
	c, err := f.Store.AddCommand(q.r.Context(), g, id, text, at)
	if err != nil {
		return f.full(g, err)
	}
	return q.tellCommand(c, strconv.FormatInt(c.ID, 10))
}

func (f *face) deleteCommands(q *request) error {
	id, g, err := f.talkBack(q)
	if err != nil {
		return err
	}
	if err := f.Store.DeleteCommands(q.r.Context(), g, id); err != nil {
		return err
	}
	switch q.ext {
	case "json":
		write(q.w, http.StatusOK, mediaJSON, []byte("[]"))
	case "xml":
		write(q.w, http.StatusOK, mediaXML, []byte(wire.XMLHead+"<commands type=\"array\"/>\n"))
	default:
		write(q.w, http.StatusOK, mediaText, nil)
	}
	return nil
}

// one has a command of the path done something to, and answers with it.
func (f *face) onCommand(q *request, do func(id, command int64, g access.Grant) (channel.Command, error)) error {
	command, err := number(q.path["command"])
	if err != nil {
		return err
	}
	id, g, err := f.talkBack(q)
	if err != nil {
		return err
	}
	c, err := do(id, command, g)
	if err != nil {
		return err
	}
	return q.tellCommand(c, c.Text)
}

func (f *face) command(q *request) error {
	return f.onCommand(q, func(id, command int64, g access.Grant) (channel.Command, error) {
		return f.Store.Command(q.r.Context(), g, id, command)
	})
}

func (f *face) deleteCommand(q *request) error {
	return f.onCommand(q, func(id, command int64, g access.Grant) (channel.Command, error) {
		return f.Store.DeleteCommand(q.r.Context(), g, id, command)
	})
}

func (f *face) changeCommand(q *request) error {
	return f.onCommand(q, func(id, command int64, g access.Grant) (channel.Command, error) {
		text, err := commandString(q.p, false)
		if err != nil {
			return channel.Command{}, err
		}
		at, err := position(q.p)
		if err != nil {
			return channel.Command{}, err
		}
		return f.Store.ChangeCommand(q.r.Context(), g, id, command, text, at)
	})
}

func (f *face) lastCommand(q *request) error {
	id, g, err := f.talkBack(q)
	if err != nil {
		return err
	}
	c, err := f.Store.LastCommand(q.r.Context(), g, id)
	if err != nil {
		return err
	}
	return q.tellCommand(c, c.Text)
}

func (f *face) execute(q *request) error {
	id, g, err := f.talkBack(q)
	if err != nil {
		return err
	}
	return f.next(q, id, g)
}

// next takes the next command out of its queue and answers with it; an empty queue is nothing, or {}.
func (f *face) next(q *request, id int64, g access.Grant) error {
	c, err := f.Store.ExecuteCommand(q.r.Context(), g, id)
	switch {
	case err == nil:
		return q.tellCommand(c, c.Text)
	case !isNotFound(err):
		return err
	case q.ext == "json":
		write(q.w, http.StatusOK, mediaJSON, []byte("{}"))
	case q.ext == "xml":
		write(q.w, http.StatusOK, mediaXML, []byte(wire.XMLHead+"<nil-classes type=\"array\"/>\n"))
	default:
		write(q.w, http.StatusOK, mediaText, nil)
	}
	return nil
}
