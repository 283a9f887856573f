package twine_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
)

func TestDisconnectReasons(t *testing.T) {
	heartbeat := &twine.Options{Engine: engineio.Options{PingInterval: 50 * time.Millisecond, PingTimeout: 300 * time.Millisecond}}
	for _, test := range []struct {
		want string
		opts *twine.Options
		do   func(srv *testServer, c *testClient, s *twine.Socket)
	}{
		{twine.ReasonTransportClose, nil, func(_ *testServer, c *testClient, _ *twine.Socket) { c.cut() }},
		{twine.ReasonClientDisconnect, nil, func(_ *testServer, c *testClient, _ *twine.Socket) { c.send("1") }},
		{twine.ReasonServerDisconnect, nil, func(_ *testServer, c *testClient, s *twine.Socket) {
			s.Disconnect(false)
			c.expect("1")
			c.join("/", "")
		}},
		{twine.ReasonServerDisconnect, nil, func(_ *testServer, c *testClient, s *twine.Socket) {
			s.Disconnect(true)
			c.expect("1")
			c.expectClosed()
		}},
		{twine.ReasonParseError, nil, func(_ *testServer, c *testClient, _ *twine.Socket) { c.send("garbage") }},
		{twine.ReasonForcedClose, nil, func(_ *testServer, c *testClient, _ *twine.Socket) { c.send(`2/unknown,["x"]`) }},
		{twine.ReasonPingTimeout, heartbeat, func(_ *testServer, c *testClient, _ *twine.Socket) {
			c.mute.Store(true)
		}},
		{twine.ReasonServerShutdown, nil, func(srv *testServer, c *testClient, _ *twine.Socket) {
			if err := srv.Close(testContext(t)); err != nil {
				t.Error(err)
			}
			c.expectClosed()
			if len(c.packets) > 0 {
				t.Errorf("the client was told %s; it would not come back", describe(c.next()))
			}
		}},
	} {
		t.Run(test.want, func(t *testing.T) {
			srv := serve(t, test.opts)
			var mu sync.Mutex
			var calls []string
			note := func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, fmt.Sprintf(format, args...))
			}
			var once atomic.Bool
			srv.OnConnect(func(s *twine.Socket) {
				if once.Swap(true) {
					return
				}
				s.Join("room")
				s.OnDisconnecting(func(reason string) { note("disconnecting %s, %d rooms", reason, len(s.Rooms())) })
				s.OnDisconnect(func(reason string) {
					note("disconnect %s, %d rooms, alive %v", reason, len(s.Rooms()), s.Context().Err() == nil)
				})
			})
			c, s := connected(t, srv)
			eventually(t, "the room is joined", func() bool { return len(s.Rooms()) == 2 })
			test.do(srv, c, s)
			receive(t, s.Context().Done())
			mu.Lock()
			defer mu.Unlock()
			want := []string{"disconnecting " + test.want + ", 2 rooms", "disconnect " + test.want + ", 0 rooms, alive true"}
			if fmt.Sprint(calls) != fmt.Sprint(want) {
				t.Errorf("got %q, want %q", calls, want)
			}
			if s.Connected() {
				t.Error("it says that it is connected")
			}
			if err := s.Emit("x"); !errors.Is(err, twine.ErrDisconnected) {
				t.Errorf("Emit returned %v", err)
			}
			if s.Join("late"); srv.Of("/").Adapter().Rooms()["late"] != 0 {
				t.Error("a dead socket joined a room")
			}
			s.Disconnect(true) // nothing happens
			s.Disconnect(false)
		})
	}
}

func TestDisconnectOfOneNamespaceLeavesTheOthers(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	chat := srv.Of("/chat")
	c, _ := connected(t, srv)
	s := chat.Socket(c.join("/chat", ""))
	s.Disconnect(false)
	c.expect("1/chat,")
	c.send(`2/chat,["late"]`) // crossed our packet: no reason to close the connection
	c.sync()
	s = chat.Socket(c.join("/chat", ""))
	s.Disconnect(true)
	seen := map[string]bool{describe(c.next()): true, describe(c.next()): true}
	if !seen["1"] || !seen["1/chat,"] {
		t.Errorf("the client was told %v", seen)
	}
	c.expectClosed()
}

