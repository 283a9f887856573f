package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// result is all that was found out about one server.
type result struct {
	Server  string   `json:"server"`
	Name    string   `json:"name"`
	Samples []sample `json:"samples"`
	Median  sample   `json:"median"`

	command []string
}

// row is a line of the report.
type row struct {
	key    string // short, for messages
	what   string
	value  func(*sample) *float64
	format string
	budget float64 // what twine must keep, zero when it has none
	then   float64 // what it is to keep later
}

// rows holds the budgets, which are for two cores of a current server.
var rows = []row{
	{"burst", "burst, CPU µs per delivery", func(s *sample) *float64 { return &s.Burst }, "%.2f", 4, 2},
	{"paced", "paced, CPU µs per delivery", func(s *sample) *float64 { return &s.Paced }, "%.2f", 18, 16},
	{"idle", "idle connection, RSS KB", func(s *sample) *float64 { return &s.Idle }, "%.1f", 10, 6},
	{"collected", "  after a forced collection", func(s *sample) *float64 { return &s.Collected }, "%.1f", 0, 0},
	{"connect", "connect, CPU µs", func(s *sample) *float64 { return &s.Connect }, "%.0f", 200, 140},
	{"elapsed", "burst, seconds until all arrived", func(s *sample) *float64 { return &s.Elapsed }, "%.2f", 0, 0},
}

// report compares results.
type report struct {
	Time     time.Time `json:"time"`
	CPUs     int       `json:"cpus"`
	Settings settings  `json:"settings"`
	Results  []*result `json:"results"`
}

func newReport(set settings, results []*result) *report {
	for _, r := range results {
		for _, row := range rows {
			*row.value(&r.Median) = median(r.values(row))
		}
	}
	return &report{Time: time.Now().UTC(), CPUs: runtime.NumCPU(), Settings: set, Results: results}
}

func (r *result) values(of row) []float64 {
	values := make([]float64, len(r.Samples))
	for i := range r.Samples {
		values[i] = *of.value(&r.Samples[i])
	}
	return values
}

func (rep *report) find(server string) *result {
	i := slices.IndexFunc(rep.Results, func(r *result) bool { return r.Server == server })
	if i < 0 {
		return nil
	}
	return rep.Results[i]
}

// ours is the result that the budgets are for.
func (rep *report) ours() *result {
	if r := rep.find("twine"); r != nil {
		return r
	}
	return rep.find("engineio")
}

// missed returns the keys of the budgets that are not kept.
func (rep *report) missed() []string {
	var missed []string
	if r := rep.ours(); r != nil {
		for _, row := range rows {
			if row.budget > 0 && *row.value(&r.Median) > row.budget {
				missed = append(missed, row.key)
			}
		}
	}
	return missed
}

func (rep *report) print(out io.Writer) error {
	fmt.Fprintf(out, "%d connections in one room, %d-byte messages: a burst of %d, then %d every %v; %d CPUs; medians of %d rounds (min–max)\n",
		rep.Settings.Clients, rep.Settings.MessageSize, rep.Settings.Burst, rep.Settings.Paced,
		rep.Settings.Interval.Round(time.Millisecond), rep.CPUs, rep.Settings.Rounds)
	for _, r := range rep.Results {
		fmt.Fprintf(out, "%s: %s\n", r.Server, r.Name)
	}
	fmt.Fprintln(out)
	ours, node := rep.ours(), rep.find("node")
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, r := range rep.Results {
		fmt.Fprintf(w, "\t%s", r.Server)
	}
	if ours != nil && node != nil {
		fmt.Fprintf(w, "\t%s/node", ours.Server)
	}
	if ours != nil {
		fmt.Fprint(w, "\tbudget\t\tthen\t")
	}
	fmt.Fprintln(w)
	for _, row := range rows {
		fmt.Fprint(w, row.what)
		for _, r := range rep.Results {
			values := r.values(row)
			fmt.Fprintf(w, "\t"+row.format, *row.value(&r.Median))
			if len(values) > 1 {
				fmt.Fprintf(w, " ("+row.format+"–"+row.format+")", slices.Min(values), slices.Max(values))
			}
		}
		if ours != nil && node != nil {
			fmt.Fprintf(w, "\t%.2f", *row.value(&ours.Median) / *row.value(&node.Median))
		}
		switch {
		case ours != nil && row.budget > 0:
			value := *row.value(&ours.Median)
			fmt.Fprintf(w, "\t≤ %g\t%s\t≤ %g\t%s", row.budget, verdict(value, row.budget), row.then, verdict(value, row.then))
		case ours != nil:
			fmt.Fprint(w, "\t\t\t\t") // the columns go on in the next line
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func verdict(value, budget float64) string {
	if value <= budget {
		return "pass"
	}
	return "FAIL"
}

func (rep *report) write(file string) error {
	b, err := json.MarshalIndent(rep, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// median returns the middle of values, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
