package accuracy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"vitalseal/internal/measurement/recording"
)

// ErrFolder says that there is nothing to measure with; the message says what was looked for.
var ErrFolder = errors.New("accuracy: no recordings")

// Options of Run. The zero value measures everything.
type Options struct {
	// Sets are the folders to measure; empty: all that are known and present.
	Sets []string
	// Half leaves out every other recording of each set, by name: "even" keeps the 2nd, 4th, ...; "odd" the 1st, 3rd, ...
	// For constants that are fitted on one half and judged on the other. Empty: all.
	Half string
	// Progress is told after each recording; calls do not overlap. May be nil.
	Progress func(set string, done, of int)
}

// judged is what one recording says; each set has its own.
type judged interface {
	figures() []Figure
	note() string
}

// kind is one known folder: how to find its recordings, judge one, and sum them up.
type kind struct {
	name  string
	find  func(dir string) ([]string, error)
	judge func(path string) (judged, error)
	sum   func([]judged) []Figure
}

func kinds() []kind {
	return []kind{
		{"cuff", recording.FilesOf(".dat"), judgeCuff, sumCuffs},
		{"oximeter", recording.FilesOf(".csv"), judgeOximeter, sumOximeters},
		{"emotibit", recording.FilesOf(".csv"), judgeEmotibit, sumEmotibits},
		{"camera-ppg", subjectsOf("PPG.csv"), judgeCamera, sumCameras},
		{"troika", treadmills, judgeTroika, sumTroikas},
		{"icu-bidmc", recording.FilesOf(".csv"), judgeICU, sumICUs},
		{"false-alarm", recording.FilesOf(".csv"), judgeFalseAlarm, sumFalseAlarms},
	}
}

// Sets are the names of the folders that Run knows.
func Sets() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// Run measures on all known folders below dir. A recording that cannot be read is an entry in the report and no error. Errors
// wrap ErrFolder, or are ctx's.
func Run(ctx context.Context, dir string, o Options) (*Report, error) {
	if o.Half != "" && o.Half != "even" && o.Half != "odd" {
		return nil, fmt.Errorf("%w: half is %q, allowed is even or odd", ErrFolder, o.Half)
	}
	for _, name := range o.Sets {
		if !slices.Contains(Sets(), name) {
			return nil, fmt.Errorf("%w: there is no set %q, allowed are %s", ErrFolder, name, strings.Join(Sets(), ", "))
		}
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%w: %s is not a folder", ErrFolder, dir)
	}
	var report Report
	for _, k := range kinds() {
		if len(o.Sets) > 0 && !slices.Contains(o.Sets, k.name) {
			continue
		}
		folder := filepath.Join(dir, k.name)
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			continue
		}
		set, err := k.run(ctx, dir, folder, o)
		if err != nil {
			return nil, err
		}
		report.Sets = append(report.Sets, set)
	}
	if len(report.Sets) == 0 {
		return nil, fmt.Errorf("%w: %s holds none of the folders %s", ErrFolder, dir, strings.Join(Sets(), ", "))
	}
	return &report, nil
}

// run judges a folder's recordings, as many at once as there are cores.
func (k kind) run(ctx context.Context, dir, folder string, o Options) (Set, error) {
	before := cpuSeconds()
	paths, err := k.find(folder)
	if err != nil {
		return Set{}, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	paths = half(paths, o.Half)
	rows, values := make([]Row, len(paths)), make([]judged, len(paths))
	var next atomic.Int64
	var mu sync.Mutex // guards done and calls of Progress
	done := 0
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(paths)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(paths) {
					return
				}
				rows[i], values[i] = k.row(dir, paths[i])
				mu.Lock()
				done++
				if o.Progress != nil {
					o.Progress(k.name, done, len(paths))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return Set{}, fmt.Errorf("accuracy: %w", err)
	}
	set := Set{Name: k.name, Files: len(paths), Rows: rows}
	var readable []judged
	for i, v := range values {
		if rows[i].Err != nil {
			set.Unreadable++
			continue
		}
		readable = append(readable, v)
	}
	set.Figures = k.sum(readable)
	set.SecondsCPU = cpuSeconds() - before
	return set, nil
}

func (k kind) row(dir, path string) (Row, judged) {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		name = path
	}
	row := Row{File: filepath.ToSlash(name)}
	v, err := k.judge(path)
	if err != nil {
		row.Err = err
		return row, nil
	}
	row.Figures, row.Note = v.figures(), v.note()
	return row, v
}

func half(paths []string, which string) []string {
	if which == "" {
		return paths
	}
	var kept []string
	for i, p := range paths {
		if (i%2 == 1) == (which == "even") {
			kept = append(kept, p)
		}
	}
	return kept
}

// subjectsOf finds the folders that hold a file, plain or gzipped, sorted by name.
func subjectsOf(file string) func(dir string) ([]string, error) {
	return func(dir string) ([]string, error) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		var found []string
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			for _, name := range []string{file, file + ".gz"} {
				path := filepath.Join(dir, e.Name(), name)
				if info, err := os.Stat(path); err == nil && !info.IsDir() { // #nosec G703 -- the user named the folder
					found = append(found, path)
					break
				}
			}
		}
		return found, nil
	}
}

// beside is the first of the files that exists, plain or gzipped.
func beside(paths ...string) (string, bool) {
	for _, p := range paths {
		for _, name := range []string{p, p + ".gz"} {
			if info, err := os.Stat(name); err == nil && !info.IsDir() {
				return name, true
			}
		}
	}
	return "", false
}
