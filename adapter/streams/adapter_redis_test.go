//go:build redis

package streams

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/adapter/adaptertest"
	redislog "github.com/twine-realtime/twine/recovery/redis"
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

// openStream returns a stream that ends with the test.
func openStream(t testing.TB, rdb redis.UniversalClient) *redislog.Stream {
	t.Helper()
	stream, err := redislog.Open(t.Context(), rdb, redislog.Options{Logger: quiet()})
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

// host is a namespace that answers events of other servers.
type host struct {
	adaptertest.Host
	mu     sync.Mutex
	events []string
}

func (h *host) ServerSideEvent(data []byte, _ [][]byte, answer func([]byte, [][]byte)) {
	h.mu.Lock()
	h.events = append(h.events, string(data))
	h.mu.Unlock()
	if answer != nil {
		answer([]byte(`["answer",1]`), nil)
		answer([]byte(`["twice"]`), nil)
	}
}

func (h *host) got() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// server is one of a cluster.
type server struct {
	host *host
	*Adapter
}

func newServer(t testing.TB, rdb redis.UniversalClient) *server {
	t.Helper()
	h := new(host)
	made, err := New(openStream(t, rdb), Options{Logger: quiet()})(h)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{h, made.(*Adapter)}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func cluster(t testing.TB, n int) (redisServer *redistest.Server, servers []*server) {
	t.Helper()
	redisServer = redistest.Start(t)
	for range n {
		servers = append(servers, newServer(t, redisServer.Client()))
	}
	for _, s := range servers {
		eventually(t, "all servers know of each other", func() bool {
			got, err := s.ServerCount(t.Context())
			return err == nil && got == n
		})
	}
	return redisServer, servers
}

func event(data string) *parser.Packet { return &parser.Packet{Type: parser.Event, Data: []byte(data)} }

func rooms(names ...string) adapter.Options { return adapter.Options{Rooms: names} }

func TestSuite(t *testing.T) {
	rdb := redistest.Start(t).Client()
	adaptertest.Run(t, func(t *testing.T, h adapter.Host) adapter.Adapter {
		a, err := New(openStream(t, rdb), Options{Logger: quiet()})(h)
		if err != nil {
			t.Fatal(err)
		}
		return a
	})
}

// Two servers broadcast to one room at the same time: the members on both see
// the same, in the same order.
func TestOneOrderEverywhere(t *testing.T) {
	_, servers := cluster(t, 2)
	const each = 500
	var members []*adaptertest.Member
	for i, s := range servers {
		m := adaptertest.NewMember(fmt.Sprint(i))
		s.Add(m, "room")
		members = append(members, m)
	}
	var running sync.WaitGroup
	for i, s := range servers {
		running.Go(func() {
			for n := range each {
				if err := s.Broadcast(t.Context(), event(fmt.Sprintf(`["e",%d,%d]`, i, n)), rooms("room")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	for _, m := range members {
		eventually(t, "all is delivered", func() bool { return len(m.Got()) == 2*each })
	}
	if !slices.Equal(members[0].Got(), members[1].Got()) {
		t.Error("two orders")
	}
}

func TestBroadcasts(t *testing.T) {
	_, servers := cluster(t, 2)
	here, there, other := adaptertest.NewMember("here"), adaptertest.NewMember("there"), adaptertest.NewMember("other")
	servers[0].Add(here, "room")
	servers[1].Add(there, "room")
	servers[1].Add(other, "other")
	for i, o := range []adapter.Options{
		rooms("room"),
		{Rooms: []string{"room"}, Except: []string{"nobody"}, Flags: adapter.Flags{Volatile: true}},
		{Except: []string{"other"}, Flags: adapter.Flags{Unlogged: true, NoCompress: true}},
	} {
		p := &parser.Packet{Type: parser.Event, Data: fmt.Appendf(nil, `["e",%d,{"_placeholder":true,"num":0}]`, i), Attachments: [][]byte{{1, 2}}}
		if err := servers[0].Broadcast(t.Context(), p, o); err != nil {
			t.Fatal(err)
		}
		for _, m := range []*adaptertest.Member{here, there} {
			eventually(t, "it is delivered", func() bool { return len(m.Got()) == i+1 && m.Got()[i] == string(p.Data) })
		}
	}
	if err := servers[0].Broadcast(t.Context(), event(`["local"]`), adapter.Options{Flags: adapter.Flags{Local: true}}); err != nil {
		t.Fatal(err)
	}
	if err := servers[0].Broadcast(t.Context(), event(`["last"]`), rooms("room")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is delivered", func() bool { return slices.Contains(there.Got(), `["last"]`) })
	if slices.Contains(there.Got(), `["local"]`) || !slices.Contains(here.Got(), `["local"]`) || len(other.Got()) > 0 {
		t.Errorf("got %v and %v and %v", here.Got(), there.Got(), other.Got())
	}
}

func TestRemoteSockets(t *testing.T) {
	_, servers := cluster(t, 3)
	for i, s := range servers {
		m := adaptertest.NewMember(fmt.Sprint(i))
		s.Add(m, m.ID(), "all")
	}
	ctx := t.Context()
	if err := servers[0].AddSockets(ctx, rooms("1", "2"), []string{"new"}); err != nil {
		t.Fatal(err)
	}
	// It takes effect before what is sent later.
	if err := servers[0].Broadcast(ctx, event(`["hi"]`), rooms("new")); err != nil {
		t.Fatal(err)
	}
	for i, s := range servers {
		m := s.Member(fmt.Sprint(i)).(*adaptertest.Member)
		if i > 0 {
			eventually(t, "it is delivered", func() bool { return len(m.Got()) == 1 })
		}
	}
	all, err := servers[0].FetchSockets(ctx, rooms("new", "0"))
	if err != nil || len(all) != 3 {
		t.Fatalf("fetched %v, %v", all, err)
	}
	for _, d := range all {
		if string(d.Data) != `"`+d.ID+`"` || !json.Valid(d.Handshake) || !slices.Contains(d.Rooms, "all") {
			t.Errorf("fetched %+v", d)
		}
	}
	if ids, err := servers[1].Sockets(ctx, rooms("all")); err != nil || len(ids) != 3 {
		t.Errorf("sockets %v, %v", ids, err)
	}
	if err := servers[2].DelSockets(ctx, rooms("all"), []string{"new"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the room is empty", func() bool {
		ids, err := servers[0].Sockets(ctx, rooms("new"))
		return err == nil && len(ids) == 0
	})
	if err := servers[0].DisconnectSockets(ctx, rooms("2"), true); err != nil {
		t.Fatal(err)
	}
}

func TestServerSideEvents(t *testing.T) {
	_, servers := cluster(t, 3)
	ctx := t.Context()
	for i := range 20 {
		if err := servers[0].ServerSideEmit(ctx, fmt.Appendf(nil, `["e",%d]`, i), nil); err != nil {
			t.Fatal(err)
		}
	}
	answers, err := servers[0].ServerSideEmitWithAck(ctx, []byte(`["q"]`), nil)
	if err != nil || len(answers) != 2 || string(answers[0].Data) != `["answer",1]` {
		t.Errorf("answers %s, %v", answers, err)
	}
	for i, s := range servers {
		got := s.host.got()
		if i == 0 && len(got) > 0 || i > 0 && (len(got) != 21 || got[20] != `["q"]` || got[7] != `["e",7]`) {
			t.Errorf("server %d got %v", i, got)
		}
	}
}

type acks struct {
	mu      sync.Mutex
	answers []string
	lost    []string
}

func (a *acks) Answer(member string, _ []byte, _ [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, member)
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

func TestBroadcastWithAck(t *testing.T) {
	_, servers := cluster(t, 3)
	var want []string
	for i, s := range servers {
		for n := range i + 1 {
			m := adaptertest.NewMember(fmt.Sprint(i, "-", n))
			s.Add(m, "room")
			want = append(want, m.ID())
		}
	}
	got := new(acks)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, err := servers[0].BroadcastWithAck(ctx, event(`["q"]`), rooms("room"), got)
	if err != nil || n != 6 {
		t.Errorf("%d answers expected, %v", n, err)
	}
	eventually(t, "all answer", func() bool { return slices.Equal(got.all(), want) })
	cancel()
	eventually(t, "the request is forgotten", func() bool {
		servers[0].mu.Lock()
		defer servers[0].mu.Unlock()
		return len(servers[0].requests) == 0
	})
}

// A server that does not answer is reported, with what the others said.
func TestSilentServer(t *testing.T) {
	redisServer, servers := cluster(t, 2)
	// One that only listens, as a server that hangs does.
	pubsub := redisServer.Client().Subscribe(t.Context(), servers[0].public)
	defer pubsub.Close()
	if _, err := pubsub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	// On a busy machine the other one takes its time, too.
	for wait := 300 * time.Millisecond; ; wait *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		answers, err := servers[0].ServerSideEmitWithAck(ctx, []byte(`["q"]`), nil)
		cancel()
		if err == nil || len(answers) != 1 && wait > patience {
			t.Errorf("%d answers within %s, %v", len(answers), wait, err)
		}
		if err == nil || len(answers) == 1 || wait > patience {
			break
		}
	}
}

func TestRedisIsGone(t *testing.T) {
	redisServer, servers := cluster(t, 2)
	m, far := adaptertest.NewMember("1"), adaptertest.NewMember("2")
	servers[0].Add(m, "room")
	servers[1].Add(far, "room")
	redisServer.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := servers[0].AddSockets(ctx, rooms("room"), []string{"more"}); err == nil {
		t.Error("joined on all servers without Redis")
	}
	if !slices.Contains(servers[0].SocketRooms("1"), "more") {
		t.Error("not even joined here")
	}
	if _, err := servers[0].ServerCount(ctx); err == nil {
		t.Error("counted servers without Redis")
	}
	if err := servers[0].Broadcast(t.Context(), event(`["e"]`), rooms("room")); err != nil {
		t.Error(err)
	}
	redisServer.Run()
	eventually(t, "it is delivered everywhere", func() bool { return len(m.Got()) == 1 && len(far.Got()) == 1 })
	eventually(t, "requests work again", func() bool {
		n, err := servers[0].ServerCount(t.Context())
		if err != nil || n != 2 {
			return false
		}
		all, err := servers[0].FetchSockets(t.Context(), rooms("room"))
		return err == nil && len(all) == 2
	})
}
