package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/administer"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "The log of who did what, and why it was allowed or refused", GroupID: "admin"}
	cli.OnlyGroup(c)
	c.AddCommand(auditVerify(), auditExport(), auditProve(), auditCheck())
	return c
}

const evidence = "keep the folder as it is; it is evidence"

// notWhole says what audit.ErrTampered about the log in dir means to who may have named another folder or key than the log's.
func notWhole(dir string, err error) error {
	switch {
	case errors.Is(err, audit.ErrOtherKey):
		return cli.Hinted(fmt.Errorf("%s: the log is %w", dir, audit.ErrOtherKey),
			"is it this deployment's audit.pub? If it is, the log was replaced: "+evidence)

	case !audit.Holds(dir) && !emptied(dir):
		return noLog(dir)
	}
	return cli.Hinted(err, evidence)
}

// noLog names the folder that holds the log, where it lies below the one that was given.
func noLog(dir string) error {
	hint := "the hub's data folder holds it as \"audit\""
	if below := filepath.Join(dir, "audit"); audit.Holds(below) {
		hint = "give " + below
	}
	return cli.Usage(fmt.Errorf("%s: this folder holds no audit log", dir), hint)
}

// emptied reports whether dir is where a hub keeps its log, beside the log's public key: an empty one has lost it.
func emptied(dir string) bool {
	full, err := filepath.Abs(dir)
	if err != nil || filepath.Base(full) != "audit" {
		return false
	}
	_, err = os.Stat(filepath.Join(filepath.Dir(full), "audit.pub"))
	return err == nil
}

func auditVerify() *cobra.Command {
	var key string
	var witnesses []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify DIR",
		Short: "Prove offline that an audit log is whole",
		Long: `Verify reads the audit log in DIR (the hub's data folder holds it as "audit") and proves with the log's public key that
no entry was changed, dropped, added or moved. It needs nothing else, neither the hub nor its private key.

The holder of the hub's disk and its signing key could write another log and sign that. Gateways and workstations remember
what they have seen (witness.note in their data folders): --witness proves that the log continues it. A file of evidence (witness.note.conflict)
is judged together with the witness.note beside it: where the log continues both, they do not contradict each other.`,
		Example: `  vitalseal audit verify --key-file audit.pub /var/lib/vitalseal/hub/audit
  vitalseal audit verify --key-file audit.pub --witness witness.note /var/lib/vitalseal/hub/audit`,
		Args: cli.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			public, err := readAuditKey(key)
			if err != nil {
				return err
			}
			var seen []audit.Checkpoint
			files, conflicts := withNotes(witnesses)
			for _, file := range files {
				theirs, c, err := audit.ReadWitness(file)
				if errors.Is(err, os.ErrNotExist) {
					return cli.Usage(err, "gateways and workstations keep witness.note in their data folders")
				}
				if err != nil {
					return err
				}
				if theirs != public {
					return cli.Hinted(fmt.Errorf("%s: it remembers a log %w", file, audit.ErrOtherKey), "one of the two keys is not the log's; compare them with a copy of your own")
				}
				seen = append(seen, c)
			}
			s, err := audit.Verify(args[0], public, seen...)
			if errors.Is(err, audit.ErrTampered) {
				return notWhole(args[0], err)
			}
			if errors.Is(err, audit.ErrUnsigned) {
				return cli.Hinted(err, "the hub was killed and signs them at its next start")
			}
			if err != nil {
				return err
			}
			if asJSON {
				out := struct {
					audit.Summary
					First *time.Time `json:"first"`
					Last  *time.Time `json:"last"`
					// Agreeing are the files of evidence that contradict nothing: log and witness continue both.
					Agreeing []string `json:"agreeing_conflicts,omitempty"`
				}{Summary: s, Agreeing: conflicts}
				if s.Entries > 0 {
					out.First, out.Last = &s.First, &s.Last
				}
				return json.NewEncoder(os.Stdout).Encode(out)
			}
			fmt.Printf("whole\n  entries    %d, %d refusals among them\n", s.Entries, s.Refused)
			if s.Undecided > 0 {
				fmt.Printf("  undecided  %d: the hub could not decide them; they are no refusals\n", s.Undecided)
			}
			if s.Entries > 0 {
				fmt.Printf("  first      %s\n  last       %s\n", s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339))
			}
			fmt.Printf("  signed     the first %d, root %s\n  key        %s+%s\n", s.Signed, s.Root, s.KeyName, s.KeyHash)
			if s.Witnesses > 0 {
				fmt.Printf("  witnesses  %d agree\n", s.Witnesses)
			} else {
				fmt.Println("  witnesses  none given (--witness)")
			}
			for _, file := range conflicts {
				fmt.Printf("  evidence   %s contradicts nothing: this log continues it and the witness's note beside it (doc/formats/audit.md, \"Judging evidence\")\n", file)
			}
			return nil
		},
	}
	keyFlag(c, &key, true)
	c.Flags().StringArrayVar(&witnesses, "witness", nil, "`file` of a witness, whose checkpoint the log must continue; may be given several times")
	c.Flags().BoolVar(&asJSON, "json", false, "print what was found as one JSON object")
	return c
}

