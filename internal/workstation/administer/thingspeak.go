package administer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sink"
	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// cloudKeyEnv is the cloud's API key: the write key for forward, the read key for open.
const cloudKeyEnv = "VITALSEAL_CLOUD_KEY" // #nosec G101 -- a variable's name

func thingspeakCommand() *cobra.Command {
	return group("thingspeak", "Channels in a ThingSpeak-compatible cloud: forward, approve, open, import", forwardChannel(),
		list2("/api/cloud/channels", "forwarded", "List the channels that are forwarded, and what is wrong",
			"channel", "server", "remote_channel", "mode", "requested_by", "requested", "approved_by", "messages", "last_sent", "problem"),
		approveChannel(), stopChannel(), consentChannel(), openChannel(), importChannel())
}

// list2 is list for any of the hub's paths.
func list2(path, use, short string, columns ...string) *cobra.Command {
	return adminCommand(use, short, 0, func(ctx context.Context, c *client.Client, s session, _ []string) error {
		var rows []map[string]any
		if err := c.Do(ctx, http.MethodGet, path, nil, &rows); err != nil {
			return err
		}
		if s.json {
			return json.NewEncoder(os.Stdout).Encode(rows)
		}
		return table(os.Stdout, columns, rows)
	})
}

// channelPath is a local channel's path at the hub.
func channelPath(id, tail string) (string, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 {
		return "", cli.Usage(fmt.Errorf("channel %q is not a number from 1", id), "`vitalseal patient list` shows patients' channels")
	}
	return "/api/cloud/channels/" + strconv.FormatInt(n, 10) + tail, nil
}

func forwardChannel() *cobra.Command {
	var server, mode string
	var remote int64
	c := adminCommand("forward CHANNEL", "Have a channel forwarded to a cloud, sealed unless told otherwise", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		path, err := channelPath(a[0], "")
		if err != nil {
			return err
		}
		if server, err = sink.ParseServer(server); err != nil {
			return cli.Usage(err, "give it with --server")
		}
		key, err := askCloudKey("write key of channel "+strconv.FormatInt(remote, 10)+" at "+server, true)
		if err != nil {
			return err
		}
		var out map[string]any
		if err := stepUp(ctx, c, s, http.MethodPut, path,
			map[string]any{"server": server, "remote_channel": remote, "write_key": key, "mode": mode}, &out); err != nil {
			return err
		}
		if s.json {
			return json.NewEncoder(os.Stdout).Encode(out)
		}
		if mode == channel.SinkPlain {
			fmt.Fprintln(os.Stderr, "nothing goes out until another person has approved (`vitalseal thingspeak approve`) and, for a patient's channel, the patient has agreed")
		}
		return nil
	})
	c.Long = c.Short + `.

Sealed, the cloud gets envelopes that only this hub opens, for users who may see the channel. In plain, it gets the values: another
person must approve, and a patient must agree. The cloud's write key is taken from $` + cloudKeyEnv + ` or asked for; the hub seals it and
never shows it.`
	c.Flags().StringVar(&server, "server", "https://api.thingspeak.com", "the cloud's address, as the egress leads to it")
	c.Flags().Int64Var(&remote, "remote", 0, "number of the channel there (required)")
	c.Flags().StringVar(&mode, "mode", channel.SinkSealed, "sealed or plain")
	_ = c.MarkFlagRequired("remote")
	return c
}

// stepUp sends a dangerous act. Signing in was the proof that it needs; a long prompt may have outlived it.
func stepUp(ctx context.Context, c *client.Client, s session, method, path string, in, out any) error {
	err := c.Do(ctx, method, path, in, out)
	if !errors.Is(err, client.ErrStepUp) {
		return err
	}
	password, perr := askPassword(s.login)
	if perr != nil {
		return perr
	}
	if err := c.StepUp(ctx, client.Proof{Password: password}); err != nil {
		return err
	}
	return c.Do(ctx, method, path, in, out)
}

