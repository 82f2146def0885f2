package admin

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// plainAnswer are the values of a question that the audit log may have as they are: ids, kind:id,
// actions, times and numbers. None of them can be a name.
var plainAnswer = regexp.MustCompile(`^(?:[pu]-[a-z0-9]+|[a-z]+:[a-z0-9_-]+|allowed|refused|[0-9][0-9TZ:.+-]*)$`)

// questions are the keys that say what a look is at. Those of paging are not among them: a page that
// follows the growing log would write an entry for each entry that it reads.
var questions = []string{"action", "answer", "begin", "end", "from", "on", "patient", "person", "sensor", "to", "what", "who"}

// asked is what a request asks for, as the audit log has it: two questions that differ are two
// looks. A value that may be a name is there as the beginning of its digest.
func asked(q url.Values) string {
	var b strings.Builder
	for _, k := range questions {
		for _, v := range q[k] {
			if v == "" || b.Len() > 300 {
				continue
			}
			if len(v) > 64 || !plainAnswer.MatchString(v) {
				v = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(v)))[:15]
			}
			fmt.Fprintf(&b, " %s=%s", k, v)
		}
	}
	return b.String()
}
