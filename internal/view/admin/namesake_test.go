package admin_test

import (
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
)

// TestNamesakes: a second patient of a name is asked about, with the one that exists and where it lies; said to be meant, it is made. A
// field that is given twice is refused before anything is looked at.
func TestNamesakes(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	w.get("admin", "POST", "wards", `{"id":"ward-a","name":"A"}`, 201, nil)
	w.get("admin", "POST", "beds", `{"id":"a-1","ward":"ward-a","name":"A 1"}`, 201, nil)
	var p struct{ ID string }
	w.get("admin", "POST", "patients", `{"name":"Maria Weber","bed":"a-1"}`, 201, &p)
	for _, name := range []string{"Maria Weber", " maria  weber", "Maria\u200b Weber", "\ufeffMaria W\u00adeber\u2060"} {
		var asked struct {
			Error     string
			Questions []string
		}
		w.get("admin", "POST", "patients", `{"name":"`+name+`"}`, 409, &asked)
		if len(asked.Questions) != 1 || !strings.Contains(asked.Questions[0], p.ID+", at bed a-1 now") || !strings.Contains(asked.Error, `"meant": true`) {
			t.Errorf("%q: %+v", name, asked)
		}
	}
	w.get("admin", "POST", "patients", `{"name":"Maria Weberin"}`, 201, nil)
	w.get("admin", "POST", "patients", `{"name":"Maria Weber","meant":true}`, 201, nil)
	if code, text := w.do("admin", "POST", "patients", `{"name":"A","name":"B"}`); code != 400 || !strings.Contains(text, `field \"name\" is given twice`) {
		t.Error(code, text)
	}
}
