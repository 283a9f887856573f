// Command conformance runs the servers that the public test suites of Socket.IO and Engine.IO expect, see README.md.
//
//	go run ./examples/conformance --suite socketio-v5
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// run serves a suite until ctx ends. It tells out where.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(out)
	name := flags.String("suite", "", "one of "+strings.Join(suiteNames(), ", "))
	host := flags.String("host", "127.0.0.1", "the address to listen on")
	port := flags.String("port", "", "the port to listen on, if not the one that the suite expects")
	pause := flags.Duration("pause-after-upgrade", 0, "how long a new WebSocket is silent, which the suite engineio-v3 needs")
	verbose := flags.Bool("v", false, "log what clients do wrong")
	if err := flags.Parse(args); err != nil {
		return err
	}
	suite, ok := suites[*name]
	if !ok {
		return fmt.Errorf("no suite %q; --suite is one of %s", *name, strings.Join(suiteNames(), ", "))
	}
	if *port == "" {
		*port = suite.port
	}
	level := slog.LevelWarn
	if *verbose {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	listener, err := net.Listen("tcp", net.JoinHostPort(*host, *port))
	if err != nil {
		return err
	}
	if *pause > 0 {
		listener = pausing{listener, *pause}
	}
	fmt.Fprintf(out, "%s: listening on %s\n", *name, listener.Addr())
	return serve(ctx, listener, suite.start(logger, suite.timing))
}

// serve serves until ctx ends, and closes sv and the listener.
func serve(ctx context.Context, listener net.Listener, sv server) error {
	mux := http.NewServeMux()
	mux.Handle(sv.path, sv)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(listener) }()

	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// First the sessions: polls and WebSockets would keep the web server from closing.
	return errors.Join(err, sv.close(ctx), web.Shutdown(ctx))
}