// A client's last words are heard, with a context that can still be used.
func TestEventsBeforeTheDisconnectAreHandled(t *testing.T) {
	srv := serve(t, nil)
	release := make(chan struct{})
	heard := make(chan error, 8)
	srv.On("words", func(ctx context.Context, _ *twine.Socket, _ *twine.Event) {
		<-release
		heard <- ctx.Err()
	})
	c, s := connected(t, srv)
	for range 3 {
		c.send(`2["words"]`)
	}
	c.send(`1`)
	eventually(t, "the disconnect is noticed", func() bool { return !s.Connected() })
	close(release)
	for range 3 {
		if err := receive(t, heard); err != nil {
			t.Errorf("the context had ended: %v", err)
		}
	}
	receive(t, s.Context().Done())
}

// Whom the server throws out is not listened to any more.
func TestEventsAfterTheServersDisconnectAreDropped(t *testing.T) {
	srv := serve(t, nil)
	var heard atomic.Int32
	proceed := make(chan struct{})
	srv.On("words", func(_ context.Context, s *twine.Socket, _ *twine.Event) {
		heard.Add(1)
		<-proceed
		s.Disconnect(true)
	})
	c, s := connected(t, srv)
	for range 5 {
		c.send(`2["words"]`)
	}
	close(proceed)
	receive(t, s.Context().Done())
	if n := heard.Load(); n != 1 {
		t.Errorf("%d events were handled", n)
	}
}

func TestTheContextOfADisconnectedSocketEndsDespiteASlowHandler(t *testing.T) {
	srv := serve(t, &twine.Options{DisconnectGrace: 10 * time.Millisecond})
	ended := make(chan error, 1)
	srv.On("slow", func(ctx context.Context, _ *twine.Socket, _ *twine.Event) {
		derived, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		<-derived.Done()
		ended <- context.Cause(derived)
	})
	c, _ := connected(t, srv)
	c.send(`2["slow"]`)
	c.cut()
	if err := receive(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("the context ended with %v", err)
	}
}

// A socket whose transport dies while its middleware runs must neither leak nor be left in rooms.
func TestTransportDiesDuringMiddleware(t *testing.T) {
	srv := serve(t, nil)
	entered, left := make(chan *twine.Socket, 1), make(chan error, 1)
	srv.Use(func(ctx context.Context, s *twine.Socket) error {
		s.Join("room")
		entered <- s
		<-ctx.Done()
		left <- ctx.Err()
		return nil // it would let the client in
	})
	srv.OnConnect(func(*twine.Socket) { t.Error("connected") })
	srv.OnDisconnect(func(*twine.Socket, string) { t.Error("disconnected, but never connected") })
	c := dial(t, srv)
	c.send("0")
	s := receive(t, entered)
	c.cut()
	if err := receive(t, left); !errors.Is(err, context.Canceled) {
		t.Errorf("the middleware's context ended with %v", err)
	}
	eventually(t, "nothing is left", func() bool {
		return len(srv.Of("/").Adapter().Rooms()) == 0 && len(srv.Of("/").Sockets()) == 0 && s.Rooms() == nil
	})
}

// A stock client that gives up and connects again, on the same connection and while the middleware is busy, sends a
// second CONNECT. It gets one answer.
func TestSecondConnectReplacesTheFirstWhileMiddlewareRuns(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	entered := make(chan *twine.Socket, 2)
	var first atomic.Bool
	srv.Use(func(ctx context.Context, s *twine.Socket) error {
		entered <- s
		if !first.Swap(true) {
			<-ctx.Done()
		}
		return nil
	})
	c := dial(t, srv)
	c.send("0")
	receive(t, entered)
	sid := c.join("/", "")
	if s := receive(t, entered); s.ID() != sid {
		t.Errorf("%s connected, but %s was the second", sid, s.ID())
	}
	c.sync()
	if n := len(srv.Of("/").Sockets()); n != 1 {
		t.Errorf("%d sockets", n)
	}
}

