package twine_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine"
)

func TestBroadcastOperators(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	names := []string{"a", "b", "c"}
	clients, sockets := map[string]*testClient{}, map[string]*twine.Socket{}
	for _, name := range names {
		clients[name], sockets[name] = connected(t, srv)
		sockets[name].Join("all", name)
	}
	sockets["a"].Join("ab")
	sockets["b"].Join("ab")
	a := sockets["a"]
	for _, test := range []struct {
		name string
		emit func(string, ...any) error
		want string
	}{
		{"everyone", srv.Emit, "abc"},
		{"local", srv.Local().Emit, "abc"},
		{"volatile", srv.Volatile().Emit, "abc"},
		{"compressed", srv.Compress(true).Emit, "abc"},
		{"one room", srv.To("ab").Emit, "ab"},
		{"rooms that overlap", srv.To("ab", "all").In("c").Emit, "abc"},
		{"a room twice", srv.To("ab").To("ab").Emit, "ab"},
		{"no such room", srv.To("z").Emit, ""},
		{"except a room", srv.Except("ab").Emit, "c"},
		{"room except a room", srv.To("all").Except("c", "z").Emit, "ab"},
		{"one client", srv.To(a.ID()).Emit, "a"},
		{"socket", a.Emit, "a"},
		{"socket, volatile", a.Volatile().Compress(false).Emit, "a"},
		{"socket's broadcast", a.Broadcast().Emit, "bc"},
		{"socket's local", a.Local().Emit, "bc"},
		{"socket to a room", a.To("ab").Emit, "b"},
		{"socket in a room", a.In("all").Emit, "bc"},
		{"socket except a room", a.Except("c").Emit, "b"},
	} {
		for _, s := range sockets {
			eventually(t, "nothing is under way", func() bool { return s.Conn().QueuedBytes() == 0 })
		}
		if err := test.emit("x", test.name, []byte("blob")); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			c := clients[name]
			if strings.Contains(test.want, name) {
				p := c.next()
				if want := fmt.Sprintf(`2["x",%q,{"_placeholder":true,"num":0}]`, test.name); describe(p) != want {
					t.Fatalf("%s got %s, want %s", name, describe(p), want)
				}
				if string(p.Attachments[0]) != "blob" {
					t.Errorf("attachment %q", p.Attachments[0])
				}
			}
			c.sync() // and nothing else
		}
	}
}

func TestOperatorsAreImmutable(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	c1, s1 := connected(t, srv)
	c2, s2 := connected(t, srv)
	s1.Join("base", "one")
	s2.Join("two")
	base := srv.To("base", "x", "y")
	one, two := base.To("one"), base.To("two")
	if err := errors.Join(one.Emit("one"), two.Emit("two"), base.Emit("base")); err != nil {
		t.Fatal(err)
	}
	c1.expect(`2["one"]`, `2["two"]`, `2["base"]`)
	c2.expect(`2["two"]`)
	c2.sync()
}

