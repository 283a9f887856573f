//go:build redis

package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/adapter/adaptertest"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine/leaktest"
	"github.com/twine-realtime/twine/twine/parser"
)

func TestMain(m *testing.M) {
	logging.Disable() // servers are killed here
	// The client's own, which notices within a second that it was closed.
	leaktest.Main(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const patience = time.Minute

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// host is a namespace that answers events of other servers, and notes the binary values of what it prepares.
type host struct {
	adaptertest.Host
	name string

	mu       sync.Mutex
	events   []string
	prepared []string
}

func (h *host) Name() string { return h.name }

func (h *host) Prepare(d *adapter.Delivery) error {
	h.mu.Lock()
	h.prepared = append(h.prepared, fmt.Sprint(string(d.Packet.Data), d.Packet.Attachments, d.Flags.Volatile, d.Flags.NoCompress))
	h.mu.Unlock()
	return h.Host.Prepare(d)
}

func (h *host) ServerSideEvent(data []byte, attachments [][]byte, answer func([]byte, [][]byte)) {
	h.mu.Lock()
	h.events = append(h.events, fmt.Sprint(string(data), attachments))
	h.mu.Unlock()
	if answer != nil {
		answer([]byte(`["answer",{"_placeholder":true,"num":0}]`), [][]byte{{1, 255}})
		answer([]byte(`["twice"]`), nil)
	}
}

func (h *host) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

func (h *host) sent() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.prepared)
}

// server is one of a cluster.
type server struct {
	host *host
	*Adapter
}

func newServer(t testing.TB, rdb redis.UniversalClient, opts Options) *server {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet()
	}
	return newNamespace(t, New(rdb, opts), "/")
}

