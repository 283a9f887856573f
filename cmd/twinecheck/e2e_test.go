//go:build e2e

package main

import (
	"testing"
	"time"

	"github.com/twine-realtime/twine/cmd/twinecheck/internal/check"
)

func shortRun(target string) options {
	return options{
		Target: target, Clients: 40, Rooms: 10, RoomsPerClient: 4, Publishers: 8, Rate: 200, Duration: 10 * time.Second,
		Padding: 64, Cuts: 300, Down: 300 * time.Millisecond, Silence: 300 * time.Millisecond,
		Backoff: 200 * time.Millisecond, Settle: 2 * time.Minute, Seed: 1, Nodes: 3,
	}
}

func doRun(t *testing.T, opts options) *check.Result {
	t.Helper()
	result, err := run(t.Context(), opts, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if err := printResult(t.Output(), result); err != nil {
		t.Fatal(err)
	}
	return result
}

// Nothing is lost, and nobody has to be told either: a restart of a few hundred milliseconds is no reason.
func TestTwined(t *testing.T) {
	opts := shortRun("twined")
	opts.Kills = 4
	r := doRun(t, opts)
	if !r.OK() || r.Unsettled != "" || r.Told != 0 || r.Unrecovered != 0 {
		t.Error("a promise was broken")
	}
	if r.CutsSum < 80 || r.SIGKILLs == 0 || r.SIGTERMs == 0 || r.Recovered < 80 || r.Deliveries < 1500 {
		t.Error("not much happened")
	}
}

// Clients go from node to node of a cluster, nodes are killed, and Redis fails over to its replica.
func TestCluster(t *testing.T) {
	opts := shortRun("cluster")
	opts.Nodes, opts.Kills, opts.FailOver = 3, 2, true
	r := doRun(t, opts)
	if !r.OK() || r.Unsettled != "" {
		t.Error("a promise was broken")
	}
	if r.CutsSum < 50 || r.SIGKILLs != 1 || r.SIGTERMs != 1 || r.FailOvers != 1 || r.Recovered < 50 || r.Deliveries < 1000 {
		t.Error("not much happened")
	}
}

// A server of Node is in the cluster, and takes its share of what is published.
func TestMixedCluster(t *testing.T) {
	opts := shortRun("mixed")
	opts.Nodes, opts.Kills = 2, 2
	r := doRun(t, opts)
	if !r.OK() || r.Unsettled != "" || r.Told != 0 || r.Unrecovered != 0 {
		t.Error("a promise was broken")
	}
	if r.CutsSum < 80 || r.SIGKILLs != 1 || r.SIGTERMs != 1 || r.Recovered < 80 || r.Deliveries < 1500 {
		t.Error("not much happened")
	}
}

// The reference forgets the rooms of clients that come back while it still believes in their old connection.
func TestNodeIsFoundOut(t *testing.T) {
	opts := shortRun("node")
	opts.CutKinds = []string{"half-open"}
	opts.Settle = time.Second
	if r := doRun(t, opts); r.Lost == 0 {
		t.Error("nothing found")
	}
}