func TestConcurrentPublishersKeepTheirOrder(t *testing.T) {
	srv := serve(t, nil)
	const publishers, each = 4, 200
	var clients []*testClient
	for range 5 {
		c, s := connected(t, srv)
		s.Join("room")
		clients = append(clients, c)
	}
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				if err := srv.To("room").Emit("n", p, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var first []string
	for _, c := range clients {
		var got []string
		next := make([]int, publishers)
		for range publishers * each {
			text := describe(c.next())
			var p, i int
			if _, err := fmt.Sscanf(text, `2["n",%d,%d]`, &p, &i); err != nil || i != next[p] {
				t.Fatalf("got %s, want number %d of it", text, next[p])
			}
			next[p]++
			got = append(got, text)
		}
		if first == nil {
			first = got
		} else if !slices.Equal(first, got) {
			t.Fatal("two members of a room saw different orders")
		}
	}
}

func TestRemoteControl(t *testing.T) {
	srv := serve(t, nil)
	c1, s1 := connected(t, srv)
	c2, s2 := connected(t, srv)
	s1.SetData(map[string]int{"n": 1})
	if err := errors.Join(srv.To(s1.ID()).SocketsJoin("a", "b"), srv.SocketsJoin("all"), srv.In("a").SocketsLeave("b")); err != nil {
		t.Fatal(err)
	}
	all, err := srv.FetchSockets(testContext(t))
	if err != nil || len(all) != 2 {
		t.Fatalf("fetched %d sockets: %v", len(all), err)
	}
	found, err := srv.In("a").FetchSockets(testContext(t))
	if err != nil || len(found) != 1 {
		t.Fatalf("fetched %d sockets: %v", len(found), err)
	}
	r := found[0]
	rooms := slices.Sorted(slices.Values(r.Rooms()))
	want := slices.Sorted(slices.Values([]string{"a", "all", s1.ID()}))
	if r.ID() != s1.ID() || !slices.Equal(rooms, want) {
		t.Errorf("%s is in %v, want %v", r.ID(), rooms, want)
	}
	var data struct{ N int }
	if err := r.BindData(&data); err != nil || data.N != 1 {
		t.Errorf("data %v: %v", data, err)
	}
	h, err := r.Handshake()
	if err != nil || h.Query.Get("EIO") != "4" || h.Address != "127.0.0.1" || string(h.Auth) != "{}" || h.Header.Get("Upgrade") == "" {
		t.Errorf("handshake %+v: %v", h, err)
	}
	if err := errors.Join(r.Join("late"), r.Leave("a"), r.Emit("x")); err != nil {
		t.Fatal(err)
	}
	c1.expect(`2["x"]`)
	if rooms := s1.Rooms(); !slices.Contains(rooms, "late") || slices.Contains(rooms, "a") {
		t.Errorf("rooms %v", rooms)
	}
	replies := make(chan error, 1)
	go func() {
		reply, err := r.EmitWithAck(testContext(t), "y")
		if err == nil && string(reply.Raw(0)) != "1" {
			err = fmt.Errorf("got %s", reply.Raw(0))
		}
		replies <- err
	}()
	c1.expect(`20["y"]`)
	c1.send(`30[1]`)
	if err := receive(t, replies); err != nil {
		t.Error(err)
	}
	if err := r.Disconnect(false); err != nil {
		t.Fatal(err)
	}
	c1.expect("1")
	if err := srv.In(s2.ID()).DisconnectSockets(true); err != nil {
		t.Fatal(err)
	}
	c2.expect("1")
	c2.expectClosed()
	if _, err := r.EmitWithAck(testContext(t), "z"); !errors.Is(err, twine.ErrDisconnected) {
		t.Errorf("a socket that is gone: %v", err)
	}
	if n, err := srv.Of("/").ServerCount(testContext(t)); n != 1 || err != nil {
		t.Errorf("%d servers, %v", n, err)
	}
	if replies, err := srv.ServerSideEmitWithAck(testContext(t), "x"); len(replies) != 0 || err != nil {
		t.Errorf("other servers answered: %v, %v", replies, err)
	}
	if err := srv.ServerSideEmit("x", make(chan int)); err == nil {
		t.Error("a channel was sent to servers")
	}
}

// twoServers is an adapter that passes events for servers on to itself, as if it were another server.
type twoServers struct {
	*adapter.InProcess
	host adapter.Host
}

func (a twoServers) ServerSideEmitWithAck(_ context.Context, data []byte, attachments [][]byte) ([]adapter.Answer, error) {
	var answers []adapter.Answer
	a.host.ServerSideEvent(data, attachments, func(data []byte, attachments [][]byte) {
		answers = append(answers, adapter.Answer{Data: data, Attachments: attachments})
	})
	return answers, nil
}

func TestServerSideEvents(t *testing.T) {
	srv := serve(t, &twine.Options{Adapter: func(h adapter.Host) (adapter.Adapter, error) {
		return twoServers{adapter.NewInProcess(h), h}, nil
	}})
	srv.OnServerEvent("sum", func(_ context.Context, e *twine.Event) {
		var a, b int
		if err := e.Args(&a, &b); err != nil || e.Socket() != nil {
			t.Errorf("arguments: %v", err)
		}
		if err := errors.Join(e.Ack(a+b), e.Ack()); !errors.Is(err, twine.ErrAcked) {
			t.Errorf("second answer: %v", err)
		}
		panic("afterwards")
	})
	replies, err := srv.ServerSideEmitWithAck(testContext(t), "sum", 1, 2)
	if err != nil || len(replies) != 1 || string(replies[0].Raw(0)) != "3" {
		t.Errorf("replies %v, %v", replies, err)
	}
}

func TestAnAdapterThatCannotBeMade(t *testing.T) {
	broken := errors.New("no cluster today")
	srv := serve(t, &twine.Options{Adapter: func(adapter.Host) (adapter.Adapter, error) { return nil, broken }})
	onSync(srv)
	c, _ := connected(t, srv)
	c.sync()
	if err := srv.Emit("x"); !errors.Is(err, broken) {
		t.Errorf("Emit returned %v", err)
	}
	if _, err := srv.EmitWithAck(testContext(t), "x"); !errors.Is(err, broken) {
		t.Errorf("EmitWithAck returned %v", err)
	}
}

func TestDynamicNamespaces(t *testing.T) {
	srv := serve(t, &twine.Options{CleanupEmptyChildNamespaces: true})
	tenants := srv.OfPattern(regexp.MustCompile(`^/tenant-\d+$`))
	srv.OfFunc(func(name string, auth []byte) bool {
		if name == "/panic" {
			panic("no such thing")
		}
		return name == "/vip" && string(auth) == `{"vip":true}`
	})
	tenants.Use(func(_ context.Context, s *twine.Socket) error {
		if s.Namespace().Name() == "/tenant-0" {
			return errors.New("suspended")
		}
		return nil
	})
	onSync(tenants)
	c := dial(t, srv)
	c.send("0/tenant-x,")
	c.expect(`4/tenant-x,{"message":"Invalid namespace"}`)
	c.send("0/vip,")
	c.expect(`4/vip,{"message":"Invalid namespace"}`)
	c.send("0/panic,")
	c.expect(`4/panic,{"message":"internal error"}`)
	c.send("0/tenant-0,")
	c.expect(`4/tenant-0,{"message":"suspended"}`)
	c.join("/vip", `{"vip":true}`)
	c.join("/tenant-1", "")
	c.send(`2/tenant-1,5["sync"]`)
	c.expect(`3/tenant-1,5[]`)
	other := dial(t, srv)
	other.join("/tenant-2", "")
	if err := tenants.Emit("all"); err != nil {
		t.Fatal(err)
	}
	c.expect(`2/tenant-1,["all"]`)
	other.expect(`2/tenant-2,["all"]`)
	eventually(t, "the refused one is gone", func() bool { return len(tenants.Children()) == 2 })
	first := tenants.Children()
	c.cut()
	eventually(t, "one tenant is left", func() bool { return len(tenants.Children()) == 1 })
	again := dial(t, srv)
	again.join("/tenant-1", "")
	if children := tenants.Children(); len(children) != 2 || slices.Contains(first, children[0]) && slices.Contains(first, children[1]) {
		t.Error("the namespace was not made anew")
	}
}

// A client that joins just when the last one leaves gets a namespace that works.
func TestCleanupOfNamespacesRacesJoins(t *testing.T) {
	srv := serve(t, &twine.Options{CleanupEmptyChildNamespaces: true})
	parent := srv.OfPattern(regexp.MustCompile(`^/x$`))
	onSync(parent)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c := dialQuietly(t, srv)
			if c == nil {
				return
			}
			defer c.cut()
			for range 50 {
				c.send("0/x,")
				<-c.packets
				c.send(`2/x,1["sync"]`)
				if got := describe(<-c.packets); got != "3/x,1[]" {
					t.Errorf("got %s", got)
				}
				c.send("1/x,")
			}
		})
	}
	wg.Wait()
	eventually(t, "the namespace is gone", func() bool { return len(parent.Children()) == 0 })
}

func TestNamespacesOfOneConnectionAreBounded(t *testing.T) {
	srv := serve(t, &twine.Options{MaxNamespaces: 3})
	srv.OfPattern(regexp.MustCompile(`^/\d+$`))
	c := dial(t, srv)
	for i := range 3 {
		c.join(fmt.Sprintf("/%d", i), "")
	}
	c.send("0/3,")
	c.expect(`4/3,{"message":"too many namespaces"}`)
	c.send("1/0,")
	eventually(t, "there is room again", func() bool {
		c.send("0/3,")
		return strings.HasPrefix(describe(c.next()), `0/3,`)
	})
}