// askCloudKey takes the key from the environment, or asks at a terminal.
func askCloudKey(what string, must bool) (string, error) {
	key := os.Getenv(cloudKeyEnv)
	fd := int(os.Stdin.Fd()) // #nosec G115 -- a descriptor fits
	if key != "" || !must && !term.IsTerminal(fd) {
		return key, nil
	}
	if !term.IsTerminal(fd) {
		return "", cli.Usage(errors.New("no "+what), "set $"+cloudKeyEnv+", or run this at a terminal")
	}
	fmt.Fprintf(os.Stderr, "%s: ", what)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(os.Stderr)
	return strings.TrimSpace(string(b)), err
}

func approveChannel() *cobra.Command {
	var requested string
	c := adminCommand("approve CHANNEL", "Approve that a channel goes out in plain text, as another person than the one who asked", 1,
		func(ctx context.Context, c *client.Client, s session, a []string) error {
			path, err := channelPath(a[0], "/approve")
			if err != nil {
				return err
			}
			at, err := time.Parse(time.RFC3339Nano, requested)
			if err != nil {
				return cli.Usage(fmt.Errorf("--requested %q is no time", requested), "copy it from `vitalseal thingspeak forwarded`: it names the very request that you approve")
			}
			return stepUp(ctx, c, s, http.MethodPost, path, map[string]any{"requested": at}, nil)
		})
	c.Flags().StringVar(&requested, "requested", "", "when it was asked for, as `vitalseal thingspeak forwarded` shows it (required)")
	_ = c.MarkFlagRequired("requested")
	return c
}

func stopChannel() *cobra.Command {
	return adminCommand("stop CHANNEL", "End a channel's forwarding; what is in the cloud stays there, and sealed stays openable", 1,
		func(ctx context.Context, c *client.Client, s session, a []string) error {
			path, err := channelPath(a[0], "")
			if err != nil {
				return err
			}
			return stepUp(ctx, c, s, http.MethodDelete, path, nil, nil)
		})
}

func consentChannel() *cobra.Command {
	withdraw := false
	c := adminCommand("consent PATIENT", "As the patient: agree to your values going to a cloud in plain text, or no longer", 1,
		func(ctx context.Context, c *client.Client, s session, a []string) error {
			method := http.MethodPut
			if withdraw {
				method = http.MethodDelete
			}
			return stepUp(ctx, c, s, method, "/api/cloud/patients/"+url.PathEscape(a[0])+"/consent", nil, nil)
		})
	c.Flags().BoolVar(&withdraw, "withdraw", false, "take it back, from now on")
	return c
}

// opener is what `thingspeak open` works with.
type opener struct {
	channel, server, caFile, file string
	remote                        int64
	results                       int
}

func openChannel() *cobra.Command {
	var o opener
	c := adminCommand("open", "Fetch a channel from the cloud and open its envelopes, if you may see the channel", 0,
		func(ctx context.Context, c *client.Client, s session, _ []string) error { return o.run(ctx, c, s) })
	c.Long = c.Short + `.

The channel's feed is fetched from the cloud by this machine, or read from an export (--file). The hub opens the envelopes for the
person who signs in, if the policies let them see the channel, and writes that down. The cloud's read key, if the channel there is
private, is taken from $` + cloudKeyEnv + `.`
	c.Flags().StringVar(&o.channel, "channel", "", "number of the channel at the hub (required)")
	c.Flags().StringVar(&o.server, "server", "", "the cloud's address (default: where the hub forwards the channel to)")
	c.Flags().Int64Var(&o.remote, "remote", 0, "number of the channel there (default: likewise)")
	c.Flags().IntVar(&o.results, "results", 100, "how many of the newest entries, at most 8000")
	c.Flags().StringVar(&o.file, "file", "", "a CSV or JSON export of the channel, instead of fetching it")
	c.Flags().StringVar(&o.caFile, "ca", "", "`file` with the cloud's certificate authorities (default: the system's)")
	_ = c.MarkFlagRequired("channel")
	return c
}

// fetched is one entry of the cloud that holds an envelope.
type fetched struct {
	created  time.Time
	envelope string
}

