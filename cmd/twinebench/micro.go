package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// microSuite is a set of Go's benchmarks that are run with the others.
type microSuite struct {
	what string
	pkg  string
	tags string
	run  string // pattern of -bench
}

// microSuites are encode, decode, broadcast, append and restore.
var microSuites = []microSuite{
	{"packets, text: encode and decode", "./twine/parser", "", "."},
	{"packets, MessagePack: encode and decode", "./twine/parser/msgpack", "", "."},
	{"broadcast and restore, no network", "./twine", "", "^Benchmark(Members|Broadcast|FanOut|Restore)$"},
	{"log in memory: append and read", "./recovery/memory", "", "."},
	{"log on disk: append and sessions", "./recovery/disk", "", "^Benchmark(Append|Publish|Restore)$"},
	{"log in Redis: append", "./recovery/redis", "redis", "^Benchmark(Append|Publish)$"},
}

const (
	microTime      = 500 * time.Millisecond
	microTimeQuick = 20 * time.Millisecond
	microTimeout   = 5 * time.Minute // of a suite
)

// command returns what a user types.
func (m *microSuite) command(benchtime time.Duration) []string {
	args := []string{"go", "test"}
	if m.tags != "" {
		args = append(args, "-tags", m.tags)
	}
	return append(args, "-run", "^$", "-bench", m.run, "-benchmem", "-benchtime", benchtime.String(), m.pkg)
}

// microResult is one line of one of them.
type microResult struct {
	Suite   string             `json:"suite"`
	Package string             `json:"package"`
	Name    string             `json:"name"`
	Ns      float64            `json:"ns_per_op"`
	Bytes   float64            `json:"bytes_per_op"`
	Allocs  float64            `json:"allocs_per_op"`
	Other   map[string]float64 `json:"other,omitempty"`
}

// runMicro runs all suites. It has to be called in the module's folder.
func runMicro(ctx context.Context, quick bool) (all []microResult, err error) {
	benchtime := microTime
	if quick {
		benchtime = microTimeQuick
	}
	for _, suite := range microSuites {
		found, err := suite.measure(ctx, benchtime)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (m *microSuite) measure(ctx context.Context, benchtime time.Duration) ([]microResult, error) {
	ctx, cancel := context.WithTimeout(ctx, microTimeout)
	defer cancel()
	command := m.command(benchtime)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s (--micro=false does without): %w\n%s", strings.Join(command, " "), err, out), context.Cause(ctx))
	}
	found, err := m.parse(bytes.NewReader(out))
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s has found no benchmark", strings.Join(command, " "))
	}
	return found, err
}

// microLine is a result: a name with the number of processors, a count, and values with their units.
var microLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

func (m *microSuite) parse(in io.Reader) (found []microResult, err error) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		match := microLine.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		r := microResult{Suite: m.what, Package: strings.TrimPrefix(m.pkg, "./"), Name: match[1]}
		fields := strings.Fields(match[2])
		for i := 0; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			switch unit := fields[i+1]; unit {
			case "ns/op":
				r.Ns = value
			case "B/op":
				r.Bytes = value
			case "allocs/op":
				r.Allocs = value
			default:
				if r.Other == nil {
					r.Other = map[string]float64{}
				}
				r.Other[unit] = value
			}
		}
		found = append(found, r)
	}
	return found, lines.Err()
}

func (rep *report) printMicro(out io.Writer) error {
	if len(rep.Micro) == 0 {
		return nil
	}
	fmt.Fprint(out, "\nmicro-benchmarks\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "package\tbenchmark\ttime\tbytes\tallocations\t\n")
	for _, m := range rep.Micro {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0f\t%.0f\t\n", m.Package, m.Name, m.time(), m.Bytes, m.Allocs)
	}
	return w.Flush()
}

// time is a time of an operation, to three digits or so.
func (m *microResult) time() string {
	switch {
	case m.Ns < 1e3:
		return fmt.Sprintf("%.1f ns", m.Ns)
	case m.Ns < 1e6:
		return fmt.Sprintf("%.2f µs", m.Ns/1e3)
	}
	return fmt.Sprintf("%.2f ms", m.Ns/1e6)
}
