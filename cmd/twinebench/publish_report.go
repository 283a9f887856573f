package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// publish writes the report into a folder as DATE.json and DATE.md, over those of the same day, and the chart as
// latest.svg.
func (rep *report) publish(ctx context.Context, dir string) error {
	rep.Machine = describeMachine(ctx, rep.Results)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, rep.Time.Format(time.DateOnly))
	if err := rep.write(name + ".json"); err != nil {
		return err
	}
	if err := os.WriteFile(name+".md", rep.markdown(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "latest.svg"), rep.chart().draw(), 0o644)
}

func (rep *report) findScenario(name string) *findings {
	i := slices.IndexFunc(rep.Scenarios, func(f *findings) bool { return f.Scenario == name })
	if i < 0 {
		return nil
	}
	return rep.Scenarios[i]
}

// page is Markdown that is being written.
type page struct{ bytes.Buffer }

func (p *page) say(format string, args ...any) { fmt.Fprintf(&p.Buffer, format+"\n\n", args...) }

func (p *page) row(cells ...string) {
	for _, cell := range cells {
		p.WriteString("| " + strings.ReplaceAll(cell, "|", `\|`) + " ")
	}
	p.WriteString("|\n")
}

func (p *page) head(cells ...string) {
	p.row(cells...)
	p.WriteString("|---" + strings.Repeat("|---:", len(cells)-1) + "|\n")
}

func (rep *report) markdown() []byte {
	p := &page{}
	p.say("# Twine's benchmark, %s", rep.Time.Format(time.DateOnly))
	command := strings.Join(append([]string{"go run ./cmd/twinebench --out testdata/bench"}, rep.Settings.options...), " ")
	p.say("`%s` on %s. Other processes used %s of the CPUs meanwhile.", command, rep.Machine, rep.othersUsed())
	if rep.Settings.quick {
		p.say("A short run: the numbers are rough.")
	}
	for _, r := range rep.Results {
		fmt.Fprintf(p, "- %s: %s\n", r.Server, r.Name)
	}
	fmt.Fprintln(p)
	rep.markdownServers(p)
	rep.markdownClusters(p)
	rep.markdownScenarios(p)
	rep.markdownMicro(p)
	return append(bytes.TrimRight(p.Bytes(), "\n"), '\n')
}

// othersUsed says how quiet the machine was.
func (rep *report) othersUsed() string {
	var all []float64
	for _, r := range rep.Results {
		for i := range r.Samples {
			all = append(all, r.Samples[i].Others)
		}
	}
	if len(all) == 0 {
		return "an unknown part"
	}
	return fmt.Sprintf("%.1f (median) to %.1f", median(all), slices.Max(all))
}

// markdownServers is the table of budgets.
func (rep *report) markdownServers(p *page) {
	ours, peers := rep.ours(), rep.peers()
	if ours == nil {
		return
	}
	set := rep.Settings
	p.say("## Budgets")
	p.say("%d connections in one room, messages of %d bytes: a burst of %d, then %d, one every %v. CPU and memory are the server's, medians of %d rounds (least–greatest).",
		set.Clients, set.MessageSize, set.Burst, set.Paced, set.Interval.Round(time.Millisecond), set.Rounds)
	head := []string{""}
	for _, r := range rep.Results {
		head = append(head, r.Server)
	}
	for _, peer := range peers {
		head = append(head, peer.Server+" ÷ "+ours.Server)
	}
	p.head(append(head, "budget", "then")...)
	for _, row := range rows {
		cells := []string{strings.TrimSpace(row.what)}
		for _, r := range rep.Results {
			cells = append(cells, spread(row.format, *row.value(&r.Median), r.values(row)))
		}
		for _, peer := range peers {
			cells = append(cells, row.ratio(peer, ours))
		}
		if row.budget > 0 {
			value := *row.value(&ours.Median)
			cells = append(cells, kept(value, row.budget), kept(value, row.then))
		} else {
			cells = append(cells, "", "")
		}
		p.row(cells...)
	}
	fmt.Fprintln(p)
}

func kept(value, budget float64) string {
	if value <= budget {
		return fmt.Sprintf("≤ %g: kept", budget)
	}
	return fmt.Sprintf("≤ %g: **missed**", budget)
}

// markdownClusters compares the two clusters.
func (rep *report) markdownClusters(p *page) {
	ours, node := rep.findScenario("streams"), rep.findScenario("node-streams")
	if ours == nil && node == nil {
		return
	}
	p.say("## Two nodes over Redis Streams")
	p.say("All %d clients are on one node, and the messages are sent on the other.", rep.Settings.Clients)
	p.head("", "twine", "node", "node ÷ twine")
	for _, row := range clusterRows {
		cells := []string{row.what}
		for _, f := range []*findings{ours, node} {
			cell := ""
			if f != nil {
				cell = spread(row.format, f.Median[row.key], f.values(row.key))
			}
			cells = append(cells, cell)
		}
		ratio := ""
		if ours != nil && node != nil && ours.Median[row.key] > 0 {
			ratio = fmt.Sprintf("%.2f", node.Median[row.key]/ours.Median[row.key])
		}
		p.row(append(cells, ratio)...)
	}
	fmt.Fprintln(p)
}

// markdownScenarios are those of recovery.
func (rep *report) markdownScenarios(p *page) {
	for _, f := range rep.Scenarios {
		if f.Scenario == "streams" || f.Scenario == "node-streams" {
			continue
		}
		p.say("## Recovery: %s", f.Scenario)
		p.say("%s.", f.What)
		p.head("", "median", "budget")
		for _, row := range f.rows() {
			budget := ""
			if row.budget > 0 {
				sign, verdict := "≤", "**missed**"
				if row.least {
					sign = "≥"
				}
				if row.keeps(f.Median[row.key]) {
					verdict = "kept"
				}
				budget = fmt.Sprintf("%s %g: %s", sign, row.budget, verdict)
			}
			p.row(strings.TrimSpace(row.what), spread(row.format, f.Median[row.key], f.values(row.key)), budget)
		}
		fmt.Fprintln(p)
	}
}

func (rep *report) markdownMicro(p *page) {
	p.say("## Micro-benchmarks")
	if len(rep.Micro) > 0 {
		p.head("benchmark", "time", "bytes", "allocations")
		for _, m := range rep.Micro {
			p.row("`"+m.Package+"` "+m.Name, m.time(), fmt.Sprintf("%.0f", m.Bytes), fmt.Sprintf("%.0f", m.Allocs))
		}
		fmt.Fprintln(p)
		p.say("`recovery/disk` Restore is 10,000 sessions at once, and `twine` Restore a client with 100 missed messages.")
	}
	p.say("One by one:")
	for _, suite := range microSuites {
		args := suite.command(microTime)
		for i, arg := range args {
			if strings.ContainsAny(arg, "^$()|*") {
				args[i] = "'" + arg + "'"
			}
		}
		fmt.Fprintf(p, "    %s\n", strings.Join(args, " "))
	}
}
