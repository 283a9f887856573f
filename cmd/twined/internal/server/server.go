// Package server puts the daemon's parts together behind one HTTP server.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/apikey"
	"github.com/twine-realtime/twine/cmd/twined/internal/config"
	"github.com/twine-realtime/twine/cmd/twined/internal/console"
	"github.com/twine-realtime/twine/cmd/twined/internal/original"
	"github.com/twine-realtime/twine/cmd/twined/internal/storage"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/forward"
)

const (
	// headerTimeout and bodyTimeout bound how long a client may take to send a request. There is no timeout for the
	// answer as a whole: a long poll is silent for as long as there is nothing to say.
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// Server is the daemon without its process: what answers on one listener.
type Server struct {
	http      *http.Server
	twine     *twine.Server
	storage   *storage.Storage
	forwarder *forward.Forwarder // nil outside of a cluster
	metrics   *metrics
	console   *console.Console
	publishes gate
	served    chan struct{} // closed when the listener is
	draining  atomic.Bool
	log       *slog.Logger
}

// New opens the storage, for which it waits until ctx ends, and returns a Server that accepts publishers with the given keys.
// Shutdown closes it.
func New(ctx context.Context, cfg *config.Config, keys *apikey.Set, log *slog.Logger) (*Server, error) {
	opened, err := storage.Open(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	origins := newOrigins(cfg.CORSOrigin)
	s := &Server{storage: opened, served: make(chan struct{}), log: log}
	recovers := recoveryOptions(cfg, opened)
	engine := engineio.Options{AllowRequest: origins.allowHandshake, Logger: log}
	if opened.Peers != nil {
		s.forwarder = forward.New(forward.Options{NodeID: opened.Peers.Name(), Nodes: nodesOf(opened.Peers), Logger: log})
		engine.NodeID, engine.UnknownSession = opened.Peers.Name(), s.forwarder.Serve
	}
	s.twine = twine.NewServer(&twine.Options{
		Engine:   engine,
		Adapter:  opened.Adapter,
		Recovery: recovers,
		Logger:   log,
	})
	s.metrics = newMetrics(s.Clients)
	s.console = s.newConsole(keys, recovers.Hot)
	original.Handle(s.twine, log)
	s.http = &http.Server{
		Handler:           origins.handler(boundBodies(bodyTimeout, s.routes(keys))),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	s.http.RegisterOnShutdown(s.console.Close)
	if s.forwarder != nil {
		s.http.RegisterOnShutdown(s.forwarder.Close)
	}
	return s, nil
}

// Abandon closes a Server that was never served.
func (s *Server) Abandon() {
	close(s.served)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		s.log.Warn("not everything could be closed", "error", err)
	}
}

// Serve answers on the listener until Shutdown, and then returns nil.
func (s *Server) Serve(listener net.Listener) error {
	defer close(s.served)
	if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Broken returns a channel that is closed when storage has failed in a way that only opening it again can mend. Messages
// are refused from then on.
func (s *Server) Broken() <-chan struct{} { return s.storage.Broken }

// Clients returns how many clients are connected.
func (s *Server) Clients() int { return s.twine.Engine().ClientsCount() }

// Shutdown ends Serve in an order that loses nothing: no new connections, then no new publishes, and when those under
// way are done the clients' connections are flushed and closed, so that the clients look for another server. What is
// not done when ctx ends is cut off and reported as an error. It may be called once, and after Serve.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	requests := make(chan error, 1)
	go func() { requests <- s.http.Shutdown(ctx) }()
	<-s.served
	err := errors.Join(s.publishes.close(ctx), s.twine.Close(ctx), <-requests, s.storage.Close(ctx))
	if err != nil {
		s.http.Close()
	}
	return err
}
