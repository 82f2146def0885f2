// Command layers draws the import graph of internal/ as doc/layers.svg: one box a package, grouped by where it stands on the way
// of a reading, and an arrow from each package to what it imports. `make layers` runs it, `make check` compares.
//
// It reads the files of the tree itself and knows no package by its path: a package stands in the group that the last known
// name in its path has, so that it keeps its group when it moves. What no name is known of is drawn under "used by all".
// Sub-packages are lines in the box of their parent. An arrow that others imply (a -> c beside a -> b -> c) is left out.
package main

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"html"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// groups are the bands of the picture from top to bottom. Most arrows then point down.
var groups = []struct{ title, names string }{
	{"laboratory", "lab attack measure peers accuracy weaken weakened mutate demo testward"},
	{"at the workstation", "workstation connect administer client"},
	{"out of the hub", "view"},
	{"at the hub", "hub fleet ingest store sealdb directory archive channel access signin sink"},
	{"at the patient", "patient gateway uplink sensor signal"},
	{"on the way", "way overlay delivery outbox seal keystore"},
	{"what a measurement is", "measurement vitals recording"},
	{"used by all", ""},
}

// rooms are folders that hold packages and are none: each of their packages gets a box of its own.
var rooms = []string{"lab", "patient", "way", "workstation", "view", "measurement", "hub", "store", "shared"}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: layers FOLDER FILE.svg (in the module's root: internal doc/layers.svg)")
		os.Exit(2)
	}
	imports, err := read(os.DirFS("."), os.Args[1])
	if err == nil {
		err = os.WriteFile(os.Args[2], draw(imports), 0o644) // #nosec G306 G703 -- a picture of the documentation, where make says
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "layers:", err)
		os.Exit(1)
	}
}

// read is what each package below dir imports of the others, tests left out. Names are relative to dir.
func read(tree fs.FS, dir string) (map[string][]string, error) {
	imports := map[string][]string{}
	err := fs.WalkDir(tree, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), "_")) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		from := strings.TrimPrefix(path.Dir(filepath.ToSlash(name)), dir+"/")
		imports[from] = append(imports[from], []string{}...)
		for _, spec := range file.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if _, to, ours := strings.Cut(to, "/"+dir+"/"); ours && strings.HasPrefix(spec.Path.Value, `"vitalseal/`) {
				imports[from] = append(imports[from], to)
			}
		}
		return nil
	})
	if err == nil && len(imports) == 0 {
		err = fmt.Errorf("no package below %s", dir)
	}
	return imports, err
}

// box is one package with its sub-packages.
type box struct {
	name  string
	subs  []string
	to    []string // names of other boxes, reduced
	group int
	x, y  int // of its upper left corner
	w, h  int
}

// head is the box that a package belongs to: itself, or the package that it is a part of. Helpers of tests (storetest) are parts.
func head(pkg string) string {
	parts := strings.Split(pkg, "/")
	n := 1
	for n < len(parts) && slices.Contains(rooms, parts[n-1]) && !strings.HasSuffix(parts[n], "test") {
		n++
	}
	return strings.Join(parts[:n], "/")
}

// groupOf is the group of the last name in the package's path that any group has.
func groupOf(pkg string) int {
	parts := strings.Split(pkg, "/")
	for _, name := range slices.Backward(parts) {
		for i, g := range groups {
			if slices.Contains(strings.Fields(g.names), name) {
				return i
			}
		}
	}
	return len(groups) - 1
}

// boxes makes the boxes and the arrows between them.
func boxes(imports map[string][]string) []*box {
	byName := map[string]*box{}
	reach := map[string]map[string]bool{}
	for pkg, tos := range imports {
		name := head(pkg)
		if byName[name] == nil {
			byName[name] = &box{name: name, group: groupOf(name)}
			reach[name] = map[string]bool{}
		}
		if sub := strings.TrimPrefix(pkg, name+"/"); sub != pkg {
			byName[name].subs = append(byName[name].subs, sub)
		}
		for _, to := range tos {
			if to = head(to); to != name {
				reach[name][to] = true
			}
		}
	}
	all := make([]*box, 0, len(byName))
	for name, b := range byName {
		slices.Sort(b.subs)
		for to := range reach[name] {
			if !implied(reach, name, to) {
				b.to = append(b.to, to)
			}
		}
		slices.Sort(b.to)
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b *box) int { return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.name, b.name)) })
	return all
}

