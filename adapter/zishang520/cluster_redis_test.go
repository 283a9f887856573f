//go:build redis

package zishang520_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"regexp"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/adapter/streams"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine"
)

func openStream(t testing.TB, r *redistest.Server) *redislog.Stream {
	t.Helper()
	stream, err := redislog.Open(t.Context(), r.Client(), redislog.Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := stream.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return stream
}

// cluster is a server of that library and one of ours.
type cluster struct {
	t         testing.TB
	redis     *redistest.Server
	theirs    *socket.Server
	ours      *twine.Server
	theirAddr string
	ourAddr   string
}

func newCluster(t testing.TB) *cluster { return newClusterWith(t, false) }

// newClusterWith makes a cluster whose server of ours has recovery on, or off.
func newClusterWith(t testing.TB, recovery bool) *cluster {
	t.Helper()
	c := &cluster{t: t, redis: redistest.Start(t)}
	c.theirs, c.theirAddr = newServer(t, openStream(t, c.redis), func(o *socket.ServerOptions) { o.SetCleanupEmptyChildNamespaces(true) })
	stream := openStream(t, c.redis)
	opts := &twine.Options{Adapter: streams.New(stream, streams.Options{Logger: quiet()}), Logger: quiet()}
	if recovery {
		opts.Recovery = &twine.Recovery{Shared: stream, Sessions: redislog.NewSessions(c.redis.Client(), redislog.SessionsOptions{})}
	}
	c.ours = twine.NewServer(opts)
	ourWeb := httptest.NewServer(c.ours)
	c.ourAddr = ourWeb.Listener.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.ours.Close(ctx); err != nil {
			t.Error(err)
		}
		ourWeb.Close()
	})
	c.meet("/")
	return c
}

// meet waits until both servers have the namespace.
func (c *cluster) meet(nsp string) {
	c.t.Helper()
	theirs, ours := c.theirs.Of(nsp, nil), c.ours.Of(nsp)
	eventually(c.t, "the servers know of each other", func() bool {
		n, err := ours.ServerCount(c.t.Context())
		return err == nil && n == 2 && theirs.Adapter().ServerCount() == 2
	})
}

// both connects a client to each server.
func (c *cluster) both() (theirs, ours *client) {
	c.t.Helper()
	return connect(c.t, c.theirAddr, "/", ""), connect(c.t, c.ourAddr, "/", "")
}

func (c *cluster) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func TestBroadcasts(t *testing.T) {
	c := newCluster(t)
	theirs, ours := c.both()
	for i, send := range []struct{ theirs, ours func() error }{
		{func() error { c.theirs.Emit("all", 1, nil, "é"); return nil },
			func() error { return c.ours.Emit("all", 1, nil, "é") }},
		{func() error {
			return c.theirs.Sockets().Emit("binary", binary("a"), map[string]any{"b": []any{[]byte("c"), 1.5}})
		},
			func() error {
				return c.ours.Emit("binary", []byte("a"), map[string]any{"b": []any{[]byte("c"), 1.5}})
			}},
		{func() error {
			return c.theirs.To(socket.Room(theirs.id), socket.Room(ours.id)).Emit("rooms", map[string]any{})
		},
			func() error { return c.ours.To(theirs.id, ours.id).Emit("rooms", map[string]any{}) }},
		{func() error { return c.theirs.Except("nobody").Compress(true).Emit("except") },
			func() error { return c.ours.Except("nobody").Compress(true).Emit("except") }},
	} {
		c.ok(send.theirs())
		for _, cl := range []*client{theirs, ours} {
			eventually(t, fmt.Sprint("their broadcast ", i), func() bool { return len(cl.got()) == 2*i+1 })
		}
		c.ok(send.ours())
		for _, cl := range []*client{theirs, ours} {
			eventually(t, fmt.Sprint("our broadcast ", i), func() bool { return len(cl.got()) == 2*i+2 })
		}
	}
	got, other := theirs.got(), ours.got()
	if !slices.Equal(got, other) {
		t.Errorf("the clients got\n%q and\n%q", got, other)
	}
	for i := 0; i < len(got); i += 2 {
		if got[i] != got[i+1] {
			t.Errorf("that library's server sent %s, ours %s", got[i], got[i+1])
		}
	}

	// Who is not meant gets nothing.
	c.ok(c.theirs.To(socket.Room(ours.id)).Emit("one"))
	c.ok(c.ours.Except(ours.id).Emit("other"))
	c.theirs.Local().Emit("near")
	c.ok(c.ours.Local().Emit("near too"))
	theirs.await(`["other"]`)
	c.theirs.Emit("end")
	theirs.await(`["end"]`)
	ours.await(`["end"]`)
	if got := append(theirs.got(), ours.got()...); len(got) != 0 {
		t.Errorf("got too much: %q", got)
	}

	// What is volatile is dropped where something else is still being sent.
	for name, emit := range map[string]func(event string) error{
		"their volatile event": func(event string) error { return c.theirs.Of("/", nil).Volatile().Emit(event, true) },
		"our volatile event":   func(event string) error { return c.ours.Volatile().Emit(event, true) },
	} {
		eventually(t, name, func() bool {
			c.ok(emit(name))
			packet := fmt.Sprintf(`[%q,true]`, name)
			return theirs.count(packet) > 0 && ours.count(packet) > 0
		})
	}
}

