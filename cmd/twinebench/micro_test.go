package main

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMicroResultsAreRead(t *testing.T) {
	const output = `goos: linux
pkg: example.com/x
BenchmarkDecode/small-2    	 1000000	      1042 ns/op	  57.58 MB/s	     352 B/op	       3 allocs/op
BenchmarkEncode            	   20000	       120.5 ns/op	      48 B/op	       1 allocs/op
BenchmarkAppend/nodes=2/keys=true-2 	   1	   2500000 ns/op	   21000 appends/s	 0 B/op	 0 allocs/op
PASS
ok  	example.com/x	3.2s
`
	suite := microSuite{what: "w", pkg: "./x"}
	got, err := suite.parse(strings.NewReader(output))
	want := []microResult{
		{"w", "x", "Decode/small", 1042, 352, 3, map[string]float64{"MB/s": 57.58}},
		{"w", "x", "Encode", 120.5, 48, 1, nil},
		{"w", "x", "Append/nodes=2/keys=true", 2.5e6, 0, 0, map[string]float64{"appends/s": 21000}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	var times []string
	for _, m := range got {
		times = append(times, m.time())
	}
	if !slices.Equal(times, []string{"1.04 µs", "120.5 ns", "2.50 ms"}) {
		t.Errorf("%q", times)
	}
	if _, err := suite.parse(strings.NewReader("BenchmarkX 1 one ns/op\n")); err == nil {
		t.Error("nonsense is taken")
	}
}

func TestMicroSuiteThatFindsNothing(t *testing.T) {
	suite := microSuite{pkg: ".", run: "^BenchmarkNone$"}
	if _, err := suite.measure(t.Context(), time.Millisecond); err == nil || !strings.Contains(err.Error(), "found no benchmark") {
		t.Errorf("%v", err)
	}
}

func TestMachine(t *testing.T) {
	if m := cpuModel([]byte("processor\t: 0\nmodel name\t: Chip 3000\nprocessor\t: 1\nmodel name\t: other\n")); m != "Chip 3000" {
		t.Errorf("%q", m)
	}
	if m := memoryTotal([]byte("MemFree: 1 kB\nMemTotal:       2000 kB\n")); m != 2000<<10 {
		t.Errorf("%d", m)
	}
	if v := kernelVersion("6.1.2-someone-3\n"); v != "6.1.2" {
		t.Errorf("%q", v)
	}
	if v := redisVersion("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=x"); v != "7.0.15" {
		t.Errorf("%q", v)
	}
	m := describeMachine(t.Context(), nil)
	if m.CPUs < 1 || m.CPU == "" || !strings.HasPrefix(m.Go, "go") {
		t.Errorf("%+v", m)
	}
}

func TestChart(t *testing.T) {
	rep := exampleReport()
	rep.Scenarios = []*findings{{Scenario: "streams", Median: figures{"burst": 3, "paced": 4}}}
	c := rep.chart()
	// Two servers with four budgets each, and one with two in a cluster.
	bars := 0
	for _, g := range c.groups {
		bars += g.bars()
		if g.most() <= 0 || math.IsInf(g.most(), 0) {
			t.Errorf("%+v", g)
		}
	}
	svg := string(c.draw())
	if len(c.groups) != 6 || bars != 10 || strings.Count(svg, "<rect") != bars {
		t.Errorf("%d groups, %d bars\n%s", len(c.groups), bars, svg)
	}
	for _, s := range []string{"prefers-color-scheme:dark", "Node&#39;s Socket.IO", ">20.00<", `width="504.0"`} {
		if !strings.Contains(svg, s) {
			t.Errorf("%q is not in\n%s", s, svg)
		}
	}
}

func TestMarkdown(t *testing.T) {
	rep := exampleReport()
	rep.Machine = &machine{CPUs: 2, CPU: "Chip 3000", Memory: 24e9, Kernel: "Linux 6.1.2", Go: "go1.26"}
	rep.Micro = []microResult{{Package: "twine/parser", Name: "Encode", Ns: 120.5, Bytes: 48, Allocs: 1}}
	publish := &findings{Scenario: "publish", What: "64 publishers", scenario: publishing, Samples: []figures{{"rate": 20_000, "p99": 30}}, Median: figures{"rate": 20_000, "p99": 30}}
	ours := &findings{Scenario: "streams", scenario: twineCluster, Samples: []figures{{"burst": 2}}, Median: figures{"burst": 2}}
	node := &findings{Scenario: "node-streams", scenario: nodeCluster, Samples: []figures{{"burst": 9}}, Median: figures{"burst": 9}}
	rep.Scenarios = []*findings{publish, ours, node}
	text := string(rep.markdown())
	for _, line := range []string{
		"on 2 × Chip 3000, 24 GB, Linux 6.1.2, go1.26.",
		"|  | twine | node | node ÷ twine | budget | then |",
		"| burst, CPU µs per delivery | 2.00 (1.00–5.00) | 20.00 | 10.00 | ≤ 4: kept | ≤ 2: kept |",
		"| paced, CPU µs per delivery | 20.00 (19.00–30.00) | 25.00 | 1.25 | ≤ 18: **missed** | ≤ 16: **missed** |",
		"| burst, CPU µs per delivery on the clients' node | 2.00 | 9.00 | 4.50 |",
		"| accepted a second | 20000 | ≥ 20000: kept |",
		"| 99 % within, ms | 30.00 | ≤ 20: **missed** |",
		"| `twine/parser` Encode | 120.5 ns | 48 | 1 |",
		"    go test -tags redis -run '^$' -bench '^Benchmark(Append|Publish)$' -benchmem -benchtime 500ms ./recovery/redis\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is not in\n%s", line, text)
		}
	}
}