// conflictSuffix ends the name of what a witness keeps as evidence against a log, beside its own file.
const conflictSuffix = ".conflict"

// withNotes adds to witnesses' files the note beside each file of evidence: only the two together are a contradiction.
func withNotes(witnesses []string) (files, conflicts []string) {
	for _, file := range witnesses {
		if note, ok := strings.CutSuffix(file, conflictSuffix); ok {
			conflicts = append(conflicts, file)
			if !slices.Contains(witnesses, note) && !slices.Contains(files, note) {
				files = append(files, note)
			}
		}
		files = append(files, file)
	}
	return files, conflicts
}

func keyFlag(c *cobra.Command, key *string, required bool) {
	if required {
		c.Flags().StringVar(key, "key-file", "", "file with the log's public key (required)")
		_ = c.MarkFlagRequired("key-file")
		return
	}
	c.Flags().StringVar(key, "key-file", "", "file with the log's public key: proves the log whole first")
}

func readAuditKey(file string) (string, error) {
	b, err := os.ReadFile(file) // #nosec G304 -- the auditor names the file
	if err != nil {
		return "", cli.Usage(err, "the hub writes the public key to audit.pub in its data folder; keep a copy of your own")
	}
	return strings.TrimSpace(string(b)), nil
}

func auditExport() *cobra.Command {
	var key, from, to string
	var text, asJSON bool
	var f audit.Filter
	var login administer.Login
	c := &cobra.Command{
		Use:   "export DIR",
		Short: "Print the entries of an audit log, as JSON lines or for people",
		Long: `Export prints the entries of the audit log in DIR in their order, each exactly as it stands in the log: one JSON object a
line (doc/formats/audit.md). With --text it prints columns for people. With --key-file it proves the log whole first; without,
it only notices what is unreadable or missing.

The log holds ids and no names. With --text --login it asks the hub what they mean, through a workstation's "vitalseal connect" address, as
the person who signs in, and writes names beside the ids: to an auditor those of persons, wards and beds, and of patients the bed where they
lie now; to an administrator the patients' names too. A patient who was forgotten is "forgotten". The names are those of now.`,
		Example: `  vitalseal audit export --patient p-3f2a --from 2026-03-01 /var/lib/vitalseal/hub/audit
  vitalseal audit export --text --from 2026-03-01T08:00:00Z --to 2026-03-01T09:00:00Z /var/lib/vitalseal/hub/audit
  vitalseal audit export --text --login auditor /var/lib/vitalseal/hub/audit`,
		Args: cli.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if f.From, err = parseTime("from", from); err != nil {
				return err
			}
			if f.To, err = parseTime("to", to); err != nil {
				return err
			}
			if err := f.Check(); err != nil {
				return cli.Usage(err, "an entry says allowed, refused or undecided; --to is after --from")
			}
			if key != "" {
				public, err := readAuditKey(key)
				if err != nil {
					return err
				}
				if _, err := audit.Verify(args[0], public); errors.Is(err, audit.ErrTampered) {
					return notWhole(args[0], err)
				} else if err != nil && !errors.Is(err, audit.ErrUnsigned) {
					return err
				}
			}
			if !audit.Holds(args[0]) {
				return noLog(args[0])
			}
			names, err := exportNames(c, &login, text)
			if err != nil {
				return err
			}
			w, entries, found := bufio.NewWriter(os.Stdout), 0, 0
			known := newAuditTerms(f)
			err = audit.Export(args[0], func(e audit.Entry, line []byte) error {
				known.see(e)
				if entries++; !f.Match(e) {
					return nil
				}
				found++
				if text {
					return printEntry(w, e, names)
				}
				_, err := w.Write(append(line[:len(line):len(line)], '\n'))
				return err
			})
			if err = errors.Join(err, w.Flush()); err == nil && found == 0 {
				fmt.Fprintf(c.ErrOrStderr(), "0 of %d entries\n", entries)
				return known.missing()
			}
			return err
		},
	}
	keyFlag(c, &key, false)
	c.Flags().StringVar(&from, "from", "", "first `time`, as 2026-03-01 or 2026-03-01T08:00:00Z")
	c.Flags().StringVar(&to, "to", "", "`time` before which to stop")
	c.Flags().StringVar(&f.Person, "person", "", "only what the person with this `id` did")
	c.Flags().StringVar(&f.Patient, "patient", "", "only what concerns the patient with this `id`")
	c.Flags().StringVar(&f.Action, "action", "", "only this `action`, such as patient:view")
	c.Flags().StringVar(&f.Answer, "answer", "", "only what was `allowed`, refused or undecided")
	c.Flags().BoolVar(&text, "text", false, "columns for people")
	c.Flags().BoolVar(&asJSON, "json", false, "JSON lines, which is the default")
	login.Flags(c, "who asks the hub for names, with --text")
	c.MarkFlagsMutuallyExclusive("text", "json")
	return c
}

