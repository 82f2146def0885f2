package dashboard_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/admin"
)

// proven is the end of the audit log, as the hub proves it.
func (s *stage) proven(ctx context.Context, n int, also []int64) (json.RawMessage, error) {
	if _, err := s.trail.Sign(ctx); err != nil {
		return nil, err
	}
	tail, err := s.trail.Tail(n, 0, also...)
	if err != nil {
		return nil, err
	}
	return json.Marshal(tail)
}

// searched is a page of the audit log, as the hub finds it.
func (s *stage) searched(ctx context.Context, q admin.AuditQuestion) (admin.AuditPage, error) {
	p, err := s.trail.Search(ctx, q.Size, q.Before, q.N, audit.Filter{From: q.From, To: q.To, Person: q.Person, Patient: q.Patient, Action: q.Action, Answer: q.Answer})
	out := admin.AuditPage{Entries: []admin.AuditFound{}, Next: p.Next, Looked: &p.Looked}
	for _, e := range p.Entries {
		proof := []string{}
		for _, h := range e.Proof {
			proof = append(proof, base64.StdEncoding.EncodeToString(h[:]))
		}
		out.Entries = append(out.Entries, admin.AuditFound{Seq: e.Seq, Line: e.Line, Proof: proof})
	}
	return out, err
}

