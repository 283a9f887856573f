package zishang520_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/zishang520/engine.io/v2/types"
	sio "github.com/zishang520/socket.io-go-parser/v2/parser"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/adapter/zishang520"
)

// A burst of broadcasts arrives whole and in order. That library's own adapter
// loses most of it.
func TestBurst(t *testing.T) {
	srv, address := newServer(t, nil, nil)
	c := connect(t, address, "/", "")
	const n = 2000
	for i := range n {
		srv.Emit("e", i)
		if i%100 == 0 {
			srv.Sockets().Emit("b", binary("x"))
		}
	}
	srv.Emit("end")
	eventually(t, "the end", func() bool { return c.count(`["end"`) == 1 })
	next := 0
	for _, e := range c.got() {
		var i int
		if k, _ := fmt.Sscanf(e, `["e",%d]`, &i); k == 1 {
			if i != next {
				t.Fatalf("got %s, want number %d", e, next)
			}
			next++
		}
	}
	if next != n || c.count(`["b"`) != n/100 {
		t.Errorf("got %d of %d, and %d of %d with binary", next, n, c.count(`["b"`), n/100)
	}
}

// Rooms that a middleware joins are there when the socket connects, and a socket
// that is refused leaves nothing behind.
func TestRoomsBeforeConnecting(t *testing.T) {
	srv, address := newServer(t, nil, nil)
	seen := make(chan bool, 2)
	srv.Use(func(s *socket.Socket, next func(*socket.ExtendedError)) {
		s.Join("early", "left")
		s.Leave("left")
		seen <- s.Rooms().Has("early") && !s.Rooms().Has("left")
		if len(s.Handshake().Query["refuse"]) > 0 {
			next(socket.NewExtendedError("no", nil))
			return
		}
		next(nil)
	})
	c := connect(t, address, "/", "")
	refused := dial(t, address, "/", "&refuse=1", "")
	eventually(t, "the refusal", func() bool { return refused.wasRefused() })
	for range 2 {
		if !<-seen {
			t.Error("the middleware does not see its rooms")
		}
	}
	eventually(t, "its rooms", func() bool {
		s, ok := srv.Sockets().Sockets().Load(socket.SocketId(c.id))
		return ok && s.Rooms().Len() == 2
	})
	srv.To("left").Emit("no")
	srv.To("early").Emit("yes")
	c.await(`["yes"]`)
	if n := c.count(`["no"`); n != 0 {
		t.Error("it is in a room that it left")
	}
	a := srv.Sockets().Adapter()
	eventually(t, "one socket is left", func() bool { return a.Sids().Len() == 1 && a.Sockets(nil).Len() == 1 })
	c.conn.Close()
	eventually(t, "nothing is left", func() bool {
		return a.Sids().Len() == 0 && a.Rooms().Len() == 0 && a.SocketRooms(socket.SocketId(c.id)) == nil
	})
}

// The adapter's events come as with the library's own adapters, and their
// listeners may change rooms.
func TestAdapterEvents(t *testing.T) {
	srv, address := newServer(t, nil, nil)
	a := srv.Sockets().Adapter()
	events := make(chan string, 100)
	for _, name := range []types.EventName{"create-room", "join-room", "leave-room", "delete-room"} {
		_ = a.On(name, func(args ...any) {
			events <- fmt.Sprint(name, " ", args[0])
			if name == "join-room" && args[0] == socket.Room("a") {
				srv.In(socket.Room(args[1].(socket.SocketId))).SocketsJoin("b")
			}
			if name == "leave-room" && args[0] == socket.Room("a") {
				if s, ok := srv.Sockets().Sockets().Load(args[1].(socket.SocketId)); ok {
					s.Leave("b")
				}
			}
		})
	}
	c := connect(t, address, "/", "")
	expect := func(want ...string) {
		t.Helper()
		for len(want) > 0 {
			select {
			case got := <-events:
				i := slices.Index(want, got)
				if i < 0 {
					t.Fatalf("got %s, want one of %q", got, want)
				}
				want = slices.Delete(want, i, i+1)
			case <-time.After(patience):
				t.Fatalf("waited in vain for %q", want)
			}
		}
	}
	expect("create-room "+c.id, "join-room "+c.id)
	srv.SocketsJoin("a")
	expect("create-room a", "join-room a", "create-room b", "join-room b")
	srv.SocketsLeave("a")
	expect("leave-room a", "delete-room a", "leave-room b", "delete-room b")
}

// custom is a parser that the bridge does not know.
type custom struct{ sio.Parser }

