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
	"github.com/twine-realtime/twine/cmd/twined/internal/original"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
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
	store     *disk.Store
	history   recovery.Reader
	metrics   *metrics
	broken    chan struct{} // closed when the data file has to be opened again
	publishes gate
	served    chan struct{} // closed when the listener is
	draining  atomic.Bool
	log       *slog.Logger
}

// New opens the data folder and returns a Server that accepts publishers with the given keys. Shutdown closes it, or
// Close if Serve was never called.
func New(cfg *config.Config, keys *apikey.Set, log *slog.Logger) (*Server, error) {
	store, err := openStore(cfg, log)
	if err != nil {
		return nil, err
	}
	origins := newOrigins(cfg.CORSOrigin)
	s := &Server{store: store, broken: make(chan struct{}), served: make(chan struct{}), log: log}
	recovers := recoveryOptions(cfg, store, s.broken)
	s.history = recovery.Tiers(recovers.Hot, recovers.Log)
	s.twine = twine.NewServer(&twine.Options{
		Engine:   engineio.Options{AllowRequest: origins.allowHandshake, Logger: log},
		Recovery: recovers,
		Logger:   log,
	})
	s.metrics = newMetrics(s.Clients)
	original.Handle(s.twine, log)
	s.http = &http.Server{
		Handler:           origins.handler(boundBodies(bodyTimeout, s.routes(keys))),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return s, nil
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
func (s *Server) Broken() <-chan struct{} { return s.broken }

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
	err := errors.Join(s.publishes.close(ctx), s.twine.Close(ctx), <-requests, s.store.Close())
	if err != nil {
		s.http.Close()
	}
	return err
}