// implied reports whether from reaches to over another package as well.
func implied(reach map[string]map[string]bool, from, to string) bool {
	seen := map[string]bool{from: true, to: true}
	var queue []string
	for next := range reach[from] {
		if next != to {
			queue = append(queue, next)
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if seen[at] {
			continue
		}
		seen[at] = true
		if reach[at][to] {
			return true
		}
		for next := range reach[at] {
			queue = append(queue, next)
		}
	}
	return false
}

const (
	width   = 1180
	left    = 190 // of the boxes: the groups' titles stand before them
	gap     = 34
	rowGap  = 30
	bandGap = 26
	letter  = 8 // of the name; sub-packages are smaller
)

// draw lays the boxes out and writes the picture. The same imports give the same bytes.
func draw(imports map[string][]string) []byte {
	all := boxes(imports)
	byName := map[string]*box{}
	for _, b := range all {
		byName[b.name] = b
		b.w, b.h = letter*len(b.name)+24, 34
		for _, s := range b.subs {
			b.w = max(b.w, 7*len(s)+24)
			b.h += 15
		}
	}
	var out strings.Builder
	height, bands := place(all)
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d">
<title id="t">Packages below internal/ and what they import</title>
<desc id="d">Generated by make layers. An arrow goes from a package to one that it imports; arrows that others imply are left out.</desc>
`, width, height, width, height)
	out.WriteString(style)
	fmt.Fprintf(&out, "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", width, height)
	for i, b := range bands {
		if b[1] > b[0] {
			fmt.Fprintf(&out, "<rect class=\"band\" x=\"8\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", b[0], width-16, b[1]-b[0])
			fmt.Fprintf(&out, "<text class=\"title c%d\" x=\"22\" y=\"%d\">%s</text>\n", i, b[0]+26, html.EscapeString(groups[i].title))
		}
	}
	for _, b := range all {
		for i, name := range b.to {
			if to := byName[name]; to != nil {
				arrow(&out, b, to, i)
			}
		}
	}
	for _, b := range all {
		fmt.Fprintf(&out, "<g><title>%s</title><rect class=\"box c%d\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>", html.EscapeString(b.name), b.group, b.x, b.y, b.w, b.h)
		fmt.Fprintf(&out, "<text class=\"name\" x=\"%d\" y=\"%d\">%s</text>", b.x+b.w/2, b.y+22, html.EscapeString(b.name))
		for i, s := range b.subs {
			fmt.Fprintf(&out, "<text class=\"sub\" x=\"%d\" y=\"%d\">%s</text>", b.x+b.w/2, b.y+38+15*i, html.EscapeString(s))
		}
		out.WriteString("</g>\n")
	}
	out.WriteString("</svg>\n")
	return []byte(out.String())
}

// stagger is where boxes that are alone in their row stand, in percent of the width.
var stagger = []int{50, 22, 68, 36, 80}

// place gives every box its corner: bands from top to bottom, in a band rows by depth (what is imported stands lower), in a row
// the order of what they are connected with above. It returns the picture's height and each band's upper and lower edge.
func place(all []*box) (height int, bands [][2]int) {
	byName := map[string]*box{}
	for _, b := range all {
		byName[b.name] = b
	}
	depth := map[string]int{}
	var deep func(b *box, on map[string]bool) int
	deep = func(b *box, on map[string]bool) int {
		if on[b.name] {
			return 0
		}
		on[b.name] = true
		d := 0
		for _, o := range all {
			if o.group == b.group && slices.Contains(o.to, b.name) {
				d = max(d, deep(o, on)+1)
			}
		}
		delete(on, b.name)
		return d
	}
	for _, b := range all {
		depth[b.name] = deep(b, map[string]bool{})
	}
	line := 0
	at := map[string]int{} // the middle of what is placed already
	y := 12
	for i := range groups {
		rows := map[int][]*box{}
		for _, b := range all {
			if b.group == i {
				rows[depth[b.name]] = append(rows[depth[b.name]], b)
			}
		}
		bands = append(bands, [2]int{y, y})
		if len(rows) == 0 {
			continue
		}
		y += 14
		for _, r := range sortedKeys(rows) {
			row := rows[r]
			slices.SortStableFunc(row, func(a, b *box) int { return cmp.Compare(middle(a, all, at), middle(b, all, at)) })
			for len(row) > 0 {
				n, w := 0, 0
				for n < len(row) && (n == 0 || w+gap+row[n].w <= width-left-30) {
					w += gap + row[n].w
					n++
				}
				// The free room goes between the boxes; a box alone in its row stands aside of the one above, so that
				// arrows from farther up pass it.
				free := width - left - 30 - (w - gap)
				x, between, tallest := left+free/(2*n), gap+free/n, 0
				if n == 1 {
					x = left + free*stagger[line%len(stagger)]/100
				}
				line++
				for _, b := range row[:n] {
					b.x, b.y = x, y
					x += b.w + between
					tallest = max(tallest, b.h)
					at[b.name] = b.x + b.w/2
				}
				y += tallest + rowGap
				row = row[n:]
			}
		}
		y += 14 - rowGap
		bands[i][1] = y
		y += bandGap
	}
	return y - bandGap + 12, bands
}

// middle is the mean place of what imports b and is placed already; the picture's middle if nothing is.
func middle(b *box, all []*box, at map[string]int) int {
	sum, n := 0, 0
	for _, o := range all {
		if x, ok := at[o.name]; ok && slices.Contains(o.to, b.name) {
			sum, n = sum+x, n+1
		}
	}
	if n == 0 {
		return (left + width) / 2
	}
	return sum / n
}

func sortedKeys(m map[int][]*box) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// arrow draws one curve, the i-th that leaves its box.
func arrow(out *strings.Builder, from, to *box, i int) {
	spread := (from.w - 16) / max(1, len(from.to))
	x1, y1 := from.x+8+spread*i+spread/2, from.y+from.h
	x2, y2 := to.x+to.w/2+(x1-to.x-to.w/2)/14, to.y-5
	x2 = min(max(x2, to.x+8), to.x+to.w-8)
	bend := max(18, (y2-y1)/2)
	if to.y < from.y { // up: out of the upper edge into the lower one
		y1, y2 = from.y, to.y+to.h+5
		bend = -max(18, (y1-y2)/2)
	}
	fmt.Fprintf(out, "<path class=\"arrow c%d\" d=\"M%d %dC%d %d %d %d %d %d\" marker-end=\"url(#a%d)\"/>\n", from.group, x1, y1, x1, y1+bend, x2, y2-bend, x2, y2, from.group)
}

// style has a colour for each group, for light and for dark pages.
var style = func() string {
	light := []string{"#7a4fb3", "#1f6fb2", "#0f7f83", "#b3541e", "#2c7a3f", "#8a6d00", "#a3366b", "#5f6670"}
	dark := []string{"#c3a2f2", "#7cbcf5", "#62cfd2", "#f2a06d", "#83d197", "#dfc25a", "#f08fbd", "#aab2bd"}
	var b strings.Builder
	b.WriteString("<style>\ntext{font-family:ui-sans-serif,system-ui,sans-serif}.name{font-size:13px;font-weight:600;text-anchor:middle}" +
		".sub{font-size:11px;text-anchor:middle}.title{font-size:13px;font-weight:700;stroke:none!important}.arrow{fill:none;stroke-width:1.3;opacity:.75}.box{stroke-width:1.5}\n")
	theme := func(page, band, fill, text, sub string, colours []string) {
		fmt.Fprintf(&b, ".page{fill:%s}.band{fill:%s}.box{fill:%s}.name{fill:%s}.sub{fill:%s}\n", page, band, fill, text, sub)
		for i, c := range colours {
			fmt.Fprintf(&b, ".c%d{stroke:%s}.title.c%d{fill:%s}#a%d path{fill:%s}\n", i, c, i, c, i, c)
		}
	}
	theme("#fff", "#f3f5f8", "#fff", "#14181f", "#4b5563", light)
	b.WriteString("@media (prefers-color-scheme:dark){\n")
	theme("#0d1117", "#161c25", "#0d1117", "#e8edf4", "#aab4c2", dark)
	b.WriteString("}\n</style>\n<defs>\n")
	for i := range light {
		fmt.Fprintf(&b, `<marker id="a%d" viewBox="0 0 8 8" refX="5" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker>`+"\n", i)
	}
	b.WriteString("</defs>\n")
	return b.String()
}()
