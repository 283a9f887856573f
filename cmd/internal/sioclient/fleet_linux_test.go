package sioclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine"
)

// fleetWatcher counts what happens to a fleet. It belongs to the loop, apart from what is atomic.
type fleetWatcher struct {
	fleet  *Fleet
	next   []int // number of the message that a client is to get next
	bad    atomic.Pointer[string]
	joined atomic.Int64
	again  atomic.Int64 // of those, recovered
	events atomic.Int64
	failed atomic.Int64
	lost   atomic.Int64
}

func (w *fleetWatcher) Joined(_ int, recovered bool) {
	w.joined.Add(1)
	if recovered {
		w.again.Add(1)
	}
}

func (w *fleetWatcher) Event(i int, data []byte) {
	var n int
	if _, err := fmt.Sscanf(string(data), `["n",%d`, &n); err != nil || n != w.next[i] {
		text := fmt.Sprintf("client %d got %s instead of message %d", i, data, w.next[i])
		w.bad.CompareAndSwap(nil, &text)
	}
	w.next[i] = n + 1
	w.events.Add(1)
}

func (w *fleetWatcher) Failed(_ int, err *ConnectError) {
	text := err.Error()
	w.bad.CompareAndSwap(nil, &text)
	w.failed.Add(1)
}

func (w *fleetWatcher) Lost(int, error) { w.lost.Add(1) }

func (w *fleetWatcher) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for ctx := deadline(t); !done(); {
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("still not so: %s; %d joined, %d events, %d failed, %d lost", what, w.joined.Load(), w.events.Load(), w.failed.Load(), w.lost.Load())
		}
	}
}

func (w *fleetWatcher) check(t *testing.T) {
	t.Helper()
	if bad := w.bad.Load(); bad != nil {
		t.Error(*bad)
	}
}

// startFleet runs a fleet against a handler until the test ends.
func startFleet(t *testing.T, clients int, handler http.Handler, change func(*FleetOptions)) *fleetWatcher {
	t.Helper()
	front := httptest.NewServer(handler)
	t.Cleanup(front.Close)
	host := front.Listener.Addr().String()
	w := &fleetWatcher{next: make([]int, clients)}
	opts := FleetOptions{
		Clients: clients, Backoff: 20 * time.Millisecond, Watcher: w,
		Place: func(i, _ int) Place {
			return Place{Addr: netip.MustParseAddrPort(host), Host: host, Source: netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i%3)})}
		},
	}
	if change != nil {
		change(&opts)
	}
	var err error
	if w.fleet, err = NewFleet(opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		w.fleet.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ran
		w.fleet.Close()
		w.fleet.Close()
	})
	return w
}

func (w *fleetWatcher) connectAll() {
	w.fleet.Do(func() {
		for i := range w.next {
			w.fleet.Connect(i)
			w.fleet.Connect(i) // has no effect
		}
	})
}

// site is a Twine server with recovery, and a page that sets a cookie, which the handshakes must have.
func site(t *testing.T) (*twine.Server, http.Handler) {
	t.Helper()
	var opts twine.Options
	opts.Recovery = &twine.Recovery{ResumeIdle: true}
	opts.Engine.AllowRequest = func(r *http.Request) error {
		if cookie, err := r.Cookie("id"); err != nil || cookie.Value != "x" {
			return errors.New("no cookie")
		}
		return nil
	}
	srv := twine.NewServer(&opts)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", srv)
	mux.HandleFunc("/cookie", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "x", MaxAge: 60})
	})
	return srv, mux
}

