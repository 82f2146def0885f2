package overlay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// TestTwiceInAFrame: a frame and a ticket that say two things under one name, in other letters or
// deep inside too, are refused with the name: which of them counted would be chance.
func TestTwiceInAFrame(t *testing.T) {
	frame := func(text string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...) // #nosec G115 -- a few bytes
	}
	for text, name := range map[string]string{
		`{"version":1,"secret":"a","requests":[]}`:                        "",
		`{"version":1,"secret":"a","requests":[],"secret":"b"}`:           "secret",
		`{"version":1,"SECRET":"a","requests":[],"secret":"b"}`:           "secret",
		`{"version":1,"secret":"a","requests":[{"id":"x"},{"id":"y"}]}`:   "",
		`{"version":1,"secret":"a","requests":[{"id":"x","id":"y"}]}`:     "id",
		`{"version":1,"secret":"a","requests":[{"csr":"AA==","Csr":""}]}`: "csr",
	} {
		var request enrolRequest
		err := readFrame(bytes.NewReader(frame(text)), &request)
		if name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), `"`+name+`" is given twice`)) {
			t.Errorf("%s: %v, want the name %q", text, err, name)
		}
	}
	for text, name := range map[string]string{
		`{"version":1,"deployment":"a.internal","root_sha256":"aa","root_sha256":"bb"}`: "root_sha256",
		`{"version":1,"secret":"a","Secret":"b"}`:                                       "secret",
		`{"version":1,"components":[{"id":"x","ziti_jwt":"a","ziti_jwt":"b"}]}`:         "ziti_jwt",
	} {
		_, err := ParseTicket([]byte(text))
		if !errors.Is(err, ErrTicketInvalid) || !strings.Contains(err.Error(), `"`+name+`" is given twice`) {
			t.Errorf("ticket %s: %v, want the name %q", text, err, name)
		}
	}
}
