package administer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// approval is a request that waits, or waited, for a second person.
type approval struct {
	ID            string   `json:"id"`
	What          []string `json:"what"`
	Requester     string   `json:"requester"`
	RequesterName string   `json:"requester_name"`
	Requested     string   `json:"requested"`
	Expires       string   `json:"expires"`
	Outcome       string   `json:"outcome"`
	DeciderName   string   `json:"decider_name"`
	Note          string   `json:"note"`
}

// waits is the hub's answer to an act that takes two persons.
type waits struct {
	Waiting   approval `json:"waiting"`
	Approvers []string `json:"approvers"`
	FirstHalf string   `json:"password_first_half"`
}

// printable is a text that cannot lead a terminal astray.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// isWait reports whether the hub answered that an act waits for a second person.
func isWait(answer []byte) bool {
	var w waits
	return json.Unmarshal(answer, &w) == nil && w.Waiting.ID != ""
}

// saysWait prints what waits and for whom, if that is what the hub answered.
func saysWait(answer []byte) (waiting bool) {
	var w waits
	if json.Unmarshal(answer, &w) != nil || w.Waiting.ID == "" {
		return false
	}
	fmt.Printf("waiting: %s\n", w.Waiting.ID)
	if w.FirstHalf != "" {
		fmt.Printf("password_first_half: %s\n", w.FirstHalf)
	}
	fmt.Fprintf(os.Stderr, "NOTHING HAS CHANGED YET: it takes a second person, until %s.\n", w.Waiting.Expires)
	for _, x := range w.Waiting.What {
		fmt.Fprintf(os.Stderr, "  %s\n", printable(x))
	}
	if len(w.Approvers) == 0 {
		fmt.Fprintln(os.Stderr, "no person could approve it now; see `vitalseal approval state`")
	} else {
		fmt.Fprintf(os.Stderr, "one of these approves it on their page of approvals, or with `vitalseal approval approve %s --login LOGIN`: %s\n", w.Waiting.ID, strings.Join(w.Approvers, ", "))
	}
	if w.FirstHalf != "" {
		fmt.Fprintln(os.Stderr, "the approver gets the second half of the password; it is FIRST-SECOND, each of you hands over one half")
	}
	return true
}

// approvalCommand is about acts that take two persons.
func approvalCommand() *cobra.Command {
	var all bool
	list := adminCommand("list", "List what waits for approval, with exactly what it will change", 0, func(ctx context.Context, c *client.Client, s session, _ []string) error {
		path := "/api/admin/approvals?waiting=1"
		if all {
			path = "/api/admin/approvals"
		}
		var answer json.RawMessage
		if err := c.Do(ctx, http.MethodGet, path, nil, &answer); err != nil {
			return err
		}
		if s.json {
			fmt.Println(string(answer))
			return nil
		}
		var list []approval
		if err := json.Unmarshal(answer, &list); err != nil {
			return fmt.Errorf("the hub's list cannot be read: %w", err)
		}
		for _, a := range list {
			fmt.Printf("%s  %s  asked for by %s at %s", a.ID, a.Outcome, printable(a.RequesterName), toSecond(a.Requested))
			if a.DeciderName != "" {
				fmt.Printf(", decided by %s", printable(a.DeciderName))
			}
			if a.Note != "" {
				fmt.Printf(": %s", printable(a.Note))
			}
			fmt.Println()
			for _, x := range a.What {
				fmt.Printf("    %s\n", printable(x))
			}
		}
		if len(list) == 0 {
			fmt.Fprintln(os.Stderr, "nothing waits for approval")
		}
		return nil
	})
	list.Flags().BoolVar(&all, "all", false, "the last 30 days, decided ones too")
	var out string
	approve := adminCommand("approve ID", "Approve a request: it is carried out now, once, exactly as `approval list` shows it", 1, func(ctx context.Context, c *client.Client, _ session, a []string) error {
		var answer json.RawMessage
		if err := c.Do(ctx, http.MethodPost, "/api/admin/approvals/"+url.PathEscape(a[0])+"/approve", map[string]any{}, &answer); err != nil {
			return err
		}
		var made map[string]any
		if err := json.Unmarshal(answer, &made); err != nil {
			return fmt.Errorf("the hub's answer cannot be read: %w", err)
		}
		if made["secret"] != nil { // a ticket
			if out == "" {
				fmt.Println(string(answer))
				return nil
			}
			return os.WriteFile(out, answer, 0o600)
		}
		saysMoved(answer)
		for _, k := range []string{"id", "login", "password_second_half"} {
			if v, ok := made[k]; ok && v != "" {
				fmt.Printf("%s: %v\n", k, v)
			}
		}
		return nil
	})
	approve.Flags().StringVar(&out, "out", "", "where to write the ticket of a display; standard output if empty")
	var reason string
	refuse := adminCommand("refuse ID", "Refuse a request, or take back your own", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		return post(ctx, c, s, http.MethodPost, "approvals/"+url.PathEscape(a[0])+"/refuse", map[string]string{"reason": reason})
	})
	refuse.Flags().StringVar(&reason, "reason", "", "why, for the requester")
	state := adminCommand("state", "Say whether what gives access to patients takes two persons, and who could approve", 0, func(ctx context.Context, c *client.Client, s session, _ []string) error {
		var answer json.RawMessage
		if err := c.Do(ctx, http.MethodGet, "/api/admin/two-persons", nil, &answer); err != nil {
			return err
		}
		return printState(answer, s.json)
	})
	toggle := adminCommand("switch on|off", "Switch two persons on, at once, or ask for it to be switched off, which a second person approves", 1, func(ctx context.Context, c *client.Client, s session, a []string) error {
		if a[0] != "on" && a[0] != "off" {
			return cli.Usage(fmt.Errorf("%q is not on or off", a[0]), "see `vitalseal approval switch --help`")
		}
		var answer json.RawMessage
		if err := c.Do(ctx, http.MethodPut, "/api/admin/two-persons", map[string]bool{"on": a[0] == "on"}, &answer); err != nil {
			return err
		}
		if saysWait(answer) {
			return nil
		}
		return printState(answer, s.json)
	})
	return group("approval", "What takes two persons: new persons, roles, wards, patients, passwords, displays, readings moved to another ward", list, approve, refuse, state, toggle)
}

func printState(answer []byte, asJSON bool) error {
	if asJSON {
		fmt.Println(string(answer))
		return nil
	}
	var t struct {
		On        bool     `json:"on"`
		Off       bool     `json:"off_by_configuration"`
		Approvers []string `json:"approvers"`
		Needed    int      `json:"needed"`
		Waiting   int      `json:"waiting"`
	}
	if err := json.Unmarshal(answer, &t); err != nil {
		return fmt.Errorf("the hub's answer cannot be read: %w", err)
	}
	switch {
	case t.On:
		fmt.Printf("two persons: on\nwaiting: %d\n", t.Waiting)
	case t.Off:
		fmt.Println("two persons: OFF, by the hub's configuration: one administrator alone makes clinicians, auditors, patients' logins and displays, and moves readings to another ward")
	case len(t.Approvers) < t.Needed:
		fmt.Printf("two persons: OFF, one administrator alone makes clinicians, auditors, patients' logins and displays, and moves readings to another ward; it takes %d auditors, doctors or staff with a password of their own\n", t.Needed)
	default:
		fmt.Println("two persons: OFF, one administrator alone makes clinicians, auditors, patients' logins and displays, and moves readings to another ward; run `vitalseal approval switch on`")
	}
	fmt.Printf("approvers: %s\n", strings.Join(t.Approvers, " "))
	return nil
}
