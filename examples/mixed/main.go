// Command mixed runs a cluster of two nodes of twined and a server of Node, socket.io with @socket.io/redis-streams-adapter, and
// a page that is connected to all three:
//
//	go run ./examples/mixed
//
// It needs Node 18 or later with npm, which installs the libraries at the first start, and redis-server. To use a Redis that
// runs already, and that no other Socket.IO server uses, name it:
//
//	go run ./examples/mixed -redis-url redis://127.0.0.1:6379
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type options struct {
	listen, redisURL, modules string
	every                     time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8084", "address of the server of Node, and so of the page")
	flag.StringVar(&o.redisURL, "redis-url", "", "a running Redis that no other Socket.IO server uses; without it, redis-server is started")
	flag.StringVar(&o.modules, "modules", "", "a node_modules folder that has the libraries; without it, npm installs them")
	flag.DurationVar(&o.every, "every", 3*time.Second, "how often the server of Node emits something by itself, at least 1ms")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "mixed: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mixed:", err)
		os.Exit(1)
	}
}

// run returns when ctx has ended, or one of the servers. All of them have ended then.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.every < time.Millisecond {
		return fmt.Errorf("-every: %s is less than a millisecond", o.every)
	}
	scratch, err := os.MkdirTemp("", "twine-mixed-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()

	var c cluster
	defer c.stop()
	if err := c.start(ctx, o, scratch, out); err != nil {
		if ctx.Err() != nil {
			return nil // it was stopped before it was up
		}
		return err
	}
	return c.wait(ctx)
}
