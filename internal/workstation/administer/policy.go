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
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// Policy answers what the rules say, mostly without a hub.
func Policy() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "What the rules say: check, test, explain and tabulate them", GroupID: "admin",
		Long: `Policies are Cedar text: who may do what, on whom, from where. The built-in ones are printed by "vitalseal policy show";
a hub takes a file of your own with "policies:" in its configuration. doc/policy.md explains them.`}
	cli.OnlyGroup(c)
	c.AddCommand(showPolicy(), checkPolicy(), testPolicy(), matrixPolicy(), explainPolicy())
	return c
}

func showPolicy() *cobra.Command {
	return &cobra.Command{Use: "show", Short: "Print the built-in policies, to read or to start from", Args: cli.ExactArgs(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Print(access.DefaultPolicies())
			return err
		}}
}

func checkPolicy() *cobra.Command {
	return &cobra.Command{Use: "check FILE", Short: "Check a policy file as a hub does when it starts",
		Example: "  vitalseal policy check /etc/vitalseal/policies.cedar", Args: cli.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := readPolicyFile(args[0])
			if err != nil {
				return err
			}
			if err := access.CheckPolicies(args[0], text); err != nil {
				return cli.Hinted(err, "`vitalseal policy show` prints policies that are right")
			}
			fmt.Println("good")
			return nil
		}}
}

// readPolicyFile is nil, for the built-in policies, without a name.
func readPolicyFile(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name) // #nosec G304 -- the user names the file
	if err != nil {
		return nil, cli.Usage(err, "name a policy file")
	}
	return b, nil
}

func readTable(name string) (*access.Scenario, error) {
	f, err := os.Open(name) // #nosec G304 -- the user names the file
	if err != nil {
		return nil, cli.Usage(err, "name a table file; doc/policy.md shows one")
	}
	defer f.Close()
	w, err := access.ReadScenario(f)
	if err != nil {
		return nil, cli.Hinted(fmt.Errorf("%s: %w", name, err), "doc/policy.md explains the lines of a table")
	}
	return w, nil
}

// outcomeOut is one expectation and what came of it, for programs.
type outcomeOut struct {
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Expected string   `json:"expected"`
	Got      string   `json:"got"`
	Rules    []string `json:"rules"`
	OK       bool     `json:"ok"`
}

func testPolicy() *cobra.Command {
	var policies string
	var asJSON bool
	c := &cobra.Command{Use: "test TABLE...", Short: "Hold the policies against tables of who may and may not",
		Long: `Test reads tables in plain words, such as

  patient anna on ward-1
  person  nina nurse wards ward-1
  allow   nina patient:view patient:anna
  refuse  nina people:manage system

and says which lines the policies do not meet, and which rule is behind it. It needs no hub.`,
		Example: "  vitalseal policy test ward.table\n  vitalseal policy test --policies own.cedar ward.table night.table",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := readPolicyFile(policies)
			if err != nil {
				return err
			}
			out, failed := []outcomeOut{}, 0
			for _, name := range args {
				w, err := readTable(name)
				if err != nil {
					return err
				}
				got, err := access.TestPolicies(c.Context(), policies, text, w)
				if err != nil {
					return err
				}
				for _, o := range got {
					out = append(out, outcomeOut{name, o.Line, o.String(), o.Got, append([]string{}, o.Explanation.Deciding...), o.OK})
					if o.OK {
						continue
					}
					failed++
					if !asJSON {
						fmt.Printf("%s:%d: %s\n\tthe policies say %s%s\n", name, o.Line, o, o.Got, decidedBy(o.Explanation))
					}
				}
			}
			if asJSON {
				if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
					return err
				}
			} else {
				fmt.Printf("%d of %d lines are met\n", len(out)-failed, len(out))
			}
			if failed > 0 {
				return cli.Hinted(fmt.Errorf("%d of %d expectations are not met", failed, len(out)),
					"`vitalseal policy explain --table FILE --who ... --what ... --on ...` says what each rule thinks of one")

			}
			return nil
		}}
	c.Flags().StringVar(&policies, "policies", "", "policy `file` (default: the built-in policies)")
	c.Flags().BoolVar(&asJSON, "json", false, "print every line's outcome as JSON")
	return c
}

func decidedBy(x access.Explanation) string {
	switch {
	case len(x.Deciding) > 0:
		return ", by " + strings.Join(x.Deciding, ", ")
	case x.Reason != "":
		return ": " + x.Reason
	}
	return ""
}

func matrixPolicy() *cobra.Command {
	var policies string
	var asJSON, markdown bool
	c := &cobra.Command{Use: "matrix", Short: "Tabulate roles, things and actions",
		Long: `Matrix asks the policies what each role may do with patients, wards and channels of every relationship, and with the
system: for people who have just signed in at an enrolled workstation. It needs no hub.`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := readPolicyFile(policies)
			if err != nil {
				return err
			}
			rows, err := access.Matrix(c.Context(), policies, text)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(matrixJSON(rows))
			}
			return printMatrix(os.Stdout, rows, markdown)
		}}
	c.Flags().StringVar(&policies, "policies", "", "policy `file` (default: the built-in policies)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&markdown, "markdown", false, "print a Markdown table")
	c.MarkFlagsMutuallyExclusive("json", "markdown")
	return c
}