func TestNamespaces(t *testing.T) {
	c := newCluster(t)
	c.meet("/chat")
	theirs, ours := connect(t, c.theirAddr, "/chat", ""), connect(t, c.ourAddr, "/chat", "")
	elsewhere, also := c.both()
	c.theirs.Of("/chat", nil).Emit("e", 1)
	theirs.await(`["e",1]`)
	ours.await(`["e",1]`)
	c.ok(c.ours.Of("/chat").Emit("e", 2))
	theirs.await(`["e",2]`)
	ours.await(`["e",2]`)
	c.theirs.Emit("end")
	elsewhere.await(`["end"]`)
	also.await(`["end"]`)
	if n := elsewhere.count(`["e"`) + also.count(`["e"`); n != 0 {
		t.Errorf("%d events in another namespace", n)
	}
}

// A namespace that exists while it has clients joins and leaves the cluster.
func TestDynamicNamespaces(t *testing.T) {
	c := newCluster(t)
	c.theirs.Of(regexp.MustCompile("^/dynamic-"), nil)
	ours := c.ours.Of("/dynamic-1")
	servers := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprint("servers: ", want), func() bool {
			n, err := ours.ServerCount(t.Context())
			return err == nil && n == want
		})
	}
	for range 2 {
		servers(1)
		cl := connect(t, c.theirAddr, ours.Name(), "")
		servers(2)
		c.ok(ours.Emit("e", 1))
		cl.await(`["e",1]`)
		c.theirs.Of(ours.Name(), nil).Emit("e", 2)
		cl.await(`["e",2]`)
		cl.conn.Close()
	}
	servers(1)
}

func TestRoomCommands(t *testing.T) {
	c := newCluster(t)
	theirs, ours := c.both()
	they, us := socket.Room(theirs.id), ours.id
	eventuallyIn := func(want bool, room string) {
		t.Helper()
		eventually(t, fmt.Sprintf("in %s: %v", room, want), func() bool {
			s, ok := c.theirs.Sockets().Sockets().Load(socket.SocketId(theirs.id))
			return ok && s.Rooms().Has(socket.Room(room)) == want && slices.Contains(c.ours.Of("/").Socket(us).Rooms(), room) == want
		})
	}
	c.theirs.In(they, socket.Room(us)).SocketsJoin("a", "b")
	eventuallyIn(true, "a")
	eventuallyIn(true, "b")
	c.theirs.In("a").SocketsLeave("b")
	eventuallyIn(false, "b")
	c.ok(c.ours.To("a").SocketsJoin("c"))
	eventuallyIn(true, "c")
	c.ok(c.ours.To("c").SocketsLeave("a"))
	eventuallyIn(false, "a")
	// The library's own maps follow.
	eventually(t, "the map of rooms", func() bool {
		var names []string
		for _, name := range c.theirs.Sockets().Adapter().Rooms().Keys() {
			names = append(names, string(name))
		}
		sort.Strings(names)
		want := []string{"c", theirs.id}
		sort.Strings(want)
		return slices.Equal(names, want)
	})

	// Who leaves gets what was sent before.
	s, _ := c.theirs.Sockets().Sockets().Load(socket.SocketId(theirs.id))
	for i := range 50 {
		s.Join("d")
		c.theirs.To("d").Emit("n", i)
		s.Leave("d")
	}
	for i := range 50 {
		theirs.await(fmt.Sprintf(`["n",%d]`, i))
	}

	// What is sent before is received before.
	c.theirs.To(socket.Room(us)).Emit("bye")
	c.theirs.In(socket.Room(us)).DisconnectSockets(false)
	eventually(t, "our client is disconnected", ours.hasLeft)
	ours.await(`["bye"]`)
	c.ok(c.ours.To(theirs.id).Emit("bye"))
	c.ok(c.ours.To(theirs.id).DisconnectSockets(false))
	eventually(t, "their client is disconnected", theirs.hasLeft)
	theirs.await(`["bye"]`)

	theirs, ours = c.both()
	c.theirs.DisconnectSockets(true)
	eventually(t, "their connection is closed", func() bool { return closed(theirs.ended) })
	eventually(t, "our connection is closed", func() bool { return closed(ours.ended) })
}

