// Command chat is a page that people chat with through twined. It starts the daemon and serves the page:
//
//	go run ./examples/chat
//
// Then open the printed address in two browser windows. To use a daemon that runs already, name it:
//
//	go run ./examples/chat -twined http://127.0.0.1:3005 -key KEY
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

	"github.com/twine-realtime/twine/examples/internal/localtwined"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address of the page")
	twined := flag.String("twined", "", "address of a running daemon; without it, one is started")
	key := flag.String("key", "", "API key of the running daemon")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *twined, *key); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, twined, key string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer listener.Close()

	ended := make(<-chan error) // a daemon that someone else runs never ends
	if twined == "" {
		daemon, err := localtwined.Start(ctx)
		if err != nil {
			return fmt.Errorf("start twined: %w", err)
		}
		defer daemon.Stop()
		twined, key, ended = daemon.URL, daemon.Key, daemon.Ended
	}

	page := &http.Server{Handler: newBackend(twined, key), ReadTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- page.Serve(listener) }()
	fmt.Printf("Chat at http://%s/ (through twined at %s)\n", listener.Addr(), twined)

	select {
	case err = <-served:
	case err = <-ended:
		err = errors.Join(errors.New("twined ended"), err)
	case <-ctx.Done():
	}
	page.Close()
	return err
}
