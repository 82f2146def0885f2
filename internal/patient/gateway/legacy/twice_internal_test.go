package legacy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBulkBodyTwice: a body that has a name twice, in other letters too, is refused with the name:
// which of two keys or lists counts would be chance.
func TestBulkBodyTwice(t *testing.T) {
	for body, name := range map[string]string{
		`{"write_api_key":"A","updates":[{"delta_t":0,"field2":97}],"updates":[{"delta_t":0,"field2":40}]}`: "updates",
		`{"write_api_key":"A","Write_API_Key":"B","updates":[]}`:                                            "write_api_key",
		`{"write_api_key":"A","updates":[{"delta_t":0,"field2":97,"FIELD2":40}]}`:                           "field2",
		`{"write_api_key":"A","updates":[{"delta_t":0,"field2":97}]}`:                                       "",
	} {
		r := httptest.NewRequest(http.MethodPost, "/channels/7/bulk_update.json", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		_, updates, err := legacyBulkBody(httptest.NewRecorder(), r)
		switch {
		case name == "" && (err != nil || len(updates) != 1):
			t.Errorf("%s: %d, %v", body, len(updates), err)
		case name != "" && (err == nil || !strings.Contains(err.Error(), `field "`+name+`" is given twice`) || updates != nil):
			t.Errorf("%s: %d, %v; want %s named", body, len(updates), err, name)
		}
	}
}
