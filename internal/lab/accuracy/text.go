package accuracy

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// goal is what a figure should reach; the text shows it beside the figure.
type goal struct {
	set, figure string
	low, high   float64
	words       string
}

func goals() []goal {
	down := math.Inf(-1)
	up := math.Inf(1)
	return []goal{
		{"cuff", "sbp_mean_error_mmhg", -3, 3, "within +-3"},
		{"cuff", "sbp_sd_mmhg", down, 6.5, "<= 6.5"},
		{"cuff", "dbp_mean_error_mmhg", -3, 3, "within +-3"},
		{"cuff", "dbp_sd_mmhg", down, 6.5, "<= 6.5"},
		{"cuff", "refused_percent", down, 10, "<= 10"},
		{"oximeter", "arms_percent", down, 3, "<= 3.0"},
		{"emotibit", "arms_percent", down, 2, "<= 2"},
		{"camera-ppg", "heart_rate_mae_bpm", down, 0.8, "<= 0.8"},
		{"camera-ppg", "beat_f1_percent", 98, up, ">= 98"},
		{"troika", "heart_rate_mae_bpm", down, 2.5, "<= 2.5"},
		{"troika", "answered_percent", 95, up, ">= 95"},
		{"icu-bidmc", "heart_rate_max_error_bpm", down, 1, "<= 1"},
		{"icu-bidmc", "respiratory_rate_mae_per_min", down, 2, "<= 2"},
		{"false-alarm", "asystole_called", down, 0, "0"},
	}
}

// WriteText writes the report for people: a table of all sets' figures with the goals, and with each recording's figures below
// if files is true.
func (r *Report) WriteText(w io.Writer, files bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SET\tFIGURE\tVALUE\tGOAL\t")
	for _, s := range r.Sets {
		for _, f := range s.Figures {
			words, met := "", ""
			for _, g := range goals() {
				if g.set == s.Name && g.figure == f.Name {
					words, met = g.words, "missed"
					if f.Value >= g.low && f.Value <= g.high {
						met = "met"
					}
				}
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Name, f.Name, decimal(f.Value), words, met)
		}
		fmt.Fprintf(t, "%s\tfiles\t%d\t\t%s\n", s.Name, s.Files, unreadable(s.Unreadable))
		fmt.Fprintf(t, "%s\tseconds_cpu\t%s\t\t\n", s.Name, decimal(s.SecondsCPU))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if !files {
		return nil
	}
	for _, s := range r.Sets {
		if _, err := fmt.Fprintf(w, "\n%s\n", s.Name); err != nil {
			return err
		}
		if err := s.writeRows(w); err != nil {
			return err
		}
	}
	return nil
}

func unreadable(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d unreadable", n)
}

func (s Set) writeRows(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := false
	for _, r := range s.Rows {
		if r.Err == nil && !head {
			head = true
			names := []string{"file"}
			for _, f := range r.Figures {
				names = append(names, f.Name)
			}
			fmt.Fprintf(t, "  %s\t\n", strings.Join(names, "\t"))
		}
		cells := []string{strings.TrimPrefix(r.File, s.Name+"/")}
		for _, f := range r.Figures {
			cells = append(cells, decimal(f.Value))
		}
		if r.Err != nil {
			cells = append(cells, "unreadable")
		}
		fmt.Fprintf(t, "  %s\t%s\n", strings.Join(cells, "\t"), r.Note)
	}
	return t.Flush()
}

// decimal is a figure with at most two decimals; "-" is one that does not exist.
func decimal(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	s := strconv.FormatFloat(v, 'f', 2, 64)
	s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}
