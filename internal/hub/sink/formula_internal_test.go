package sink

import (
	"strings"
	"testing"

	"vitalseal/internal/hub/channel"
)

func TestCellsComeBackAsWritten(t *testing.T) {
	for cell, want := range map[string]string{"'=1+1": "=1+1", "''=1": "'=1", "-5.2": "-5.2", "'-5.2": "'-5.2", "'tis": "'tis", "'": "'", "": "", "'-": "-", "=1": "=1"} {
		if got := asWritten(cell); got != want {
			t.Errorf("%q comes back as %q, want %q", cell, got, want)
		}
	}
	var got []channel.Entry
	err := ReadCSV(strings.NewReader("created_at,entry_id,field1,field2,status\n2026-01-02 03:04:05 UTC,1,'=1+1,-5.2,'@home\n"),
		func(_ int, e channel.Entry) error { got = append(got, e); return nil })
	if err != nil || len(got) != 1 || *got[0].Fields[0] != "=1+1" || *got[0].Fields[1] != "-5.2" || got[0].Status != "@home" {
		t.Errorf("%+v, %v", got, err)
	}
}
