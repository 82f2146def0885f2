package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

func file(imports ...string) *fstest.MapFile {
	src := "package p\n"
	for _, i := range imports {
		src += "import _ \"" + i + "\"\n"
	}
	return &fstest.MapFile{Data: []byte(src)}
}

func TestGraph(t *testing.T) {
	tree := fstest.MapFS{
		"internal/patient/gateway/a.go":      file("vitalseal/internal/seal", "vitalseal/internal/vitals", "fmt"),
		"internal/patient/gateway/a_test.go": file("vitalseal/internal/store"),
		"internal/seal/a.go":                 file("vitalseal/internal/vitals"),
		"internal/seal/testdata/a.go":        file("vitalseal/internal/store"),
		"internal/seal/_copies/a.go":         file("vitalseal/internal/store"),
		"internal/seal/chip/a.go":            file("vitalseal/internal/seal", "example.com/internal/store"),
		"internal/vitals/a.go":               file("vitalseal/internal/vitals/units"),
		"internal/vitals/units/a.go":         file(),
		"internal/store/a.go":                file(),
		"internal/novelty/a.go":              file("vitalseal/internal/store"),
	}
	imports, err := read(tree, "internal")
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		group    string
		subs, to []string
	}
	got := map[string]row{}
	for _, b := range boxes(imports) {
		got[b.name] = row{groups[b.group].title, b.subs, b.to}
	}
	want := map[string]row{
		"patient/gateway": {"at the patient", nil, []string{"seal"}}, // vitals is implied by seal
		"seal":            {"on the way", []string{"chip"}, []string{"vitals"}},
		"vitals":          {"what a measurement is", []string{"units"}, nil},
		"store":           {"at the hub", nil, nil},
		"novelty":         {"used by all", nil, []string{"store"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if _, err := read(fstest.MapFS{"internal/x.txt": file()}, "internal"); err == nil {
		t.Error("a tree without packages is drawn")
	}
}

// TestPicture draws the packages of this tree: well-formed, each of them in it, twice the same, nothing outside of it.
func TestPicture(t *testing.T) {
	t.Chdir("../..")
	imports, err := read(os.DirFS("."), "internal")
	if err != nil {
		t.Fatal(err)
	}
	picture := draw(imports)
	if !bytes.Equal(picture, draw(imports)) {
		t.Error("two drawings of the same imports differ")
	}
	titles := map[string]bool{}
	arrows := 0
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "path" {
				arrows++
			}
		case xml.CharData:
			titles[strings.TrimSpace(string(token))] = true
		}
	}
	for pkg := range imports {
		sub := strings.TrimPrefix(pkg, head(pkg)+"/")
		if !titles[head(pkg)] || !titles[sub] {
			t.Errorf("%s is not in the picture", pkg)
		}
	}
	if arrows < 20 {
		t.Errorf("%d arrows: the imports are not read", arrows)
	}
	for _, b := range boxes(imports) {
		if strings.HasPrefix(b.name, "view/") && groups[b.group].title == "used by all" {
			t.Errorf("%s has no group", b.name)
		}
	}
}