func matrixJSON(rows []access.MatrixRow) []map[string]any {
	out := []map[string]any{}
	for _, r := range rows {
		cells := map[string]any{}
		for i, role := range access.Roles() {
			cells[string(role)] = map[string]any{"answer": r.Cells[i].Got, "rules": append([]string{}, r.Cells[i].Rules...)}
		}
		out = append(out, map[string]any{"action": r.Action, "thing": r.Thing, "roles": cells})
	}
	return out
}

// printMatrix writes "yes", "no" and "proof" (a fresh proof of identity is asked for).
func printMatrix(w io.Writer, rows []access.MatrixRow, markdown bool) error {
	head := []string{"action", "thing"}
	for _, r := range access.Roles() {
		head = append(head, string(r))
	}
	lines := [][]string{head}
	words := map[string]string{"allow": "yes", "refuse": "-", "step-up": "proof"}
	for _, r := range rows {
		line := []string{string(r.Action), r.Thing}
		for _, c := range r.Cells {
			line = append(line, words[c.Got])
		}
		lines = append(lines, line)
	}
	if markdown {
		for i, l := range lines {
			fmt.Fprintln(w, "| "+strings.Join(l, " | ")+" |")
			if i == 0 {
				fmt.Fprintln(w, strings.Repeat("|---", len(l))+"|")
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, l := range lines {
		fmt.Fprintln(t, strings.Join(l, "\t"))
	}
	return t.Flush()
}

// explanationOut is an explanation, as the hub answers it and as --json prints it.
type explanationOut struct {
	Allowed  bool      `json:"allowed"`
	StepUp   bool      `json:"step_up"`
	Reason   string    `json:"reason"`
	Deciding []string  `json:"deciding"`
	Rules    []ruleOut `json:"rules"`
}

type ruleOut struct {
	ID     string `json:"id"`
	Line   int    `json:"line"`
	Forbid bool   `json:"forbid"`
	Holds  bool   `json:"holds"`
	Failed string `json:"failed"`
}

func explainPolicy() *cobra.Command {
	var who, what, on, table, policies, with string
	do := func(ctx context.Context, c *client.Client, s session, _ []string) error {
		var x explanationOut
		q := url.Values{"who": {who}, "what": {what}, "on": {on}}
		if err := c.Do(ctx, http.MethodGet, "/api/admin/explain?"+q.Encode(), nil, &x); err != nil {
			return err
		}
		return printExplanation(x, s.json)
	}
	c := adminCommand("explain --who LOGIN --what ACTION --on THING", "Say which rule decides, and why each other one does not", 0, do)
	online := c.RunE
	c.Long = `Explain asks the hub, as a signed-in administrator or auditor, what the policies say to a person now: with the relationships
that the directory has. With --table it needs no hub and asks about a table's hospital instead.`
	c.Example = `  vitalseal policy explain --who nina --what patient:view --on patient:p-abcdefgh
  vitalseal policy explain --table ward.table --who nina --what patient:view --on patient:carl --with broken-glass`
	c.RunE = func(c *cobra.Command, args []string) error {
		if table == "" {
			if with != "" || policies != "" {
				return cli.Usage(errors.New("--with and --policies go with --table"), "a hub answers for its own policies, and for now")
			}
			return online(c, args)
		}
		text, err := readPolicyFile(policies)
		if err != nil {
			return err
		}
		w, err := readTable(table)
		if err != nil {
			return err
		}
		question := who + " " + what + " " + on
		if with != "" {
			question += " with " + with
		}
		x, err := access.ExplainIn(c.Context(), policies, text, w, question)
		if err != nil {
			return cli.Usage(err, "doc/policy.md has the words")
		}
		asJSON, err := c.Flags().GetBool("json")
		if err != nil {
			return err
		}
		out := explanationOut{Allowed: x.Allowed, StepUp: x.StepUp, Reason: x.Reason, Deciding: append([]string{}, x.Deciding...)}
		for _, r := range x.Rules {
			out.Rules = append(out.Rules, ruleOut{r.ID, r.Line, r.Forbid, r.Holds, r.Failed})
		}
		return printExplanation(out, asJSON)
	}
	c.Flags().StringVar(&who, "who", "", "login or id of a person; in a table, a name (required)")
	c.Flags().StringVar(&what, "what", "", "action, such as patient:view (required)")
	c.Flags().StringVar(&on, "on", "", "patient:ID, ward:ID, channel:NUMBER or system (required)")
	c.Flags().StringVar(&table, "table", "", "ask about the hospital in this table `file` instead of the hub")
	c.Flags().StringVar(&with, "with", "", "circumstances, with --table: second-factor,proven=10m,broken-glass,...")
	c.Flags().StringVar(&policies, "policies", "", "policy `file`, with --table (default: the built-in policies)")
	for _, f := range []string{"who", "what", "on"} {
		_ = c.MarkFlagRequired(f)
	}
	return c
}

func printExplanation(x explanationOut, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(x)
	}
	answer := "refused"
	switch {
	case x.Allowed:
		answer = "allowed"
	case x.StepUp:
		answer = "allowed after a fresh proof of identity"
	}
	if len(x.Deciding) > 0 {
		answer += " by " + strings.Join(x.Deciding, ", ")
	}
	if !x.Allowed && x.Reason != "" {
		answer += " (" + x.Reason + ")"
	}
	fmt.Println(answer)
	t := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	for _, r := range x.Rules {
		effect, says := "permit", "holds"
		if r.Forbid {
			effect = "forbid"
		}
		if !r.Holds {
			says = "does not hold: " + r.Failed
		}
		fmt.Fprintf(t, "  line %d\t%s\t%s\t%s\n", r.Line, effect, r.ID, says)
	}
	return t.Flush()
}