func TestConnectTimeout(t *testing.T) {
	srv := serve(t, &twine.Options{ConnectTimeout: 400 * time.Millisecond}) // long enough for the one that joins
	onSync(srv)
	idle := dial(t, srv)
	busy, _ := connected(t, srv)
	idle.expectClosed()
	busy.sync()
}

func TestCloseWaitsForHandlers(t *testing.T) {
	srv := serve(t, nil)
	entered, proceed := make(chan struct{}), make(chan struct{})
	var done atomic.Bool
	srv.On("work", func(ctx context.Context, _ *twine.Socket, _ *twine.Event) {
		close(entered)
		<-proceed
		done.Store(ctx.Err() == nil)
	})
	var late atomic.Bool
	srv.OnDisconnect(func(*twine.Socket, string) { late.Store(done.Load()) })
	c, _ := connected(t, srv)
	c.send(`2["work"]`)
	receive(t, entered)
	closed := make(chan error, 1)
	go func() { closed <- srv.Close(testContext(t)) }()
	c.expectClosed()
	select {
	case err := <-closed:
		t.Fatalf("Close returned %v while a handler ran", err)
	default:
	}
	close(proceed)
	if err := receive(t, closed); err != nil {
		t.Error(err)
	}
	if !done.Load() || !late.Load() {
		t.Error("Close returned before the handlers were done")
	}
	if err := srv.Close(context.Background()); err != nil {
		t.Errorf("second Close returned %v", err)
	}
	response, err := http.Get(srv.url + "?EIO=4&transport=polling")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a closed server answered %s", response.Status)
	}
}

func TestCloseGivesUpWhenItsContextEnds(t *testing.T) {
	srv := serve(t, nil)
	entered, left := make(chan struct{}), make(chan struct{})
	srv.On("work", func(ctx context.Context, _ *twine.Socket, _ *twine.Event) {
		close(entered)
		<-ctx.Done()
		close(left)
	})
	c, _ := connected(t, srv)
	c.send(`2["work"]`)
	receive(t, entered)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := srv.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close returned %v", err)
	}
	receive(t, left) // its context ended
}

// A full inbox holds the client back. If that lasts, the connection is closed.
func TestHandlersThatDoNotKeepUp(t *testing.T) {
	srv := serve(t, &twine.Options{MaxPendingEvents: 2, Engine: engineio.Options{PingTimeout: 50 * time.Millisecond}})
	proceed := make(chan struct{})
	var handled atomic.Int32
	srv.On("work", func(context.Context, *twine.Socket, *twine.Event) {
		<-proceed
		handled.Add(1)
	})
	c, s := connected(t, srv)
	for range 100 {
		c.send(`2["work"]`)
	}
	c.expectClosed()
	close(proceed)
	receive(t, s.Context().Done())
	if n := handled.Load(); n > 4 {
		t.Errorf("%d events were handled", n)
	}
	if !strings.Contains(srv.log.String(), "handlers do not keep up") {
		t.Error("it was not logged")
	}
}

// A cut connection ends the wait of a reader at a full inbox at once.
func TestDisconnectWhileTheInboxIsFull(t *testing.T) {
	srv := serve(t, &twine.Options{MaxPendingEvents: 1})
	entered, proceed := make(chan struct{}, 8), make(chan struct{})
	srv.On("work", func(_ context.Context, s *twine.Socket, _ *twine.Event) {
		entered <- struct{}{}
		<-proceed
	})
	c, s := connected(t, srv)
	for range 4 {
		c.send(`2["work"]`)
	}
	receive(t, entered)
	s.Disconnect(true)
	eventually(t, "the engine lets go of the session", func() bool { return srv.Engine().ClientsCount() == 0 })
	close(proceed)
	receive(t, s.Context().Done())
}