func (o *opener) run(ctx context.Context, c *client.Client, s session) error {
	path, err := channelPath(o.channel, "")
	if err != nil {
		return err
	}
	if o.results < 1 || o.results > 8000 {
		return cli.Usage(fmt.Errorf("--results %d is not within 1 to 8000", o.results), "fetch more in several exports, with --file")
	}
	if o.file == "" && (o.server == "" || o.remote == 0) {
		var source struct {
			Server string `json:"server"`
			Remote int64  `json:"remote_channel"`
		}
		if err := c.Do(ctx, http.MethodGet, path, nil, &source); err != nil {
			return err
		}
		if o.server == "" {
			o.server = source.Server
		}
		if o.remote == 0 {
			o.remote = source.Remote
		}
	}
	entries, others, err := o.fetch(ctx)
	if err != nil {
		return err
	}
	var shown, closed int
	show := showOpened(s.json)
	for len(entries) > 0 {
		part := entries[:min(len(entries), sink.MaxOpen)]
		entries = entries[len(part):]
		in := struct {
			Envelopes []string `json:"envelopes"`
		}{}
		for _, e := range part {
			in.Envelopes = append(in.Envelopes, e.envelope)
		}
		var out sink.OpenAnswer
		if err := c.Do(ctx, http.MethodPost, path+"/open", in, &out); err != nil {
			return err
		}
		for i, records := range out.Envelopes {
			if len(records) == 0 {
				closed++
				continue
			}
			// The time inside is the hub's; the one outside the cloud may have changed.
			moved := i < len(part) && !part[i].created.Equal(records[0].At)
			for _, r := range records {
				shown++
				if err := show(r, moved); err != nil {
					return err
				}
			}
		}
	}
	fmt.Fprintf(os.Stderr, "%d readings opened; %d envelopes are not this channel's or were changed; %d entries are no envelopes\n", shown, closed, others)
	return nil
}

func showOpened(asJSON bool) func(sink.Opened, bool) error {
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		return func(r sink.Opened, moved bool) error {
			return e.Encode(struct {
				sink.Opened
				Moved bool `json:"moved_by_cloud,omitempty"`
			}{r, moved})
		}
	}
	return func(r sink.Opened, moved bool) error {
		t := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
		fmt.Fprint(t, r.At.Format(time.RFC3339))
		for _, v := range r.Values {
			text := v.Quality
			if v.Value != nil {
				text = strconv.FormatFloat(*v.Value, 'f', -1, 64) + " " + v.Unit
				if v.Quality != "good" {
					text += " (" + v.Quality + ")"
				}
			}
			fmt.Fprintf(t, "\t%s %s", v.Kind, text)
		}
		for i := range 8 {
			if f := r.Fields["field"+strconv.Itoa(i+1)]; f != nil {
				fmt.Fprintf(t, "\tfield%d %s", i+1, strconv.FormatFloat(*f, 'f', -1, 64))
			}
		}
		if moved {
			fmt.Fprint(t, "\t(the cloud shows it at another time)")
		}
		fmt.Fprintln(t)
		return t.Flush()
	}
}

// fetch is a channel's entries that look like envelopes, and how many do not.
func (o *opener) fetch(ctx context.Context) (entries []fetched, others int, err error) {
	each := func(_ int, e channel.Entry) error {
		if f := e.Fields[0]; f != nil && len(*f) == sink.EnvelopeChars {
			entries = append(entries, fetched{e.Created, *f})
		} else {
			others++
		}
		return nil
	}
	if o.file != "" {
		err := readExport(o.file, each)
		return entries, others, err
	}
	server, err := sink.ParseServer(o.server)
	if err != nil {
		return nil, 0, cli.Usage(err, "give it with --server")
	}
	var roots []byte
	if o.caFile != "" {
		if roots, err = os.ReadFile(o.caFile); err != nil {
			return nil, 0, cli.Usage(err, "name a PEM file with --ca")
		}
	}
	key, err := askCloudKey("read key", false)
	if err != nil {
		return nil, 0, err
	}
	body, err := sink.Fetch(ctx, server, o.remote, key, o.results, roots)
	if err != nil {
		return nil, 0, cli.Hinted(err, "a private channel needs its read key in $"+cloudKeyEnv)
	}
	defer body.Close()
	if err := sink.ReadJSON(body, each); err != nil {
		return nil, 0, fmt.Errorf("the cloud's answer: %w", err)
	}
	return entries, others, nil
}

