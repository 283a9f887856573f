// Command library is a web application of its own, the orders of a restaurant, that has Twine's library mounted beside its
// routes:
//
//	go run ./examples/library
//
// Then open the printed address in two browser windows, and sign in as a guest in one and as "cook" in the other.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// shutdownTimeout is how long requests and events under way may take when the program ends.
const shutdownTimeout = 10 * time.Second

func main() {
	listen := flag.String("listen", "127.0.0.1:8081", "address to listen on")
	folder := flag.String("data", "twine-data/library", "folder for the history and the key of the sessions")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *folder); err != nil {
		fmt.Fprintln(os.Stderr, "library:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, folder string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	return serve(ctx, listener, folder)
}

// serve answers until ctx ends, and closes the listener.
func serve(ctx context.Context, listener net.Listener, folder string) error {
	restaurant, err := open(ctx, folder)
	if err != nil {
		return err
	}
	web := &http.Server{Handler: restaurant.routes(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	fmt.Printf("Orders at http://%s/\n", listener.Addr())

	select {
	case err = <-served:
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return errors.Join(err, restaurant.close(ctx, web))
}