// A handler that ends its goroutine, as t.FailNow does, must not take the socket with it.
func TestHandlerThatCallsGoexit(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	gone := make(chan string, 1)
	srv.On("exit", func(context.Context, *twine.Socket, *twine.Event) { runtimeGoexit() })
	srv.OnDisconnecting(func(*twine.Socket, string) { runtimeGoexit() })
	srv.OnDisconnect(func(_ *twine.Socket, reason string) { gone <- reason })
	c, s := connected(t, srv)
	c.send(`2["exit"]`)
	c.sync()
	c.cut()
	receive(t, gone)
	receive(t, s.Context().Done())
	if n := len(srv.Of("/").Sockets()); n != 0 {
		t.Errorf("%d sockets are left", n)
	}
}

func TestMiddlewareThatCallsGoexit(t *testing.T) {
	srv := serve(t, nil)
	srv.Use(func(context.Context, *twine.Socket) error { runtimeGoexit(); return nil })
	c := dial(t, srv)
	c.send("0")
	c.expect(`4{"message":"internal error"}`)
}

// Whatever meets whatever: every socket that was connected is disconnected once, and nothing is left behind.
func TestInterleavingsOfConnectDisconnectAndBroadcast(t *testing.T) {
	srv := serve(t, nil)
	var connects, disconnects, disconnectings atomic.Int64
	srv.Use(func(_ context.Context, s *twine.Socket) error { s.Join("all"); return nil })
	srv.OnConnect(func(s *twine.Socket) {
		connects.Add(1)
		s.Join("more")
	})
	srv.OnDisconnecting(func(*twine.Socket, string) { disconnectings.Add(1) })
	srv.OnDisconnect(func(s *twine.Socket, _ string) {
		disconnects.Add(1)
		s.Join("too late")
	})
	srv.On("bye", func(_ context.Context, s *twine.Socket, e *twine.Event) { s.Disconnect(e.Len() > 0) })

	stop := make(chan struct{})
	var background sync.WaitGroup
	for _, f := range []func(){
		func() { _ = srv.To("all").Emit("news", 1) },
		func() { _ = srv.Emit("everyone") },
		func() { _ = srv.To("all", "more").Volatile().Emit("both") },
		func() { _ = srv.To("more").SocketsJoin("remote") },
		func() {
			_, _ = srv.To("all").Timeout(time.Millisecond).EmitWithAck(context.Background(), "question")
		},
		func() { _, _ = srv.FetchSockets(context.Background()) },
	} {
		background.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		})
	}
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for round := range 12 {
				c := dialQuietly(t, srv)
				if c == nil {
					return
				}
				c.send("0")
				if round%3 > 0 {
					select {
					case <-c.packets:
					case <-c.done:
					}
				}
				switch (i + round) % 5 {
				case 0:
					c.send(`2["bye"]`)
				case 1:
					c.send(`2["bye",1]`)
				case 2:
					c.send(`1`)
				case 3:
					c.send(`1`)
					c.send(`0`)
				}
				c.cut()
			}
		})
	}
	clients.Wait()
	close(stop)
	background.Wait()
	if err := srv.Close(testContext(t)); err != nil { // it waits for all handlers
		t.Fatal(err)
	}
	if n := len(srv.Of("/").Sockets()); n > 0 {
		t.Errorf("%d sockets are left", n)
	}
	if rooms := srv.Of("/").Adapter().Rooms(); len(rooms) > 0 {
		t.Errorf("rooms are left: %v", rooms)
	}
	if n := connects.Load(); n == 0 || disconnectings.Load() != n || disconnects.Load() != n {
		t.Errorf("%d connects, %d disconnectings, %d disconnects", n, disconnectings.Load(), disconnects.Load())
	}
}
