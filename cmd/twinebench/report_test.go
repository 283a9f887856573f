package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		before := slices.Clone(test.values)
		if got := median(test.values); got != test.want || !slices.Equal(before, test.values) {
			t.Errorf("median(%v) = %v", before, got)
		}
	}
}

func exampleReport() *report {
	ours := &result{Server: "twine", Name: "Twine 1", Samples: []sample{
		{Burst: 1, Paced: 19, Idle: 8, Connect: 100}, {Burst: 5, Paced: 20, Idle: 9, Connect: 200}, {Burst: 2, Paced: 30, Idle: 10, Connect: 201},
	}}
	node := &result{Server: "node", Name: "Node 1", Samples: []sample{{Burst: 20, Paced: 25, Idle: 18, Connect: 400}}}
	return newReport(settings{Clients: 5000, Rounds: 3, servers: []string{"twine", "node"}}, []*result{ours, node}, nil)
}

func TestReport(t *testing.T) {
	rep := exampleReport()
	if missed := rep.missed(); !slices.Equal(missed, []string{"paced"}) {
		t.Errorf("missed %q", missed)
	}
	var b strings.Builder
	if err := rep.print(&b); err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(` +`).ReplaceAllString(b.String(), " ")
	for _, line := range []string{
		"twine: Twine 1\n",
		" twine node node/twine budget then",
		"burst, CPU µs per delivery 2.00 (1.00–5.00) 20.00 10.00 ≤ 4 pass ≤ 2 pass",
		"paced, CPU µs per delivery 20.00 (19.00–30.00) 25.00 1.25 ≤ 18 FAIL ≤ 16 FAIL",
		"idle connection, RSS KB 9.0 (8.0–10.0) 18.0 2.00 ≤ 10 pass ≤ 6 FAIL",
		"connect, CPU µs 200 (100–201) 400 2.00 ≤ 200 pass ≤ 140 FAIL",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not in\n%s", line, b.String())
		}
	}
}

// Without the reference there is no ratio, without Twine no budget.
func TestReportOfOneServer(t *testing.T) {
	for i, name := range []string{"twine", "node"} {
		rep := exampleReport()
		rep.Results = rep.Results[i : i+1]
		var b strings.Builder
		if err := rep.print(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "node/twine") || strings.Contains(b.String(), "budget") != (name == "twine") {
			t.Errorf("%s:\n%s", name, b.String())
		}
		if name == "node" && rep.missed() != nil {
			t.Errorf("the budgets are not for %s", name)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	if err := exampleReport().write(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Settings struct{ Clients int }
		Results  []struct {
			Server  string
			Samples []map[string]float64
			Median  map[string]float64
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Settings.Clients != 5000 || len(got.Results) != 2 || len(got.Results[0].Samples) != 3 || got.Results[0].Median["burst_us"] != 2 {
		t.Errorf("got %s", b)
	}
}

func TestReportOfRecovery(t *testing.T) {
	rep := exampleReport()
	with := &result{Server: "recovery", Name: "Twine 1", Samples: []sample{{Burst: 4.5, Paced: 21, Idle: 9, Connect: 300}}}
	publish := &findings{Scenario: "publish", What: "64 publishers", scenario: publishing, Samples: []figures{
		{"rate": 20_000, "p99": 30}, {"rate": 10_000, "p99": 10}, {"rate": 50_000, "p99": 21},
	}}
	rep = newReport(rep.Settings, append(rep.Results, with), []*findings{publish})
	if missed := rep.missed(); !slices.Equal(missed, []string{"paced", "recovery paced", "publish p99"}) {
		t.Errorf("missed %q", missed)
	}
	var b strings.Builder
	if err := rep.print(&b); err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(` +`).ReplaceAllString(b.String(), " ")
	for _, line := range []string{
		" twine recovery recovery/twine budget",
		"burst, CPU µs per delivery 2.00 4.50 2.25 ≤ 4.6 pass",
		"paced, CPU µs per delivery 20.00 21.00 1.05 ≤ 20.7 FAIL",
		"connect, CPU µs 200 300 1.50 ",
		"publish: 64 publishers\n",
		"accepted a second 20000 (10000–50000) ≥ 20000 pass",
		"99 % within, ms 21.00 (10.00–30.00) ≤ 20 FAIL",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not in\n%s", line, b.String())
		}
	}
}
