// Command twined is Twine's realtime daemon: it takes messages over HTTP and hands them to Socket.IO clients. "twined publish"
// sends such a message.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/apikey"
	"github.com/twine-realtime/twine/cmd/twined/internal/config"
	"github.com/twine-realtime/twine/cmd/twined/internal/healthcheck"
	"github.com/twine-realtime/twine/cmd/twined/internal/logging"
	"github.com/twine-realtime/twine/cmd/twined/internal/memlimit"
	"github.com/twine-realtime/twine/cmd/twined/internal/publishcmd"
	"github.com/twine-realtime/twine/cmd/twined/internal/secrets"
	"github.com/twine-realtime/twine/cmd/twined/internal/server"
)

// commands are what twined does other than to serve, by its first argument.
var commands = map[string]func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error{
	publishcmd.Name:  publishcmd.Run,
	healthcheck.Name: healthcheck.Run,
}

func main() {
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		// A signal ends it at once: what it has not printed an offset for may not have been published.
		leave(commands[os.Args[1]](context.Background(), os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	// Room for the second signal: the first one's shutdown must not hide it.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	leave(run(os.Args[1:], os.Stdout, os.Stderr, signals))
}

// leave ends the process, with an error's message if there is one.
func leave(err error) {
	if err != nil {
		// Errors that were joined stand below each other. Whoever reads the log wants one line.
		fmt.Fprintln(os.Stderr, "twined:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
	os.Exit(0)
}

// run is the daemon's life, from its arguments to the end of its shutdown.
func run(args []string, stdout, stderr io.Writer, signals <-chan os.Signal) error {
	cfg, exit, err := config.Parse(args, version(), stdout, stderr)
	if err != nil || exit {
		return err
	}
	log := logging.New(stderr, cfg.LogFormat, cfg.LogLevel)
	if limit, err := memlimit.Apply(); err != nil {
		log.Warn("the memory that the daemon may have is not known", "error", err)
	} else if limit.Bytes > 0 {
		log.Info("memory is limited", "bytes", limit.Bytes, "cgroup", limit.Cgroup)
	}
	background, stop := context.WithCancel(context.Background())
	var trimming sync.WaitGroup
	trimming.Go(func() { memlimit.Trim(background) })
	defer trimming.Wait()
	defer stop()
	listener, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := cfg.Advertise(listener.Addr()); err != nil {
		return err
	}
	srv, err := open(cfg, stdout, log, signals)
	if err != nil || srv == nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	log.Info("listening", "address", listener.Addr().String(), "version", version())

	var failure error
	select {
	case err := <-served:
		return fmt.Errorf("stopped serving: %w", err)
	case <-srv.Broken():
		failure = fmt.Errorf("the data file in %s cannot be written any more; start again once the disk is well", cfg.DataDir)
		log.Error("storage has failed, shutting down", "clients", srv.Clients())
	case received := <-signals:
		log.Info("shutting down", "signal", received.String(), "clients", srv.Clients(), "drain", cfg.Drain.String())
	}
	go func() {
		<-signals
		log.Warn("second signal: leaving at once")
		os.Exit(1)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Drain)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		log.Warn("shut down before all was handed over", "error", err)
	}
	<-served
	log.Info("stopped")
	return failure
}

// openTimeout is how long is waited for services that the daemon needs and that are not there yet.
const openTimeout = 30 * time.Second

// open makes the server. It returns nil if a signal came first.
func open(cfg *config.Config, stdout io.Writer, log *slog.Logger, signals <-chan os.Signal) (srv *server.Server, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		var keys *apikey.Set
		if keys, err = loadKeys(ctx, cfg, stdout, log); err == nil {
			srv, err = server.New(ctx, cfg, keys, log)
		}
	}()
	select {
	case <-opened:
		return srv, err
	case received := <-signals:
		log.Info("leaving before everything was open", "signal", received.String())
	}
	cancel()
	<-opened
	if srv != nil {
		srv.Abandon()
	}
	return nil, nil
}

func listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: the address is in use, perhaps by another twined; choose another with --listen", address)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	return listener, nil
}

// loadKeys returns the keys that the operator gave, or else the one that is kept in the data folder.
func loadKeys(ctx context.Context, cfg *config.Config, stdout io.Writer, log *slog.Logger) (*apikey.Set, error) {
	given := cfg.APIKey
	if cfg.APIKeySecret != "" {
		secret, err := secrets.APIKeys(ctx, cfg.APIKeySecret, secrets.Options{})
		if err != nil {
			return nil, fmt.Errorf("--api-key-secret: %w", err)
		}
		given = append(slices.Clone(given), secret...)
	}
	if len(given) > 0 {
		return apikey.NewSet(given...), nil
	}
	kept, err := apikey.Load(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	if kept.Generated {
		fmt.Fprintf(stdout, "API key, shown this once and kept in %s: %s\n", kept.Path, kept.Key)
	}
	if kept.Exposed {
		log.Warn("the API key file could be read by others; it no longer can, but consider a new key", "file", kept.Path)
	}
	return apikey.NewSet(kept.Key), nil
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
