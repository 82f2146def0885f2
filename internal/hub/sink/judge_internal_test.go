package sink

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestAnswerTwice: an answer of a cloud that says two things about success says none: the batch is
// sent again.
func TestAnswerTwice(t *testing.T) {
	for body, want := range map[string]outcome{
		`{"success":true}`: took, `{"success":false}`: failing, `{"success":false,"success":true}`: failing, `{"success":false,"SUCCESS":true}`: failing,
	} {
		got, _ := judge(&http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, 0)
		if got != want {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}