func TestFetchSockets(t *testing.T) {
	c := newCluster(t)
	_ = c.theirs.On("connection", func(clients ...any) {
		s := clients[0].(*socket.Socket)
		s.Join("room")
		s.SetData(map[string]any{"n": 1})
	})
	c.ours.OnConnect(func(s *twine.Socket) {
		s.Join("room")
		s.SetData(map[string]int{"n": 2})
	})
	theirs := connect(t, c.theirAddr, "/", "&who=theirs")
	ours := connect(t, c.ourAddr, "/", "&who=ours")

	eventually(t, "both are in their room", func() bool {
		list, err := c.ours.To("room").FetchSockets(t.Context())
		return err == nil && len(list) == 2
	})
	list, err := c.ours.To("room").FetchSockets(t.Context())
	c.ok(err)
	for _, r := range list {
		h, err := r.Handshake()
		c.ok(err)
		var data struct{ N int }
		c.ok(r.BindData(&data))
		want := 2
		if r.ID() == theirs.id {
			want = 1
		}
		if data.N != want || h.Query.Get("who") != map[int]string{1: "theirs", 2: "ours"}[want] || h.Address == "" ||
			h.Header.Get("Upgrade") == "" || !slices.Contains(r.Rooms(), "room") || !slices.Contains(r.Rooms(), r.ID()) {
			t.Errorf("fetched by us: %s, %+v, rooms %v, %+v", r.ID(), h, r.Rooms(), data)
		}
	}

	called := false
	c.theirs.In("room").FetchSockets()(func(list []*socket.RemoteSocket, err error) {
		called = true
		if err != nil || len(list) != 2 {
			t.Fatalf("%d sockets, %v", len(list), err)
		}
		for _, r := range list {
			who, n := "ours", "2"
			if r.Id() == socket.SocketId(theirs.id) {
				who, n = "theirs", "1"
			}
			h := r.Handshake()
			if !slices.Equal(h.Query["who"], []string{who}) || h.Address == "" || len(h.Headers["Upgrade"]) != 1 || h.Issued == 0 ||
				!r.Rooms().Has("room") || fmt.Sprint(r.Data()) != "map[n:"+n+"]" {
				t.Errorf("fetched by them: %s, %+v, rooms %v, %v", r.Id(), h, r.Rooms().Keys(), r.Data())
			}
			c.ok(r.Emit("you", string(r.Id())))
		}
	})
	if !called {
		t.Error("no answer")
	}
	ours.await(fmt.Sprintf(`["you",%q]`, ours.id))
	theirs.await(fmt.Sprintf(`["you",%q]`, theirs.id))
}