// audit: the auditor finds what one person did, about one patient, what was refused, in a span, page by page back to the first entry; ids
// have names beside them, but no patient's; each entry is proven in the browser, and a changed one is found.
func (s *stage) audit(t *testing.T) {
	s.t = t
	persons, err := s.store.Persons(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, p := range persons {
		ids[p.Login] = p.ID
	}
	begin := time.Now().Add(-50 * time.Hour).Truncate(time.Second)
	for i := range 400 {
		e := audit.Entry{Time: begin.Add(time.Duration(i) * time.Minute), Person: ids["staff"], Role: "staff", Workstation: spiffe("workstation/desk"), Action: "bed:list", Resource: "system", Allowed: true, Policies: []string{"staff-beds"}}
		switch {
		case i%2 == 0:
			e.Person, e.Role, e.Action, e.Resource, e.Patient, e.Policies = ids["nurse"], "nurse", "patient:view", "patient:"+s.patients["a-1"], s.patients["a-1"], []string{"nurse-on-ward"}
		case i%50 == 1:
			e.Person, e.Role, e.Action, e.Resource, e.Patient, e.Allowed, e.Policies = ids["doctor"], "doctor", "patient:view", "patient:"+s.patients["b-1"], s.patients["b-1"], false, nil
			e.Reason = fmt.Sprint("no policy permits it; asked for ", ids["nurse"], " at ", i)
		case i == 3 || i == 5: // as this version writes it, and as earlier ones did
			e.Person, e.Role, e.Action, e.Resource, e.Patient, e.Allowed, e.Policies = ids["doctor"], "doctor", "patient:view", "patient:"+s.patients["b-1"], s.patients["b-1"], false, nil
			e.Reason = map[int]string{3: audit.NotDecided, 5: ""}[i] + "the directory could not be asked"
		}
		if _, err := s.trail.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	words := english(t)
	for _, x := range []struct {
		name, language   string
		width            int
		bed, begins      string
		see, refused, no string
		undecided        string
	}{
		{"en", "en", 1280, "Bett b-1, Chirurgie B", "The log begins here.", "see a patient", "refused", "No entry fits.", "not decided"},
		{"de-390", "de", 390, "Bett b-1, Chirurgie B", "Hier beginnt das Protokoll.", "Patient ansehen", "abgelehnt", "Kein Eintrag passt.", "nicht entschieden"},
	} {
		p := s.open("auditor", x.language, x.width)
		state := func(want string) string {
			return `document.querySelector('[data-testid="proof"]')?.dataset.state === '` + want + `'`
		}
		p.await("the newest are proven", state("proven")+` && document.querySelectorAll('[data-testid="audit"] tbody tr').length === 100`)
		p.await("names beside ids", `document.querySelector('[data-testid="audit"]').innerText.includes('Tomas Ek')`)
		p.is("no patient's name", `!/Brandt|Sørensen|Novak/.test(document.body.innerText)`)
		p.fits("audit-" + x.name)
		if x.language == "de" {
			p.onlyGerman("audit", words)
		}

		// What the doctor was refused: by the keyboard.
		p.choose("find-person", ids["doctor"])
		p.choose("find-answer", "refused")
		p.fill("find-from", begin.Add(-time.Hour).Local().Format("2006-01-02T15:04:05"))
		p.fill("find-to", begin.Add(200*time.Minute).Local().Format("2006-01-02T15:04:05"))
		p.do(chromedp.Focus(testid("find")))
		p.do(chromedp.KeyEvent("\r"))
		p.await("four of them", `document.querySelectorAll('[data-testid="audit"] tbody tr').length === 4 && [...document.querySelectorAll('[data-testid="audit"] tbody tr')]
			.every(r => ['Dr. Mira Lang', '`+x.bed+`', '`+x.see+`', '`+x.refused+`', 'Tomas Ek'].every(w => r.innerText.includes(w)))`)
		p.await("back to the first entry", `document.querySelector('[data-testid="audit-pager"]')?.innerText.includes('`+x.begins+`')`)
		p.is("and proven still", state("proven"))
		p.is("the command for all of them", `['--person `+ids["doctor"]+`', '--answer refused', '--from 20'].every(w => document.querySelector('[data-testid="audit-export"]').innerText.includes(w))`)
		p.fits("audit-found-" + x.name)
		if x.language == "de" {
			p.onlyGerman("audit-found", words)
		}
		// What was not decided is no refusal, in this version's words and in earlier ones'.
		p.choose("find-answer", "undecided")
		p.do(chromedp.Click(testid("find")))
		p.await("the two that were not decided", `document.querySelectorAll('[data-testid="audit"] tbody tr').length === 2 && [...document.querySelectorAll('[data-testid="audit"] tbody tr')]
			.every(r => r.querySelector('[data-testid="answer"]').innerText === '`+x.undecided+`' && !r.classList.contains('refused-row') && !r.innerText.includes('`+x.refused+`'))`)
		p.fits("audit-undecided-" + x.name)
		if x.language == "de" {
			p.onlyGerman("audit-undecided", words)
		}
		p.choose("find-answer", "refused")
		p.choose("find-action", "audit:read")
		p.do(chromedp.Click(testid("find")))
		p.await("nothing fits", `document.querySelector('[data-testid="audit-status"]').innerText.includes('`+x.no+`')`)

		// All that concerns a patient, page by page to the end, and back.
		p.do(chromedp.Click(testid("find-clear")))
		p.await("the newest again", `document.querySelectorAll('[data-testid="audit"] tbody tr').length === 100 && document.querySelector('[data-testid="find-person"]').value === ''`)
		p.choose("find-patient", s.patients["a-1"])
		p.choose("find-action", "patient:view")
		p.choose("find-person", ids["nurse"])
		p.do(chromedp.Click(testid("find")), chromedp.WaitVisible(testid("audit-older")))
		first := js[string](p, `document.querySelector('[data-testid="audit"] tbody tr').dataset.testid`)
		pages := 1
		for ; js[bool](p, `document.querySelector('[data-testid="audit-older"]') !== null`); pages++ {
			last := js[string](p, `[...document.querySelectorAll('[data-testid="audit"] tbody tr')].at(-1).dataset.testid`)
			p.do(chromedp.Click(testid("audit-older")))
			p.await("an older page", `document.querySelector('[data-testid="audit-pager"]') && !document.querySelector('[data-testid="'+'`+last+`'+'"]')`)
		}
		if pages < 3 {
			t.Errorf("200 entries and more on %d pages", pages)
		}
		p.await("the beginning", `document.querySelector('[data-testid="audit-pager"]').innerText.includes('`+x.begins+`')`)
		p.is("proven to the first", state("proven"))
		for ; pages > 1; pages-- {
			p.do(chromedp.WaitVisible(testid("audit-newer")), chromedp.Click(testid("audit-newer")))
			p.await("the page", `document.querySelector('[data-testid="audit-pager"]') !== null`)
		}
		p.await("the first page again", `document.querySelector('[data-testid="audit"] tbody tr')?.dataset.testid === '`+first+`'`)

		// All entries, without a filter; then a hub that changes one, and one that leaves one out.
		p.do(chromedp.Click(testid("find-clear")), chromedp.WaitVisible(testid("audit-older")), chromedp.Click(testid("audit-older")))
		p.await("older ones, none left out", `document.querySelector('[data-testid="audit-status"]').innerText.length > 20 && document.querySelectorAll('[data-testid="audit"] tbody tr').length === 100 && `+state("proven"))
		for what, lie := range map[string]string{
			"changed":  `a.entries[3].line = a.entries[3].line.replace('"allowed":true', '"allowed":false').replace('"role":"', '"role":"x')`,
			"left out": `a.entries.splice(3, 1)`,
		} {
			p.do(chromedp.Navigate(s.url+"/"), chromedp.WaitVisible(testid("audit-older")))
			p.await("proven before", state("proven"))
			js[bool](p, `(real => { window.fetch = async (u, o) => { const r = await real(u, o); if (!String(u).includes('/audit/search')) return r; const a = await r.json(); `+lie+`; return new Response(JSON.stringify(a)) }; return true })(window.fetch)`)
			p.do(chromedp.Click(testid("audit-older")))
			p.await("found: "+what, state("failed")+` && document.querySelector('[data-testid="proof"]').dataset.what === 'entries'`)
			p.fits("audit-lie-" + x.name)
			p.do(chromedp.Navigate(s.url+"/"), chromedp.WaitVisible(testid("proof-reported")), chromedp.Click(testid("proof-reported")))
		}
	}
}
