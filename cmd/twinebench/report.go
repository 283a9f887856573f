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
	key     string // short, for messages
	what    string
	value   func(*sample) *float64
	format  string
	budget  float64 // what twine must keep, zero when it has none
	then    float64 // what it is to keep later
	durable float64 // what it must keep with recovery on
}

// others is the key of the CPUs that other processes have used meanwhile.
const others = "others"

// slack is what recovery may cost: fan-out stays within 15 % of its budget.
const slack = 1.15

// rows holds the budgets, which are for two cores of a current server.
var rows = []row{
	{"burst", "burst, CPU µs per delivery", func(s *sample) *float64 { return &s.Burst }, "%.2f", 4, 2, 4 * slack},
	{"paced", "paced, CPU µs per delivery", func(s *sample) *float64 { return &s.Paced }, "%.2f", 18, 16, 18 * slack},
	{"idle", "idle connection, RSS KB", func(s *sample) *float64 { return &s.Idle }, "%.1f", 10, 6, 10},
	{"collected", "  after a forced collection", func(s *sample) *float64 { return &s.Collected }, "%.1f", 0, 0, 0},
	{"connect", "connect, CPU µs", func(s *sample) *float64 { return &s.Connect }, "%.0f", 200, 140, 0},
	{others, "CPUs used by other processes", func(s *sample) *float64 { return &s.Others }, "%.1f", 0, 0, 0},
	{"elapsed", "burst, seconds until all arrived", func(s *sample) *float64 { return &s.Elapsed }, "%.2f", 0, 0, 0},
}

// report compares results.
type report struct {
	Time     time.Time `json:"time"`
	CPUs     int       `json:"cpus"`
	Settings settings  `json:"settings"`
	Results  []*result `json:"results"`

	Scenarios []*findings   `json:"scenarios,omitempty"` // what is measured with recovery and in clusters
	Micro     []microResult `json:"micro,omitempty"`
	Machine   *machine      `json:"machine,omitempty"`
}

func newReport(set settings, results []*result, extra []*findings) *report {
	for _, r := range results {
		for _, row := range rows {
			*row.value(&r.Median) = median(r.values(row))
		}
	}
	for _, f := range extra {
		f.Median = figures{}
		for _, row := range f.rows() {
			f.Median[row.key] = median(f.values(row.key))
		}
	}
	return &report{Time: time.Now().UTC(), CPUs: runtime.NumCPU(), Settings: set, Results: results, Scenarios: extra}
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

// peers are the results that are compared with ours.
func (rep *report) peers() (peers []*result) {
	for _, r := range rep.Results {
		if rep.ours() != nil && slices.Contains([]string{"node", "centrifuge"}, r.Server) {
			peers = append(peers, r)
		}
	}
	return peers
}

// ratio says how many times ours a peer's value is, where that says something about the servers.
func (row *row) ratio(peer, ours *result) string {
	own := *row.value(&ours.Median)
	if row.key == others || own <= 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", *row.value(&peer.Median)/own)
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
	if r := rep.find("recovery"); r != nil {
		for _, row := range rows {
			if row.durable > 0 && *row.value(&r.Median) > row.durable {
				missed = append(missed, "recovery "+row.key)
			}
		}
	}
	for _, f := range rep.Scenarios {
		missed = append(missed, f.missed()...)
	}
	return missed
}

func (rep *report) print(out io.Writer) error {
	if len(rep.Results) > 0 {
		if err := rep.printServers(out); err != nil {
			return err
		}
	}
	if err := rep.printCost(out); err != nil {
		return err
	}
	if err := rep.printScenarios(out); err != nil {
		return err
	}
	return rep.printMicro(out)
}

// printServers compares the servers.
func (rep *report) printServers(out io.Writer) error {
	fmt.Fprintf(out, "%d connections in one room, %d-byte messages: a burst of %d, then %d every %v; %d CPUs; medians of %d rounds (min–max)\n",
		rep.Settings.Clients, rep.Settings.MessageSize, rep.Settings.Burst, rep.Settings.Paced,
		rep.Settings.Interval.Round(time.Millisecond), rep.CPUs, rep.Settings.Rounds)
	for _, r := range rep.Results {
		fmt.Fprintf(out, "%s: %s\n", r.Server, r.Name)
	}
	fmt.Fprintln(out)
	ours, peers := rep.ours(), rep.peers()
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, r := range rep.Results {
		fmt.Fprintf(w, "\t%s", r.Server)
	}
	for _, peer := range peers {
		fmt.Fprintf(w, "\t%s/%s", peer.Server, ours.Server)
	}
	if ours != nil {
		fmt.Fprint(w, "\tbudget\t\tthen\t")
	}
	fmt.Fprintln(w)
	for _, row := range rows {
		fmt.Fprint(w, row.what)
		for _, r := range rep.Results {
			fmt.Fprint(w, "\t", spread(row.format, *row.value(&r.Median), r.values(row)))
		}
		for _, peer := range peers {
			fmt.Fprintf(w, "\t%s", row.ratio(peer, ours))
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

// printCost says what recovery costs.
func (rep *report) printCost(out io.Writer) error {
	with, without := rep.find("recovery"), rep.find("twine")
	if with == nil || without == nil {
		return nil
	}
	fmt.Fprint(out, "\nWhat recovery costs, every message and session on the disk first:\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprint(w, "\ttwine\trecovery\trecovery/twine\tbudget\t\n")
	for _, row := range rows {
		if row.key == others {
			continue
		}
		value, plain := *row.value(&with.Median), *row.value(&without.Median)
		fmt.Fprintf(w, "%s\t"+row.format+"\t"+row.format+"\t%.2f", row.what, plain, value, value/plain)
		if row.durable > 0 {
			fmt.Fprintf(w, "\t≤ %g\t%s", row.durable, verdict(value, row.durable))
		} else {
			fmt.Fprint(w, "\t\t")
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// printScenarios says how recovery fares when it has much to do, and clusters.
func (rep *report) printScenarios(out io.Writer) error {
	for _, f := range rep.Scenarios {
		fmt.Fprintf(out, "\n%s: %s\n\n", f.Scenario, f.What)
		w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
		for _, row := range f.rows() {
			value := f.Median[row.key]
			fmt.Fprintf(w, "%s\t%s", row.what, spread(row.format, value, f.values(row.key)))
			sign, passed := "≤", "FAIL"
			if row.least {
				sign = "≥"
			}
			if row.keeps(value) {
				passed = "pass"
			}
			if row.budget > 0 {
				fmt.Fprintf(w, "\t%s %g\t%s", sign, row.budget, passed)
			} else {
				fmt.Fprint(w, "\t\t")
			}
			fmt.Fprintln(w)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// spread formats a median with the least and the greatest of several values.
func spread(format string, median float64, values []float64) string {
	text := fmt.Sprintf(format, median)
	if len(values) > 1 {
		text += fmt.Sprintf(" ("+format+"–"+format+")", slices.Min(values), slices.Max(values))
	}
	return text
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