func newNamespace(t testing.TB, constructor adapter.Constructor, name string) *server {
	t.Helper()
	h := &host{name: name}
	made, err := constructor(h)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{h, made.(*Adapter)}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func cluster(t testing.TB, n int) (redisServer *redistest.Server, servers []*server) {
	t.Helper()
	redisServer = redistest.Start(t)
	for range n {
		servers = append(servers, newServer(t, redisServer.Client(), Options{}))
	}
	together(t, servers)
	return redisServer, servers
}

func together(t testing.TB, servers []*server) {
	t.Helper()
	for _, s := range servers {
		eventually(t, "all servers know of each other", func() bool {
			got, err := s.ServerCount(t.Context())
			return err == nil && got == len(servers)
		})
	}
}

func event(data string) *parser.Packet { return &parser.Packet{Type: parser.Event, Data: []byte(data)} }

func inRooms(names ...string) adapter.Options { return adapter.Options{Rooms: names} }

func TestSuite(t *testing.T) {
	rdb := redistest.Start(t).Client()
	adaptertest.Run(t, func(t *testing.T, h adapter.Host) adapter.Adapter {
		a, err := New(rdb, Options{Logger: quiet()})(h)
		if err != nil {
			t.Fatal(err)
		}
		return a
	})
}

// The suite once more, on a server that has another one beside it, which has the same rooms.
func TestSuiteWithAnother(t *testing.T) {
	rdb := redistest.Start(t).Client()
	other := newServer(t, rdb, Options{})
	bystander := adaptertest.NewMember("bystander")
	other.Add(bystander, "nobody's")
	adaptertest.Run(t, func(t *testing.T, h adapter.Host) adapter.Adapter {
		if t.Name() == "TestSuiteWithAnother/Selection" || t.Name() == "TestSuiteWithAnother/Requests" {
			other.DelAll(bystander) // these count whom they reach
			t.Cleanup(func() { other.Add(bystander, "nobody's") })
		}
		a, err := New(rdb, Options{Logger: quiet()})(h)
		if err != nil {
			t.Fatal(err)
		}
		return a
	})
	eventually(t, "the other server gets broadcasts to everyone", func() bool { return len(bystander.Got()) > 0 })
}

func TestBroadcasts(t *testing.T) {
	_, servers := cluster(t, 2)
	here, there, other := adaptertest.NewMember("here"), adaptertest.NewMember("there"), adaptertest.NewMember("other")
	servers[0].Add(here, "room")
	servers[1].Add(there, "room")
	servers[1].Add(other, "other")
	for i, o := range []adapter.Options{
		inRooms("room"),
		{Rooms: []string{"room", "nobody"}, Except: []string{"nobody"}, Flags: adapter.Flags{Volatile: true}},
		{Except: []string{"other"}, Flags: adapter.Flags{Unlogged: true, NoCompress: true}},
	} {
		p := &parser.Packet{Type: parser.Event, Data: fmt.Appendf(nil, `["e",%d,{"_placeholder":true,"num":0}]`, i), Attachments: [][]byte{{1, 255}}}
		if err := servers[0].Broadcast(t.Context(), p, o); err != nil {
			t.Fatal(err)
		}
		for _, m := range []*adaptertest.Member{here, there} {
			eventually(t, "it is delivered", func() bool { return len(m.Got()) == i+1 && m.Got()[i] == string(p.Data) })
		}
		if p.HasID || p.Namespace != "" {
			t.Error("the caller's packet was changed")
		}
	}
	if near, far := servers[0].host.sent(), servers[1].host.sent(); !slices.Equal(near, far) {
		t.Errorf("sent %v here and %v there", near, far)
	}
	if err := servers[0].Broadcast(t.Context(), event(`["local"]`), adapter.Options{Flags: adapter.Flags{Local: true}}); err != nil {
		t.Fatal(err)
	}
	if err := servers[0].Broadcast(t.Context(), event(`["last"]`), inRooms("room")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is delivered", func() bool { return slices.Contains(there.Got(), `["last"]`) })
	if slices.Contains(there.Got(), `["local"]`) || !slices.Contains(here.Got(), `["local"]`) || len(other.Got()) > 0 {
		t.Errorf("got %v and %v and %v", here.Got(), there.Got(), other.Got())
	}
}

// What one server sends arrives in its order, whatever rooms it is for, and what is for nobody here is not even read.
func TestOrderOfOneServer(t *testing.T) {
	_, servers := cluster(t, 2)
	m := adaptertest.NewMember("m")
	servers[1].Add(m, "a", "b")
	const n = 3000
	var want []string
	for i := range n {
		o := []adapter.Options{inRooms("a"), inRooms("b"), {}, inRooms("a", "b"), inRooms("nobody's")}[i%5]
		data := fmt.Sprintf(`["e",%d]`, i)
		if i%5 < 4 {
			want = append(want, data)
		}
		if err := servers[0].Broadcast(t.Context(), event(data), o); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all is delivered", func() bool { return len(m.Got()) == len(want) })
	if !slices.Equal(m.Got(), want) {
		t.Error("another order")
	}
	if got := servers[1].host.Prepared.Load(); got != int64(len(want)) {
		t.Errorf("prepared %d packets, want %d", got, len(want))
	}
}

func TestNamespacesShareAConnection(t *testing.T) {
	redisServer := redistest.Start(t)
	names := []string{"/", "/chat", "/chat#x", "/[a-c]*?"}
	var all [2][]*server
	for i := range all {
		constructor := New(redisServer.Client(), Options{Logger: quiet()})
		for _, name := range names {
			all[i] = append(all[i], newNamespace(t, constructor, name))
		}
	}
	for n, name := range names {
		together(t, []*server{all[0][n], all[1][n]})
		all[1][n].Add(adaptertest.NewMember(name), "x", name)
	}
	for n, name := range names {
		for _, o := range []adapter.Options{{}, inRooms("x"), inRooms(name)} {
			if err := all[0][n].Broadcast(t.Context(), event(fmt.Sprintf("[%q]", name)), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n, name := range names {
		m := all[1][n].Member(name).(*adaptertest.Member)
		eventually(t, "it is delivered in "+name, func() bool { return len(m.Got()) >= 3 })
		if got := m.Got(); !slices.Equal(got, slices.Repeat([]string{fmt.Sprintf("[%q]", name)}, 3)) {
			t.Errorf("%s got %v", name, got)
		}
	}
	clients, err := redisServer.Client().Do(t.Context(), "client", "list", "type", "pubsub").Text()
	if err != nil || strings.Count(clients, "\n") != 2 {
		t.Errorf("%v, subscribed:\n%s", err, clients)
	}
	// One namespace ends: the others stay.
	if err := all[1][1].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not subscribed to any more", func() bool {
		n, err := all[0][1].ServerCount(t.Context())
		return err == nil && n == 1
	})
	if n, err := all[0][0].ServerCount(t.Context()); n != 2 || err != nil {
		t.Errorf("%d servers, %v", n, err)
	}
	again := newNamespace(t, func(h adapter.Host) (adapter.Adapter, error) { return newAdapter(h, all[1][0].hub), nil }, "/chat")
	together(t, []*server{again, all[0][1]})
}

func TestRemoteSockets(t *testing.T) {
	_, servers := cluster(t, 3)
	for i, s := range servers {
		m := adaptertest.NewMember(fmt.Sprint(i))
		s.Add(m, m.ID(), "all")
	}
	ctx := t.Context()
	if err := servers[0].AddSockets(ctx, inRooms("1", "2"), []string{"new"}); err != nil {
		t.Fatal(err)
	}
	// It takes effect before what is sent later.
	if err := servers[0].Broadcast(ctx, event(`["hi"]`), inRooms("new")); err != nil {
		t.Fatal(err)
	}
	for i, s := range servers {
		m := s.Member(fmt.Sprint(i)).(*adaptertest.Member)
		if i > 0 {
			eventually(t, "it is delivered", func() bool { return len(m.Got()) == 1 })
		}
	}
	all, err := servers[0].FetchSockets(ctx, inRooms("new", "0"))
	if err != nil || len(all) != 3 {
		t.Fatalf("fetched %v, %v", all, err)
	}
	for _, d := range all {
		if string(d.Data) != `"`+d.ID+`"` || !json.Valid(d.Handshake) || !slices.Contains(d.Rooms, "all") {
			t.Errorf("fetched %+v", d)
		}
	}
	if ids, err := servers[1].Sockets(ctx, inRooms("all")); err != nil || !slices.Equal(slices.Sorted(slices.Values(ids)), []string{"0", "1", "2"}) {
		t.Errorf("sockets %v, %v", ids, err)
	}
	if ids, err := servers[1].Sockets(ctx, adapter.Options{Except: []string{"new"}}); err != nil || !slices.Equal(ids, []string{"0"}) {
		t.Errorf("sockets %v, %v", ids, err)
	}
	if ids, err := servers[1].Sockets(ctx, adapter.Options{Flags: adapter.Flags{Local: true}}); err != nil || !slices.Equal(ids, []string{"1"}) {
		t.Errorf("sockets %v, %v", ids, err)
	}
	list, err := servers[2].AllRooms(ctx)
	if slices.Sort(list); err != nil || !slices.Equal(list, []string{"0", "1", "2", "all", "new"}) {
		t.Errorf("rooms %v, %v", list, err)
	}
	if err := servers[2].DelSockets(ctx, inRooms("all"), []string{"new"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the room is empty", func() bool {
		ids, err := servers[0].Sockets(ctx, inRooms("new"))
		return err == nil && len(ids) == 0
	})
}

func TestServerSideEvents(t *testing.T) {
	_, servers := cluster(t, 3)
	ctx := t.Context()
	for i := range 20 {
		if err := servers[0].ServerSideEmit(ctx, fmt.Appendf(nil, `["e",%d,{"_placeholder":true,"num":0}]`, i), [][]byte{{7}}); err != nil {
			t.Fatal(err)
		}
	}
	answers, err := servers[0].ServerSideEmitWithAck(ctx, []byte(`["q"]`), nil)
	if err != nil || len(answers) != 2 || string(answers[0].Data) != `["answer",{"_placeholder":true,"num":0}]` ||
		!slices.EqualFunc(answers[0].Attachments, [][]byte{{1, 255}}, slices.Equal) {
		t.Errorf("answers %s, %v", answers, err)
	}
	for i, s := range servers {
		got := s.host.got()
		if i == 0 && len(got) > 0 || i > 0 && (len(got) != 21 || got[20] != `["q"][]` || got[7] != `["e",7,{"_placeholder":true,"num":0}][[7]]`) {
			t.Errorf("server %d got %v", i, got)
		}
	}
}

type acks struct {
	mu      sync.Mutex
	answers []string
	lost    []string
}

func (a *acks) Answer(member string, data []byte, attachments [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, fmt.Sprint(member, string(data), attachments))
}

func (a *acks) Lost(member string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost = append(a.lost, member)
}

func (a *acks) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(slices.Values(a.answers))
}

// member answers when it is told to.
type member struct {
	*adaptertest.Member
	mu   sync.Mutex
	acks adapter.Acks
}

func (m *member) Deliver(d *adapter.Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acks = d.Acks
}

func (m *member) asked() adapter.Acks {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acks
}

func TestBroadcastWithAck(t *testing.T) {
	_, servers := cluster(t, 3)
	var want []string
	for i, s := range servers {
		for n := range i + 1 {
			m := adaptertest.NewMember(fmt.Sprint(i, "-", n))
			s.Add(m, "room")
			want = append(want, m.ID()+"[][]")
		}
	}
	late := []*member{{Member: adaptertest.NewMember("binary")}, {Member: adaptertest.NewMember("lost")}}
	for _, m := range late {
		servers[2].Add(m, "room")
	}
	got := new(acks)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, err := servers[0].BroadcastWithAck(ctx, event(`["q"]`), inRooms("room"), got)
	if err != nil || n != 8 {
		t.Errorf("%d answers expected, %v", n, err)
	}
	late[0].asked().Answer("binary", []byte(`[1,{"_placeholder":true,"num":0}]`), [][]byte{{3}})
	late[1].asked().Lost("lost")
	want = append(want, `binary[1,{"_placeholder":true,"num":0}][[3]]`)
	slices.Sort(want)
	eventually(t, "all answer", func() bool { return slices.Equal(got.all(), want) })
	eventually(t, "one is lost", func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		return slices.Equal(got.lost, []string{"lost"})
	})
	cancel()
	eventually(t, "the question is forgotten", func() bool {
		servers[0].mu.Lock()
		defer servers[0].mu.Unlock()
		return len(servers[0].questions) == 0
	})
	if n, err := servers[0].BroadcastWithAck(t.Context(), event(`["q"]`), inRooms("nobody's"), got); n != 0 || err != nil {
		t.Errorf("%d answers expected of nobody, %v", n, err)
	}
}

// A server that does not answer is reported, with what the others said.
func TestSilentServer(t *testing.T) {
	redisServer, servers := cluster(t, 2)
	// One that only listens, as a server that hangs does.
	listening := redisServer.Client().Subscribe(t.Context(), servers[0].requests)
	defer listening.Close()
	if _, err := listening.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	servers[1].Add(adaptertest.NewMember("m"), "room")
	// within asks with more and more time until one has answered: on a busy machine that takes a while, too.
	within := func(ask func(ctx context.Context) (answered int, err error)) {
		t.Helper()
		for wait := 300 * time.Millisecond; ; wait *= 2 {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			answered, err := ask(ctx)
			cancel()
			if !errors.Is(err, ErrMissing) || answered != 1 && wait > patience {
				t.Fatalf("%d have answered within %s, %v", answered, wait, err)
			}
			if answered == 1 {
				return
			}
		}
	}
	within(func(ctx context.Context) (int, error) {
		answers, err := servers[0].ServerSideEmitWithAck(ctx, []byte(`["q"]`), nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, not the end of the time", err)
		}
		return len(answers), err
	})
	within(func(ctx context.Context) (int, error) {
		return servers[0].BroadcastWithAck(ctx, event(`["q"]`), inRooms("room"), new(acks))
	})
}