func TestServerSideEvents(t *testing.T) {
	c := newCluster(t)
	theirs := make(chan string, 10)
	_ = c.theirs.On("news", func(args ...any) { theirs <- fmt.Sprint(args...) })
	_ = c.theirs.On("question", func(args ...any) {
		// A handler may ask in its turn.
		c.theirs.FetchSockets()(func(_ []*socket.RemoteSocket, err error) {
			args[1].(socket.Ack)([]any{args[0], "theirs", err}, nil)
		})
	})
	ours := make(chan string, 10)
	c.ours.OnServerEvent("news", func(_ context.Context, e *twine.Event) {
		var n int
		var b []byte
		if err := e.Args(&n, &b); err != nil {
			t.Error(err)
		}
		ours <- fmt.Sprint(n, string(b))
	})
	c.ours.OnServerEvent("question", func(_ context.Context, e *twine.Event) {
		var n int
		if err := e.Bind(0, &n); err != nil {
			t.Error(err)
		}
		if err := e.Ack(n, "ours"); err != nil {
			t.Error(err)
		}
	})

	c.ok(c.theirs.ServerSideEmit("news", 1, binary("b")))
	c.ok(c.ours.ServerSideEmit("news", 2, []byte("b")))
	for _, ch := range []chan string{theirs, ours} {
		select {
		case got := <-ch:
			if got != "1b" && got != "1 b" && got != "2 b" && got != "2b" {
				t.Errorf("got %q", got)
			}
		case <-time.After(patience):
			t.Fatal("no event")
		}
	}

	replies, err := c.ours.ServerSideEmitWithAck(t.Context(), "question", 3)
	c.ok(err)
	var n int
	var who string
	if len(replies) != 1 || replies[0].Args(&n, &who) != nil || n != 3 || who != "theirs" {
		t.Errorf("we were answered %d times: %d, %s", len(replies), n, who)
	}
	answered := make(chan string, 1)
	c.ok(c.theirs.ServerSideEmitWithAck("question", 4)(func(args []any, err error) { answered <- fmt.Sprint(args, err) }))
	select {
	case got := <-answered:
		if got != "[[4 ours]] <nil>" {
			t.Errorf("they were answered %s", got)
		}
	case <-time.After(patience):
		t.Fatal("no answer")
	}
}

func TestAcknowledgements(t *testing.T) {
	c := newCluster(t)
	theirs, ours := c.both()
	theirs.answerWith(`["theirs",1]`)
	ours.answerWith(`["ours"]`)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	replies, err := c.ours.EmitWithAck(ctx, "q", []byte("b"))
	c.ok(err)
	var got []string
	for _, r := range replies {
		var who string
		c.ok(r.Bind(0, &who))
		got = append(got, who)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"ours", "theirs"}) {
		t.Errorf("we were answered %q", got)
	}
	theirs.await(`["q",{"_placeholder":true,"num":0}] "b"`)

	answered := make(chan string, 1)
	ask := func(op *socket.BroadcastOperator, want string) {
		t.Helper()
		op.Timeout(patience).EmitWithAck("q", 2)(func(args []any, err error) {
			var all []string
			for _, a := range args {
				all = append(all, fmt.Sprint(a))
			}
			slices.Sort(all)
			answered <- fmt.Sprint(all, err)
		})
		select {
		case got := <-answered:
			if got != want {
				t.Errorf("they were answered %s, want %s", got, want)
			}
		case <-time.After(patience + 5*time.Second):
			t.Error("no answer")
		}
	}
	ask(c.theirs.Except("nobody"), "[ours theirs] <nil>")
	ask(c.theirs.To(socket.Room(ours.id)), "[ours] <nil>")
	ask(c.theirs.To("nobody"), "[] <nil>")
	ask(c.theirs.Local(), "[theirs] <nil>")
	ours.await(`["q",2]`)

	// Of a fetched socket the library expects one answer, with all its arguments.
	theirs.answerWith(`["theirs",1]`)
	c.theirs.FetchSockets()(func(list []*socket.RemoteSocket, _ error) {
		for _, r := range list {
			want := "[ours] <nil>"
			if string(r.Id()) == theirs.id {
				want = "[1 theirs] <nil>" // sorted
			}
			ask(r.Timeout(patience), want)
		}
	})

	// Who leaves without an answer is missed by us at once.
	theirs.answerWith("")
	failed := make(chan error, 1)
	go func() {
		_, err := c.ours.To(theirs.id).EmitWithAck(ctx, "leave", 1)
		failed <- err
	}()
	theirs.await(`["leave",1]`)
	theirs.conn.Close()
	select {
	case err := <-failed:
		if err == nil {
			t.Error("a client that left has answered")
		}
	case <-time.After(patience / 2):
		t.Error("a client that left is still waited for")
	}
}

func TestServerCount(t *testing.T) {
	c := newCluster(t)
	if n := c.theirs.Sockets().Adapter().ServerCount(); n != 2 {
		t.Errorf("they count %d", n)
	}
	c.theirs.Close(nil)
	eventually(t, "we are alone", func() bool {
		n, err := c.ours.Of("/").ServerCount(t.Context())
		return err == nil && n == 1
	})
}
