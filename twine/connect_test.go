package twine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine"
)

// What is broadcast while a socket connects comes after its CONNECT packet. From then on nothing is missed: what the
// client sees has no hole.
func TestBroadcastsWhileConnecting(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	srv.Use(func(_ context.Context, s *twine.Socket) error { s.Join("room"); return nil })
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	var last int
	publisher.Go(func() {
		pace := time.NewTicker(50 * time.Microsecond)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			if err := srv.To("room").Emit("n", last); err != nil {
				t.Error(err)
			}
			last++
		}
	})
	var clients []*testClient
	for range 20 {
		c := dial(t, srv)
		c.join("/", "") // fails if anything else comes first
		clients = append(clients, c)
	}
	close(stop)
	publisher.Wait()
	if err := srv.To("room").Emit("n", last); err != nil { // for those who have got none yet
		t.Error(err)
	}
	last++
	for _, c := range clients {
		n := -1
		for n != last-1 {
			var got int
			text := describe(c.next())
			if _, err := fmt.Sscanf(text, `2["n",%d]`, &got); err != nil || n >= 0 && got != n+1 {
				t.Fatalf("got %s after %d", text, n)
			}
			n = got
		}
		c.sync()
	}
}

// An event that a client sends right behind its CONNECT finds its handlers, which the connect handlers register.
func TestEventRightAfterConnect(t *testing.T) {
	srv := serve(t, nil)
	srv.OnConnect(func(s *twine.Socket) {
		twine.On(s, "ping", func(context.Context, any) (string, error) { return "pong", nil })
	})
	for range 50 {
		c := dial(t, srv)
		c.join("/", "")
		c.send(`20["ping"]`)
		c.expect(`30["pong"]`)
		c.cut()
	}
}

// An event for a namespace whose middleware has not let the client in closes the connection, as in the reference.
func TestEventWhileJoining(t *testing.T) {
	srv := serve(t, nil)
	srv.Use(func(ctx context.Context, _ *twine.Socket) error {
		<-ctx.Done()
		return ctx.Err()
	})
	srv.On("x", func(context.Context, *twine.Socket, *twine.Event) { t.Error("handled") })
	c := dial(t, srv)
	c.send("0")
	c.send(`2["x"]`)
	c.expectClosed()
}

// A client that leaves before it was let in is not let in.
func TestDisconnectWhileJoining(t *testing.T) {
	srv := serve(t, nil)
	entered := make(chan struct{}, 1)
	srv.Use(func(ctx context.Context, _ *twine.Socket) error {
		entered <- struct{}{}
		<-ctx.Done()
		return nil
	})
	srv.OnConnect(func(*twine.Socket) { t.Error("connected") })
	srv.Of("/other")
	c := dial(t, srv)
	c.send("0")
	receive(t, entered)
	c.send("1")
	c.join("/other", "") // the connection still stands
}