// readExport reads a file by its name's end, or what it begins with.
func readExport(name string, each func(int, channel.Entry) error) error {
	f, err := os.Open(name) // #nosec G304 -- the user names the file
	if err != nil {
		return cli.Usage(err, "name a channel's CSV or JSON export")
	}
	defer f.Close()
	read := sink.ReadCSV
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		read = sink.ReadJSON
	case ".csv":
	default:
		var first [1]byte
		if _, err := io.ReadFull(f, first[:]); err == nil && (first[0] == '{' || first[0] == '[') {
			read = sink.ReadJSON
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if err := read(f, each); err != nil {
		return cli.Hinted(fmt.Errorf("%s: %w", name, err), "an export is made with https://api.thingspeak.com/channels/ID/feeds.csv?results=8000")
	}
	return nil
}

func importChannel() *cobra.Command {
	var channelID string
	c := adminCommand("import FILE", "Take a channel's CSV or JSON export into a free channel", 1,
		func(ctx context.Context, c *client.Client, s session, a []string) error {
			path, err := channelPath(channelID, "/import")
			if err != nil {
				return err
			}
			im := importer{client: c, path: path, name: a[0]}
			// Read once without sending: a file with a mistake changes nothing.
			if err := readExport(a[0], func(int, channel.Entry) error { im.total++; return nil }); err != nil {
				return err
			}
			seconds := sink.Seconds{}
			err = readExport(a[0], func(line int, e channel.Entry) error {
				if sink.Empty(e) {
					im.empty++
					return nil
				}
				return im.take(ctx, line, seconds.Apart(e))
			})
			if err == nil {
				err = im.flush(ctx)
			}
			im.progress(true)
			if err != nil {
				return err
			}
			return im.say(os.Stdout, os.Stderr, s.json)
		})
	c.Long = c.Short + `.

The file is checked whole before anything is sent; an error names its line. Rows without any value are left
out and counted. Rows whose time is more than 5 minutes ahead of the hub's clock are refused: each is named with its line, and
the exit code is 1. Entries of one second come in as that, each a microsecond after the one before. Importing a file again, or going on
after an interruption, adds only what is missing. A time at which the channel has another entry is an error.`
	c.Flags().StringVar(&channelID, "channel", "", "number of the free channel at the hub (required)")
	_ = c.MarkFlagRequired("channel")
	return c
}

// maxImportBytes bounds the texts in one request; a body may have 512 KiB.
const maxImportBytes = 128 << 10

// importer sends entries in parts.
type importer struct {
	client             *client.Client
	path, name         string
	part               []sink.ImportEntry
	lines              []int
	bytes              int
	total, done, added int
	empty              int // rows without any value
	refused            []refusedRow
	shown              time.Time
}

// refusedRow is a row that the hub did not take.
type refusedRow struct {
	Line    int       `json:"line"` // of the file
	Created time.Time `json:"created_at"`
	Reason  string    `json:"reason"`
}

// maxRefusedRows is how many refused rows are named to people; JSON has all.
const maxRefusedRows = 20

// say tells what became of the file. Rows that were refused are an error, after the rest has been said.
func (im *importer) say(out, errs io.Writer, asJSON bool) error {
	if asJSON {
		o := struct {
			Added   int          `json:"added"`
			Empty   int          `json:"empty"`
			Entries int          `json:"entries"`
			Refused []refusedRow `json:"refused,omitempty"`
		}{im.added, im.empty, im.done, im.refused}
		if err := json.NewEncoder(out).Encode(o); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "%d entries, %d of them new\n", im.done, im.added)
		if im.empty > 0 {
			fmt.Fprintf(out, "%d rows without any value left out\n", im.empty)
		}
		for i, r := range im.refused {
			if i == maxRefusedRows {
				fmt.Fprintf(errs, "and %d more; --json names all\n", len(im.refused)-i)
				break
			}
			fmt.Fprintf(errs, "%s: line %d: refused: %s (%s)\n", im.name, r.Line, r.Reason, r.Created.UTC().Format(time.RFC3339))
		}
	}
	if n := len(im.refused); n > 0 {
		return cli.Hinted(fmt.Errorf("%s: %d rows refused", im.name, n), "correct their times and import the file again: only what is missing is added")
	}
	return nil
}