func TestOtherParsers(t *testing.T) {
	for name, p := range map[string]sio.Parser{"unknown": custom{sio.NewParser()}, "strict": zishang520.Parser()} {
		t.Run(name, func(t *testing.T) {
			srv, address := newServer(t, nil, func(o *socket.ServerOptions) { o.SetParser(p) })
			_ = srv.On("connection", func(args ...any) {
				s := args[0].(*socket.Socket)
				_ = s.On("echo", func(args ...any) {
					args[len(args)-1].(socket.Ack)(nil, nil)
					srv.Emit("echo", args[:len(args)-1]...)
				})
				s.Emit("ready")
			})
			c := connect(t, address, "/", "")
			c.await(`["ready"]`)
			c.writeBinary(`451-7["echo",{"_placeholder":true,"num":0},{"a":[1.5,null]}]`, "bytes")
			c.await(`["echo",{"_placeholder":true,"num":0},{"a":[1.5,null]}] "bytes"`)
		})
	}
}

func TestOutgoingListeners(t *testing.T) {
	srv, address := newServer(t, nil, nil)
	sent := make(chan string, 1)
	_ = srv.On("connection", func(args ...any) {
		s := args[0].(*socket.Socket)
		s.OnAnyOutgoing(func(args ...any) {
			s.Join("listened") // which must not wait for the broadcast
			sent <- fmt.Sprint(args...)
		})
		srv.Emit("e", 1, "x", binary("b"))
	})
	c := connect(t, address, "/", "")
	c.await(`["e",1,"x",{"_placeholder":true,"num":0}] "b"`)
	if got := <-sent; got != "e1xb" && got != "e1 xb" && got != "e1 x b" {
		t.Errorf("listener got %q", got)
	}
}

// A malformed packet ends its connection, and nothing else.
func TestMalformedPackets(t *testing.T) {
	srv, address := newServer(t, nil, func(o *socket.ServerOptions) { o.SetParser(zishang520.Parser()) })
	other := connect(t, address, "/", "")
	for _, message := range []string{"42", "42[]", "42{}", `42[{}]`, `42["connect"]`, "450-", `451-["x"`, "43", "431", "49", "4", "4x",
		`452-["x",{"_placeholder":true,"num":5},0]`} {
		c := connect(t, address, "/", "")
		c.write(message)
		eventually(t, message, func() bool { return closed(c.ended) })
	}
	// The protocol allows numbers for names.
	c := connect(t, address, "/", "")
	c.write("42[1]")
	srv.Emit("still here")
	for _, c := range []*client{c, other} {
		c.await(`["still here"]`)
	}
}

// An acknowledgement from a fetched socket that is gone is a timeout.
func TestNobodyToAnswer(t *testing.T) {
	srv, address := newServer(t, nil, nil)
	c := connect(t, address, "/", "")
	var fetched *socket.RemoteSocket
	eventually(t, "the socket", func() bool {
		srv.FetchSockets()(func(list []*socket.RemoteSocket, err error) {
			if len(list) == 1 && err == nil {
				fetched = list[0]
			}
		})
		return fetched != nil
	})
	c.conn.Close()
	eventually(t, "it is gone", func() bool { return srv.Sockets().Adapter().Sids().Len() == 0 })
	answer := make(chan error, 1)
	_ = fetched.Timeout(10*time.Millisecond).Emit("q", func(_ []any, err error) { answer <- err })
	if err := <-answer; err == nil {
		t.Error("somebody answered")
	}
}

func TestServerAlone(t *testing.T) {
	srv, _ := newServer(t, nil, nil)
	if n := srv.Sockets().Adapter().ServerCount(); n != 1 {
		t.Errorf("%d servers", n)
	}
	if err := srv.ServerSideEmit("e", func() {}); err == nil {
		t.Error("a function was sent")
	}
	answered := make(chan string, 1)
	err := srv.ServerSideEmitWithAck("e")(func(args []any, err error) { answered <- fmt.Sprint(args, err) })
	if got := <-answered; err != nil || got != "[] <nil>" {
		t.Errorf("answered %s, %v", got, err)
	}
}

// A socket for which too much waits is disconnected, and holds nobody else up.
func TestTooSlow(t *testing.T) {
	srv, address := newServer(t, nil, nil)
	release := make(chan struct{})
	defer close(release)
	_ = srv.On("connection", func(args ...any) {
		s := args[0].(*socket.Socket)
		s.Emit("ready")
		if len(s.Handshake().Query["slow"]) > 0 {
			s.OnAnyOutgoing(func(...any) { <-release })
		}
	})
	slow := connect(t, address, "/", "&slow=1")
	other := connect(t, address, "/", "")
	slow.await(`["ready"]`)
	other.await(`["ready"]`)
	n := 0
	for !closed(slow.ended) {
		srv.To(socket.Room(slow.id)).Emit("e", n)
		if n++; n > 1_000_000 {
			t.Fatal("it waits for ever")
		}
	}
	srv.Emit("end")
	other.await(`["end"]`)
}