// parseTime reads a day or a time, as UTC unless it says otherwise.
func parseTime(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, cli.Usage(fmt.Errorf("--%s %q: not a time", flag, s), "write 2026-03-01 or 2026-03-01T08:00:00Z")
}

// printEntry writes an entry for people, with what its ids mean beside them, as far as names knows. What
// its texts hold cannot lead a terminal astray: they are quoted as in Go.
func printEntry(w io.Writer, e audit.Entry, names *auditNames) error {
	safe := func(s string) string {
		if s == "" {
			return "-"
		}
		q := fmt.Sprintf("%+q", s)
		return q[1 : len(q)-1]
	}
	word := "refused"
	switch {
	case e.Allowed:
		word = "allowed"
	case e.Undecided():
		word = "not decided"
	}
	if e.Count > 1 {
		word += fmt.Sprintf(" %d times", e.Count)
	}
	// An entry about several patients has their number for a resource ("patient:2 of them") where it is a list, and all their ids apart.
	kind, id, _ := strings.Cut(e.Resource, ":")
	on, whom := safe(e.Resource)+names.beside(kind, id), "patient "+safe(e.Patient)+names.beside(kindPatient, e.Patient)
	if len(e.Patients) > 0 {
		ids := make([]string, len(e.Patients))
		for i, id := range e.Patients {
			ids[i] = safe(id) + names.beside(kindPatient, id)
		}
		if e.Resource == fmt.Sprintf("patient:%d of them", len(e.Patients)) {
			on = fmt.Sprintf("%d patients", len(e.Patients))
		}
		whom = "patients " + strings.Join(ids, ",")
	}
	_, err := fmt.Fprintf(w, "%d  %s  %s  %s %s  at %s  %s on %s  %s  by %s  %s\n", e.Seq, e.Time.Format(time.RFC3339), word,
		safe(e.Role), safe(e.Person)+names.beside(kindPerson, e.Person), safe(e.Workstation), safe(e.Action), on, whom,
		safe(strings.Join(e.Policies, ",")), names.within(safe(e.Reason)))
	return err
}

func auditProve() *cobra.Command {
	var key string
	var entry int64
	c := &cobra.Command{
		Use:   "prove DIR",
		Short: "Print an entry with the proof that it is in the log",
		Long: `Prove prints, as JSON, one entry of the audit log in DIR, the log's signed checkpoint, and the few hashes that lead from the
one to the other. A user with the log's public key can check it ("vitalseal audit check") and sees no other entry.`,
		Example: "  vitalseal audit prove --key-file audit.pub --entry 1204 /var/lib/vitalseal/hub/audit > proof.json",
		Args:    cli.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			public, err := readAuditKey(key)
			if err != nil {
				return err
			}
			p, err := audit.Prove(args[0], public, entry)
			switch {
			case errors.Is(err, audit.ErrTampered):
				return notWhole(args[0], err)
			case errors.Is(err, audit.ErrNoEntry):
				return cli.Usage(err, "`vitalseal audit export` shows the entries with their numbers (seq)")
			case err != nil:
				return err
			}
			return audit.WriteInclusion(os.Stdout, p)
		},
	}
	keyFlag(c, &key, true)
	c.Flags().Int64Var(&entry, "entry", 0, "`number` of the entry, its seq (required)")
	_ = c.MarkFlagRequired("entry")
	return c
}

func auditCheck() *cobra.Command {
	var key string
	c := &cobra.Command{
		Use:     "check FILE",
		Short:   "Check a proof that \"audit prove\" printed, with the log's public key alone",
		Example: "  vitalseal audit check --key-file audit.pub proof.json",
		Args:    cli.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			public, err := readAuditKey(key)
			if err != nil {
				return err
			}
			f, err := os.Open(args[0]) // #nosec G304 -- the auditor names the file
			if err != nil {
				return cli.Usage(err, "give a file that `vitalseal audit prove` printed")
			}
			defer f.Close() // nothing was written
			b, err := io.ReadAll(io.LimitReader(f, 1<<20))
			if err != nil {
				return err
			}
			p, err := audit.ParseInclusion(b)
			if err != nil {
				return cli.Usage(err, "give a file that `vitalseal audit prove` printed")
			}
			e, at, err := p.Verify(public)
			if err != nil {
				return cli.Hinted(err, "the proof, the entry or the key is not genuine")
			}
			fmt.Printf("proven: entry %d of %d\n", e.Seq, at.Size)
			return printEntry(os.Stdout, e, nil)
		},
	}
	keyFlag(c, &key, true)
	return c
}
