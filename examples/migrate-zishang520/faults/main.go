// Command faults measures, on this machine, what a server on github.com/zishang520/socket.io/v2 at v2.5.0 does with
// malformed packets, with bursts, with the order of events and with clients that join at once; the same server with the bridge of adapter/zishang520;
// and a Twine server:
//
//	go run ./examples/migrate-zishang520/faults -show malformed
//	go run ./examples/migrate-zishang520/faults -show burst
//	go run ./examples/migrate-zishang520/faults -show publishers
//	go run ./examples/migrate-zishang520/faults -show order
//	go run ./examples/migrate-zishang520/faults -show connect
//
// It needs nothing but Go: all servers stand alone.
package main

import (
	"context"
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

// patience is how long one measurement may take.
const patience = 60 * time.Second

// shows are the measurements.
var shows = map[string]func(ctx context.Context, out io.Writer) error{
	"malformed":  malformed,
	"burst":      burst,
	"publishers": publishers,
	"order":      order,
	"connect":    connect,
}

func main() {
	show := flag.String("show", "", "what to measure: "+strings.Join(names(), ", "))
	serve := flag.String("serve", "", "for the command's own use: serve a kind of server until standard input ends")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *show, *serve, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func names() []string {
	var all []string
	for name := range shows {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func run(ctx context.Context, show, serve string, out io.Writer) error {
	if serve != "" {
		return child(serve, os.Stdin, out)
	}
	f := shows[show]
	if f == nil {
		return fmt.Errorf("-show %q: want one of %s", show, strings.Join(names(), ", "))
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return f(ctx, out)
}
