package sioclient

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Options says where and how many.
type Options struct {
	// Addr is the server's numeric IPv4 address and port, such as 127.0.0.1:3000.
	Addr string
	// Dialect is what the server speaks. Zero means Socket.IO.
	Dialect Dialect
	// Path of the server. Empty means /socket.io/, or /connection/websocket for Centrifuge.
	Path string
	// Header is added to the handshake request of each connection.
	Header map[string]string
	// Connections is how many to open, at least 1. The process's limit of open files bounds it.
	Connections int
	// Parallel bounds how many handshakes are under way at the same time. Zero means 64.
	Parallel int
	// OnEvent is called for each event, in order for each connection, with the connection's index (0 to
	// Connections-1) and the raw JSON array of the event's name and arguments, after an acknowledgement id if it has
	// one. With Centrifuge it is the data of a publication, of whatever channel. data is borrowed until it returns. All calls come from one goroutine, so it must not block. An error ends
	// the connection and is reported as a failure. Nil counts only.
	OnEvent func(conn int, data []byte) error
}

// Swarm is a set of connections to one server. Its methods may be called concurrently.
type Swarm struct {
	opts Options
	loop *loop
	stop sync.Once
	quit chan struct{} // closed by Close
	done chan struct{} // closed when the loop has ended and all connections are closed

	mu        sync.Mutex
	joined    int
	delivered int64
	failures  int
	failure   error // the first
	changed   chan struct{}
}

// Dial opens all connections and returns when each has joined the main namespace. When one fails, or ctx ends first,
// all are closed and the error tells how far it came.
func Dial(ctx context.Context, opts Options) (*Swarm, error) {
	switch {
	case opts.Path != "":
	case opts.Dialect == Centrifuge:
		opts.Path = "/connection/websocket"
	default:
		opts.Path = "/socket.io/"
	}
	if opts.Parallel == 0 {
		opts.Parallel = 64
	}
	s := &Swarm{opts: opts, quit: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{})}
	var err error
	if s.loop, err = newLoop(s); err != nil {
		return nil, fmt.Errorf("sioclient: %w", err)
	}
	go func() {
		defer close(s.done)
		s.loop.run()
	}()
	err = s.wait(ctx, func() bool { return s.joined == opts.Connections })
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("sioclient: %d of %d connections: %w", s.joined, opts.Connections, err)
	}
	return s, nil
}

// Close cuts all connections and returns when they are closed. It may be called more than once.
func (s *Swarm) Close() {
	s.stop.Do(func() { close(s.quit) })
	<-s.done
}

// Delivered returns the number of events that all connections together have received.
func (s *Swarm) Delivered() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delivered
}

// Err returns the first failure, of whatever connection, or nil.
func (s *Swarm) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err()
}

func (s *Swarm) err() error {
	if s.failures > 1 {
		return fmt.Errorf("%w (and %d more failures)", s.failure, s.failures-1)
	}
	return s.failure
}

// Wait returns nil once Delivered is at least total. It returns early with an error when a connection fails or ctx
// ends.
func (s *Swarm) Wait(ctx context.Context, total int64) error {
	err := s.wait(ctx, func() bool { return s.delivered >= total })
	if err != nil {
		return fmt.Errorf("sioclient: %d of %d deliveries: %w", s.Delivered(), total, err)
	}
	return nil
}

// wait waits for a condition that is checked with mu held.
func (s *Swarm) wait(ctx context.Context, condition func() bool) error {
	for {
		s.mu.Lock()
		ok, err, changed := condition(), s.err(), s.changed
		s.mu.Unlock()
		switch {
		case err != nil:
			return err
		case ok:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// progress is what the loop has seen since it last told.
type progress struct {
	joined   int
	events   int64
	failures int
	failure  error
}

// waitInterval bounds how often waiting goroutines are woken: their CPU is not to be seen next to the server's.
const waitInterval = time.Millisecond

// advance is called by the loop.
func (s *Swarm) advance(p progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joined += p.joined
	s.delivered += p.events
	s.failures += p.failures
	if s.failure == nil {
		s.failure = p.failure
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// Connections returns the number of connections that were opened.
func (s *Swarm) Connections() int { return s.opts.Connections }