func TestFleetMissesNothingWhenItIsCut(t *testing.T) {
	for _, transport := range []string{"websocket", "polling"} {
		t.Run(transport, func(t *testing.T) {
			const clients, messages = 100, 60
			srv, handler := site(t)
			w := startFleet(t, clients, handler, func(o *FleetOptions) {
				o.CookiePath = "/cookie"
				place := o.Place
				o.Place = func(i, failed int) Place {
					p := place(i, failed)
					p.Polling = transport == "polling"
					return p
				}
			})
			w.connectAll()
			w.until(t, "all have joined", func() bool { return w.joined.Load() == clients })
			for n := range messages {
				if err := srv.Emit("n", n); err != nil {
					t.Fatal(err)
				}
				if n%10 == 5 {
					w.fleet.Do(func() {
						for i := n % 3; i < clients; i += 3 {
							w.fleet.Cut(i)
						}
					})
					w.until(t, "the others have it", func() bool { return w.events.Load() >= int64(n*clients/2) })
				}
			}
			w.until(t, "all have all", func() bool { return w.events.Load() == clients*messages })
			w.until(t, "all are back", func() bool { return w.joined.Load()-w.again.Load() == clients && w.again.Load() > 0 })
			w.check(t)
		})
	}
}

func TestFleetClientsEmit(t *testing.T) {
	srv, handler := site(t)
	var heard atomic.Int64
	srv.On("long", func(_ context.Context, _ *twine.Socket, e *twine.Event) {
		var text string
		if e.Bind(0, &text) == nil && len(text) == 300 {
			heard.Add(1)
		}
	})
	w := startFleet(t, 2, handler, func(o *FleetOptions) {
		o.CookiePath = "/cookie"
		place := o.Place
		o.Place = func(i, failed int) Place {
			p := place(i, failed)
			p.Polling = i == 1
			return p
		}
	})
	early := make(chan error, 1)
	w.fleet.Do(func() { early <- w.fleet.Emit(0, []byte(`["x"]`)) })
	if <-early == nil {
		t.Error("emitted without a connection")
	}
	w.connectAll()
	w.until(t, "both have joined", func() bool { return w.joined.Load() == 2 })
	event := []byte(`["long","` + strings.Repeat("l", 300) + `"]`)
	w.fleet.Do(func() {
		for i := range 2 {
			for range 3 {
				if err := w.fleet.Emit(i, event); err != nil {
					t.Error(err)
				}
			}
			if !w.fleet.Connected(i) {
				t.Errorf("client %d is not connected", i)
			}
		}
	})
	w.until(t, "all was heard", func() bool { return heard.Load() == 6 })
	w.check(t)
}

func TestFleetComesBackWhenTheServerCloses(t *testing.T) {
	srv, handler := site(t)
	w := startFleet(t, 20, handler, func(o *FleetOptions) { o.CookiePath = "/cookie" })
	w.connectAll()
	w.until(t, "all have joined", func() bool { return w.joined.Load() == 20 })
	srv.DisconnectSockets(true)
	w.until(t, "all are back", func() bool { return w.lost.Load() == 20 && w.joined.Load() == 40 })
}

func TestFleetNamesTheStepThatFailed(t *testing.T) {
	_, handler := site(t)
	silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for name, test := range map[string]struct {
		handler http.Handler
		cookie  string
		polling bool
		port    uint16
		says    string
	}{
		"no such page":     {handler, "/none", false, 0, "set-cookie: HTTP 404"},
		"no cookie":        {http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), "/x", false, 0, "set-cookie: malformed HTTP response: no cookie"},
		"refused":          {handler, "", false, 0, "upgrade: upgrade refused"},
		"refused, polling": {handler, "", true, 0, "handshake: HTTP 403"},
		"no answer":        {silent, "", false, 0, "upgrade: no answer in time"},
		"no server":        {handler, "", false, 1, "dial: connect: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w := startFleet(t, 1, test.handler, func(o *FleetOptions) {
				o.CookiePath, o.Timeout = test.cookie, time.Minute
				if name == "no answer" {
					o.Timeout = 300 * time.Millisecond
				}
				place := o.Place
				o.Place = func(i, failed int) Place {
					p := place(i, failed)
					p.Polling = test.polling
					if test.port > 0 {
						p.Addr = netip.AddrPortFrom(p.Addr.Addr(), test.port)
					}
					return p
				}
			})
			w.connectAll()
			w.until(t, "it has tried more than once", func() bool { return w.failed.Load() > 1 })
			if got := *w.bad.Load(); !strings.HasPrefix(got, test.says) {
				t.Errorf("%q, want %q", got, test.says)
			}
		})
	}
}
