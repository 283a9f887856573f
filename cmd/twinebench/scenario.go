package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// scenario is something that takes more than one server with clients: recovery, or a cluster.
type scenario struct {
	name    string
	what    func(set settings) string
	measure func(ctx context.Context, set settings, dir string) (figures, error) // dir is for its files
	rows    []figureRow
}

// figures are what one round of a scenario found out, by key.
type figures map[string]float64

// figureRow is a line of the report.
type figureRow struct {
	key    string
	what   string
	format string
	budget float64 // zero when there is none
	least  bool    // it must be at least that, not at the most
}

func (row *figureRow) keeps(value float64) bool {
	if row.least {
		return value >= row.budget
	}
	return value <= row.budget
}

var scenarios = []scenario{publishing, publishingHTTP, comingBack, replaying, twineCluster, nodeCluster}

func findScenario(name string) (scenario, error) {
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return scenario{}, fmt.Errorf("unknown scenario %q", name)
	}
	return scenarios[i], nil
}

// findings are all rounds of a scenario.
type findings struct {
	Scenario string    `json:"scenario"`
	What     string    `json:"what"`
	Samples  []figures `json:"samples"`
	Median   figures   `json:"median"`

	scenario scenario
}

func newFindings(names []string, set settings) ([]*findings, error) {
	var all []*findings
	for _, name := range names {
		s, err := findScenario(name)
		if err != nil {
			return nil, err
		}
		all = append(all, &findings{Scenario: name, What: s.what(set), scenario: s})
	}
	return all, nil
}

func (f *findings) round(ctx context.Context, set settings) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundTimeout, errTooLong)
	defer cancel()
	dir, err := os.MkdirTemp(set.DataDir, "twinebench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	found, err := f.scenario.measure(ctx, set, dir)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	f.Samples = append(f.Samples, found)
	return nil
}

// rows are the scenario's and what is noted of all.
func (f *findings) rows() []figureRow {
	return append(slices.Clip(f.scenario.rows), figureRow{others, "CPUs used by other processes", "%.1f", 0, false})
}

func (f *findings) values(key string) []float64 {
	values := make([]float64, len(f.Samples))
	for i, sample := range f.Samples {
		values[i] = sample[key]
	}
	return values
}

// last describes the newest sample in a line.
func (f *findings) last() string {
	var parts []string
	for _, row := range f.rows() {
		parts = append(parts, row.what+" "+fmt.Sprintf(row.format, f.Samples[len(f.Samples)-1][row.key]))
	}
	return strings.Join(parts, "; ")
}

// missed returns the keys of the budgets that are not kept.
func (f *findings) missed() []string {
	var missed []string
	for _, row := range f.scenario.rows {
		if row.budget > 0 && !row.keeps(f.Median[row.key]) {
			missed = append(missed, f.Scenario+" "+row.key)
		}
	}
	return missed
}

// startRecovery starts a server with recovery on the data in dir.
func startRecovery(ctx context.Context, dir string) (*child, error) {
	command, err := ownCommand("recovery")
	if err != nil {
		return nil, err
	}
	return startChild(ctx, append(command, dir))
}

// profiled runs f while the server writes a CPU profile, if profiles are asked for.
func (set *settings) profiled(c *child, name string, f func() error) error {
	if set.profiles == "" {
		return f()
	}
	if _, err := c.do("profile", filepath.Join(set.profiles, "recovery-"+name+".pprof")); err != nil {
		return err
	}
	err := f()
	_, stopErr := c.do("profile")
	return errors.Join(err, stopErr)
}

func (set *settings) heap(c *child, name string) error {
	if set.profiles == "" {
		return nil
	}
	_, err := c.do("heap", filepath.Join(set.profiles, "recovery-"+name+"-heap.pprof"))
	return err
}