func (im *importer) take(ctx context.Context, line int, e channel.Entry) error {
	size := len(e.Status) + len(e.Latitude) + len(e.Longitude) + len(e.Elevation)
	for _, f := range e.Fields {
		if f != nil {
			size += len(*f)
		}
	}
	if len(im.part) == sink.MaxImport || len(im.part) > 0 && im.bytes+size > maxImportBytes {
		if err := im.flush(ctx); err != nil {
			return err
		}
	}
	im.bytes += size
	im.lines = append(im.lines, line)
	im.part = append(im.part, sink.ImportEntry{Created: e.Created, Fields: e.Fields, Status: e.Status, Latitude: e.Latitude, Longitude: e.Longitude, Elevation: e.Elevation})
	return nil
}

func (im *importer) flush(ctx context.Context) error {
	part, lines := im.part, im.lines
	im.part, im.lines, im.bytes = nil, nil, 0
	err := im.send(ctx, part, lines)
	im.progress(false)
	return err
}

// send has the hub take in a part, all of it or, where an entry is in the way, all before that.
func (im *importer) send(ctx context.Context, part []sink.ImportEntry, lines []int) error {
	if len(part) == 0 {
		return nil
	}
	var out sink.ImportAnswer
	err := im.client.Do(ctx, http.MethodPost, im.path, map[string]any{"entries": part}, &out)
	for pause := time.Second; isStatus(err, http.StatusTooManyRequests) && pause < time.Minute; pause *= 2 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		err = im.client.Do(ctx, http.MethodPost, im.path, map[string]any{"entries": part}, &out)
	}
	switch {
	case err == nil:
		im.done += len(part) - len(out.Refused)
		im.added += out.Added
		for _, r := range out.Refused {
			if r.Number < 1 || r.Number > len(part) {
				return fmt.Errorf("the hub refuses entry %d of %d", r.Number, len(part))
			}
			im.refused = append(im.refused, refusedRow{lines[r.Number-1], part[r.Number-1].Created, r.Reason})
		}
		return nil
	case !isStatus(err, http.StatusConflict):
		return fmt.Errorf("%s: lines %d to %d: %w", im.name, lines[0], lines[len(lines)-1], err)
	case len(part) == 1:
		return cli.Hinted(fmt.Errorf("%s: line %d: the channel has another entry of that time, %s", im.name, lines[0], part[0].Created.Format(time.RFC3339)),
			"what stands before this line is imported; take the line out, or import into another channel")

	}
	half := len(part) / 2
	if err := im.send(ctx, part[:half], lines[:half]); err != nil {
		return err
	}
	return im.send(ctx, part[half:], lines[half:])
}

func isStatus(err error, status int) bool {
	var s *client.StatusError
	return errors.As(err, &s) && s.Status == status
}

// progress tells a person at a terminal how far it is.
func (im *importer) progress(last bool) {
	if !term.IsTerminal(int(os.Stderr.Fd())) || !last && time.Since(im.shown) < time.Second { // #nosec G115 -- a descriptor fits
		return
	}
	im.shown = time.Now()
	fmt.Fprintf(os.Stderr, "\r%d of %d entries", im.done, im.total)
	if last {
		fmt.Fprintln(os.Stderr)
	}
}
