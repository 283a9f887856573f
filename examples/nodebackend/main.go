// Command nodebackend is a backend in Node that publishes with the original twine-server-library, and a page that listens
// with the original twine-client-library, through a twined that it starts:
//
//	go run ./examples/nodebackend
//
// It needs Node 18 or later with npm, which installs the two libraries at the first start.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/twine-realtime/twine/examples/internal/localtwined"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8083", "address of the page")
	modules := flag.String("modules", "", "a node_modules folder that has the libraries; without it, npm installs them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *modules); err != nil {
		fmt.Fprintln(os.Stderr, "nodebackend:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, modules string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if err := checkNode(ctx); err != nil {
		return err
	}
	folder, remove, err := install(ctx, modules)
	if err != nil {
		return err
	}
	defer remove()
	daemon, err := localtwined.Start(ctx)
	if err != nil {
		return fmt.Errorf("start twined: %w", err)
	}
	defer daemon.Stop()

	backend := exec.CommandContext(ctx, "node", "backend.mjs")
	backend.Dir = folder
	backend.Env = append(os.Environ(), "TWINE_URL="+daemon.URL, "TWINE_KEY="+daemon.Key, "LISTEN_HOST="+host, "LISTEN_PORT="+port)
	backend.Stdout, backend.Stderr = os.Stdout, os.Stderr
	if _, err := backend.StdinPipe(); err != nil { // its end, also if this program is killed, ends the backend
		return err
	}
	backend.Cancel = func() error { return backend.Process.Signal(syscall.SIGTERM) }
	backend.WaitDelay = 5 * time.Second
	if err := backend.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- backend.Wait() }()
	select {
	case err = <-ended:
		if ctx.Err() == nil {
			return errors.Join(errors.New("the backend ended"), err)
		}
		return nil
	case err = <-daemon.Ended:
		return errors.Join(errors.New("twined ended"), err, backend.Process.Kill(), <-ended)
	}
}
