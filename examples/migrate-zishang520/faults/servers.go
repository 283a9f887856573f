package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/adapter/zishang520"
	"github.com/twine-realtime/twine/twine"
)

// The servers that are compared.
const (
	plain   = "zishang520 as it is"
	bridged = "zishang520 with the bridge"
	ours    = "Twine"
)

var kinds = []string{plain, bridged, ours}

// server stands alone. It notes the first argument, a number, of each event "n".
type server struct {
	address string
	emit    func(event string, args ...any) error // to everyone
	close   func()

	mu      sync.Mutex
	handled []int
}

func (s *server) handle(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handled = append(s.handled, n)
}

// numbers returns those that the client has counted, without the -1 that comes before.
func (s *server) numbers() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.handled), func(n int) bool { return n < 0 })
}

// ready reports whether any event was handled.
func (s *server) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.handled) > 0
}

func start(kind string) (*server, error) {
	s := new(server)
	var handler http.Handler
	var end func()
	switch kind {
	case plain, bridged:
		opts := socket.DefaultServerOptions()
		if kind == bridged {
			opts.SetAdapter(zishang520.New(nil, zishang520.Options{}))
			opts.SetParser(zishang520.Parser())
		}
		srv := socket.NewServer(nil, opts)
		_ = srv.On("connection", func(args ...any) {
			_ = args[0].(*socket.Socket).On("n", func(args ...any) {
				if n, ok := args[0].(float64); ok {
					s.handle(int(n))
				}
			})
		})
		s.emit = func(event string, args ...any) error { srv.Emit(event, args...); return nil }
		handler, end = srv.ServeHandler(nil), func() { srv.Close(nil) }
	case ours:
		srv := twine.NewServer(nil)
		srv.On("n", func(_ context.Context, _ *twine.Socket, e *twine.Event) {
			var n int
			if e.Bind(0, &n) == nil {
				s.handle(n)
			}
		})
		s.emit = srv.Emit
		handler, end = srv, func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = srv.Close(ctx) // what is measured is over
		}
	default:
		return nil, fmt.Errorf("no such server: %q", kind)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.address = listener.Addr().String()
	web := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = web.Serve(listener) // until it is closed
	}()
	s.close = func() {
		end()
		web.Close()
		<-served
	}
	return s, nil
}

// received notes the events that a client gets.
type received struct {
	mu     sync.Mutex
	events []string
	last   time.Time
}

func (r *received) add(data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, string(data))
	r.last = time.Now()
}

// settle waits until there are as many as there should be, or none has come for a second.
func (r *received) settle(ctx context.Context, want int) []string {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		r.mu.Lock()
		last := r.last
		if last.Before(began) {
			last = began
		}
		if len(r.events) >= want || time.Since(last) > time.Second || ctx.Err() != nil {
			defer r.mu.Unlock()
			return r.events
		}
		r.mu.Unlock()
		<-tick.C
	}
}
