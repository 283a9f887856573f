// Command twinecheck proves that nothing is lost, or shows what is.
//
// It starts a server, publishes to it, and lets clients subscribe that behave exactly as stock Socket.IO clients do. All
// the while it breaks connections at random moments and ends the server, gently and not. In the end each accepted message
// must have come to each client that was owed it, once and in order, or the client must have been told otherwise.
//
//	go run ./cmd/twinecheck
//	go run ./cmd/twinecheck --target node
//	go run ./cmd/twinecheck --duration 120s --cuts 2500 --kills 20
//	go run ./cmd/twinecheck --target cluster --kills 6 --fail-over
//
// The exit status is 0 if no promise was broken, 1 if one was, and 2 if the check could not be done.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/twine-realtime/twine/cmd/twinecheck/internal/check"
	"github.com/twine-realtime/twine/cmd/twinecheck/internal/faults"
	"github.com/twine-realtime/twine/cmd/twinecheck/internal/target"
)

type options struct {
	Target         string        `enum:"twined,node,cluster,mixed,node-cluster" default:"twined" help:"Server under test: twined, built from this module; node, the reference socket.io of testdata/js; cluster, several nodes of twined that share a Redis; mixed, such a cluster with a server of Node in it; node-cluster, several servers of Node."`
	Nodes          int           `default:"3" help:"Servers of a cluster; with mixed, the one of Node comes on top."`
	FailOver       bool          `help:"Kill the cluster's Redis in the middle, for its replica to take over."`
	Clients        int           `default:"100" help:"Clients that subscribe."`
	Rooms          int           `default:"20" help:"Rooms that messages are published to."`
	RoomsPerClient int           `default:"5" help:"Rooms that each client subscribes to."`
	Publishers     int           `default:"8" help:"Publishers; each waits for one answer before its next message."`
	Rate           float64       `default:"400" help:"Messages a second, of all publishers together."`
	Duration       time.Duration `default:"30s" help:"For how long to publish."`
	Padding        int           `default:"64" help:"Bytes of filler in each message."`
	Cuts           int           `default:"600" help:"Client connections to break. A tenth as many of publishers come on top."`
	CutKinds       []string      `placeholder:"KIND" help:"Ways to break them: reset, finish, half-open, blackhole, mid-frame, restoring. Default: all."`
	Kills          int           `default:"0" help:"Times to end the server and start it again: SIGKILL, SIGTERM, SIGKILL..."`
	Down           time.Duration `default:"500ms" help:"Mean time that an ended server stays away."`
	Silence        time.Duration `default:"1s" help:"Mean time that a silent connection stays so before it is reset."`
	Backoff        time.Duration `default:"1s" help:"Mean delay before a client's first attempt to reconnect. Stock clients have 1s."`
	Settle         time.Duration `default:"20s" help:"How long to wait in the end for what is missing."`
	Seed           uint64        `help:"Makes the choices of two runs the same. Default: random."`
	ServerArg      []string      `placeholder:"ARG" help:"Argument for twined; repeatable."`
	Race           bool          `help:"Build twined with the race detector."`
	Keep           bool          `help:"Keep the server's folder, with its data and log."`
	JSON           bool          `help:"Print the result as JSON."`
}

func main() {
	var opts options
	kong.Parse(&opts, kong.Name("twinecheck"), kong.Description("Proves that no accepted message is lost, repeated or reordered, or shows which."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	result, err := run(ctx, opts, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "twinecheck:", err)
		os.Exit(2)
	}
	if opts.JSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(result)
	} else {
		err = printResult(os.Stdout, result)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "twinecheck:", err)
		os.Exit(2)
	case !result.OK():
		os.Exit(1)
	}
}

func run(ctx context.Context, opts options, progress io.Writer) (result *check.Result, err error) {
	if opts.Seed == 0 {
		opts.Seed = uint64(rand.Uint32())
	}
	var kinds []faults.Kind
	for _, name := range opts.CutKinds {
		kind, err := faults.Parse(name)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, kind)
	}
	if opts.Nodes < 1 {
		return nil, fmt.Errorf("--nodes: %d is less than 1", opts.Nodes)
	}
	start := map[string]func(context.Context, target.Options) (target.Target, error){
		"twined": target.Twined, "node": target.Node,
		"cluster": target.TwinedCluster, "mixed": target.MixedCluster, "node-cluster": target.NodeCluster,
	}[opts.Target]
	tested, err := start(ctx, target.Options{Args: opts.ServerArg, Race: opts.Race, Keep: opts.Keep, Nodes: opts.Nodes, FailOver: opts.FailOver})
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := tested.Close(); err == nil {
			err = closeErr
		}
	}()
	fmt.Fprintf(progress, "%s, %d clients, %d rooms, %d publishers, %v/s for %s, %d cuts, %d kills, seed %d\n",
		tested.Name(), opts.Clients, opts.Rooms, opts.Publishers, opts.Rate, opts.Duration, opts.Cuts, opts.Kills, opts.Seed)
	return check.Run(ctx, check.Config{
		Clients: opts.Clients, Rooms: opts.Rooms, RoomsPerClient: opts.RoomsPerClient, Publishers: opts.Publishers,
		Rate: opts.Rate, Duration: opts.Duration, Padding: opts.Padding,
		Cuts: opts.Cuts, CutKinds: kinds, Kills: opts.Kills, FailOver: opts.FailOver, Down: opts.Down, Silence: opts.Silence, Backoff: opts.Backoff,
		PublishTimeout: 2 * time.Second, Quiet: time.Second, Settle: opts.Settle, Seed: opts.Seed,
		Progress: func(p check.Progress) {
			fmt.Fprintf(progress, "%4.0fs  %d deliveries, %d cuts, %d kills\n", p.Elapsed.Seconds(), p.Deliveries, p.Cuts, p.Kills)
		},
	}, tested)
}
