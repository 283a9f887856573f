// Command twinebench measures what Twine costs a server, next to the reference implementation doing the same work.
//
//	go run ./cmd/twinebench
//
// It starts the servers under test as child processes, one after the other, several rounds in turn, connects thousands
// of Socket.IO clients from its own process, and prints the server's CPU time and memory, the ratio to the reference,
// and whether Twine keeps its budgets. Every delivery is counted and checked; a missing, repeated, reordered or damaged
// one ends the run with an error. All traffic stays on the loopback interface. It needs Linux, Node with the packages of
// testdata/js and testdata/bench/node (npm ci in each) for the reference, redis-server for the clusters, and the Go module
// of testdata/bench/centrifuge for the Go peer. --servers and --scenarios leave out what is not there.
//
// With --out the results are written to files, with a description of the machine, a chart, and Go's micro-benchmarks.
//
// Twine is measured with recovery on the local disk, too: what that costs, how much publishers can publish durably, how
// a crowd of clients comes back after it was cut off, and what a long replay takes. Clients and server share the
// machine, so what is achieved in a second depends on what else it does; the report says how much that was.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		err = serve(os.Args[2:], os.Stdin, os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "twinebench:", err)
		os.Exit(1)
	}
}

// settings say what is measured and how much of it.
type settings struct {
	Clients     int           `json:"clients"`
	Rounds      int           `json:"rounds"`
	MessageSize int           `json:"message_size"`
	Burst       int           `json:"burst_messages"`
	Paced       int           `json:"paced_messages"`
	Interval    time.Duration `json:"paced_interval_ns"`
	Settle      time.Duration `json:"settle_ns"`
	Publish     time.Duration `json:"publish_ns"`
	Restored    int           `json:"restored_clients"`
	Replayed    int           `json:"replayed_messages"`
	DataDir     string        `json:"-"`

	servers   []string
	scenarios []string
	jsDir     string
	peersDir  string
	jsonFile  string
	out       string
	micro     bool
	profiles  string
	enforce   bool
	quick     bool
	options   []string // as given, without the names of files and folders
	peer      string   // the program of testdata/bench/centrifuge, once it is built
}

func parseSettings(args []string, stderr io.Writer) (settings, error) {
	s := settings{MessageSize: 100, Burst: 200, Paced: 30, Interval: time.Second / 3, Settle: 4 * time.Second,
		Publish: 2 * time.Second, Restored: 10_000, Replayed: 100_000}
	flags := flag.NewFlagSet("twinebench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.Clients, "clients", 5000, "connections, all in one `room`; the limit of open files bounds them")
	flags.IntVar(&s.Rounds, "rounds", 3, "how `often` each server is measured; the medians are compared")
	servers := flags.String("servers", "twine,recovery,node,centrifuge",
		"what to measure, a `list` of twine, recovery (twine with recovery on disk), node, centrifuge and engineio (twine's transport layer alone)")
	scenarios := flags.String("scenarios", "publish,http,restore,replay,streams,node-streams",
		"what else to measure, a `list`: publish, http, restore and replay with recovery; streams and node-streams, clusters over Redis; empty for nothing")
	flags.StringVar(&s.DataDir, "data-dir", "", "`folder` for the history, on the disk to be measured; by default that of temporary files")
	quick := flags.Bool("quick", false, "a short run with 1,000 clients and one round, to see that all works; its numbers are rough")
	flags.StringVar(&s.jsDir, "js-dir", "testdata/js", "`folder` with bench-server.mjs and its node_modules")
	flags.StringVar(&s.peersDir, "peers-dir", "testdata/bench", "`folder` with the other servers: centrifuge, and node with its node_modules")
	flags.StringVar(&s.out, "out", "", "`folder` for DATE.md, DATE.json and latest.svg")
	flags.BoolVar(&s.micro, "micro", false, "run Go's micro-benchmarks too; on with --out, where --micro=false leaves them out")
	flags.StringVar(&s.jsonFile, "json", "", "also write the results to this `file`")
	flags.StringVar(&s.profiles, "profiles", "", "write pprof profiles of Twine's phases into this `folder`; the numbers of such a run are not comparable")
	flags.BoolVar(&s.enforce, "enforce", false, "a missed budget is an error")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) {
		given[f.Name] = true
		if !slices.Contains([]string{"data-dir", "js-dir", "peers-dir", "json", "out", "profiles"}, f.Name) {
			s.options = append(s.options, strings.TrimSuffix("--"+f.Name+"="+f.Value.String(), "=true"))
		}
	})
	if *quick {
		s.Paced, s.Settle, s.Publish, s.Restored, s.Replayed = 9, time.Second, time.Second, 1000, 20_000
		if !given["clients"] {
			s.Clients = 1000
		}
		if !given["rounds"] {
			s.Rounds = 1
		}
	}
	if !given["micro"] {
		s.micro = s.out != ""
	}
	s.quick = *quick
	if s.Clients < 1 || s.Rounds < 1 {
		return s, errors.New("--clients and --rounds must be at least 1")
	}
	s.servers = split(*servers)
	if slices.Contains(s.servers, "recovery") || given["scenarios"] {
		s.scenarios = split(*scenarios)
	}
	return s, nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// run is the measuring process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	set, err := parseSettings(args, stderr)
	if err != nil {
		return err
	}
	remove, err := set.preparePeers(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	var results []*result
	for _, name := range set.servers {
		command, err := set.commandOf(name)
		if err != nil {
			return err
		}
		results = append(results, &result{Server: name, command: command})
	}
	extra, err := newFindings(set.scenarios, set)
	if err != nil {
		return err
	}
	for round := range set.Rounds {
		for _, r := range results {
			fmt.Fprintf(stderr, "round %d of %d: %s\n", round+1, set.Rounds, r.Server)
			var s sample
			used, err := withOthers(func() (err error) {
				s, err = measure(ctx, set, r)
				return err
			})
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, r.Server, err)
			}
			s.Others = used
			fmt.Fprintf(stderr, "  %s\n", s)
			r.Samples = append(r.Samples, s)
		}
		for _, f := range extra {
			fmt.Fprintf(stderr, "round %d of %d: %s\n", round+1, set.Rounds, f.Scenario)
			used, err := withOthers(func() error { return f.round(ctx, set) })
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, f.Scenario, err)
			}
			f.Samples[len(f.Samples)-1][others] = used
			fmt.Fprintf(stderr, "  %s\n", f.last())
		}
	}
	rep := newReport(set, results, extra)
	if set.micro {
		fmt.Fprintln(stderr, "micro-benchmarks")
		if rep.Micro, err = runMicro(ctx, set.quick); err != nil {
			return err
		}
	}
	if err := rep.print(stdout); err != nil {
		return err
	}
	if set.out != "" {
		if err := rep.publish(ctx, set.out); err != nil {
			return err
		}
	}
	if set.jsonFile != "" {
		if err := rep.write(set.jsonFile); err != nil {
			return err
		}
	}
	if missed := rep.missed(); set.enforce && len(missed) > 0 {
		return fmt.Errorf("over budget: %s", strings.Join(missed, ", "))
	}
	return nil
}
