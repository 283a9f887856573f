//go:build redis

package pubsub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/adapter/adaptertest"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine/parser"
)

// logged is what a logger wrote.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), what)
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestRedisIsGone(t *testing.T) {
	redisServer := redistest.Start(t)
	var log logged
	servers := []*server{newServer(t, redisServer.Client(), Options{Logger: log.logger()}), newServer(t, redisServer.Client(), Options{})}
	together(t, servers)
	near, far := adaptertest.NewMember("1"), adaptertest.NewMember("2")
	servers[0].Add(near, "room")
	servers[1].Add(far, "room")
	redisServer.Kill()

	// What concerns this server goes on, and the callers learn that it is all that does.
	sent := 0
	eventually(t, "a broadcast says that it is local", func() bool {
		sent++
		err := servers[0].Broadcast(t.Context(), event(fmt.Sprintf(`["e",%d]`, sent)), inRooms("room"))
		if err != nil && !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
		return err != nil
	})
	if err := servers[0].Broadcast(t.Context(), event(`["v"]`), adapter.Options{Flags: adapter.Flags{Volatile: true}}); err != nil {
		t.Error(err)
	}
	if got := len(near.Got()); got != sent+1 {
		t.Errorf("%d of %d local deliveries", got, sent+1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := servers[0].AddSockets(ctx, inRooms("room"), []string{"more"}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("joined on all servers without Redis: %v", err)
	}
	if !slices.Contains(servers[0].SocketRooms("1"), "more") {
		t.Error("not even joined here")
	}
	if _, err := servers[0].ServerCount(ctx); !errors.Is(err, ErrUnreachable) {
		t.Errorf("counted servers without Redis: %v", err)
	}
	if err := servers[0].ServerSideEmit(ctx, []byte(`["e"]`), nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("emitted to servers without Redis: %v", err)
	}
	if all, err := servers[0].FetchSockets(ctx, adapter.Options{}); len(all) != 1 || !errors.Is(err, ErrUnreachable) {
		t.Errorf("fetched %v, %v", all, err)
	}
	got := new(acks)
	if n, err := servers[0].BroadcastWithAck(ctx, event(`["q"]`), inRooms("room"), got); n != 1 || !errors.Is(err, ErrUnreachable) || len(got.all()) != 1 {
		t.Errorf("%d answers expected, %v, got %v", n, err, got.all())
	}

	redisServer.Run()
	eventually(t, "requests work again", func() bool {
		n, err := servers[0].ServerCount(t.Context())
		if err != nil || n != 2 {
			return false
		}
		all, err := servers[0].FetchSockets(t.Context(), inRooms("room"))
		return err == nil && len(all) == 2
	})
	eventually(t, "broadcasts work again", func() bool {
		return servers[0].Broadcast(t.Context(), event(`["again"]`), inRooms("room")) == nil
	})
	eventually(t, "the other server gets them", func() bool { return slices.Contains(far.Got(), `["again"]`) })
	eventually(t, "the log tells", func() bool {
		return log.count("published again") == 1 && log.count("subscribed again") == 1
	})
	if lost, silent := log.count("messages to other servers are lost"), log.count("not connected to Redis"); lost != 1 || silent != 1 {
		t.Errorf("logged %d and %d times:\n%s", lost, silent, log.buf.String())
	}
}

// A Redis that accepts everything and answers nothing is noticed by its silence.
func TestRedisHangs(t *testing.T) {
	redisServer := redistest.Start(t)
	hub := newHub(redisServer.Client(), Options{Logger: quiet(), RequestsTimeout: 500 * time.Millisecond}.withDefaults())
	hub.pingInterval = 50 * time.Millisecond
	s := newNamespace(t, func(h adapter.Host) (adapter.Adapter, error) { return newAdapter(h, hub), nil }, "/")
	together(t, []*server{s})
	redisServer.Pause()
	t.Cleanup(redisServer.Resume)
	eventually(t, "the adapter knows", func() bool {
		s.line.listener.mu.Lock()
		defer s.line.listener.mu.Unlock()
		return s.unready != nil
	})
	redisServer.Resume()
	together(t, []*server{s})
}

// Connections that listen are cut while another server sends: what arrives does so once, and in order.
func TestConnectionIsCut(t *testing.T) {
	redisServer, servers := cluster(t, 2)
	rdb := redisServer.Client()
	m := adaptertest.NewMember("m")
	servers[1].Add(m, "m")
	sent, cuts := 0, 0
	for cuts < 5 {
		before := len(m.Got())
		if err := rdb.ClientKillByFilter(t.Context(), "type", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
		cuts++
		eventually(t, "broadcasts arrive again", func() bool {
			for range 20 {
				if err := servers[0].Broadcast(t.Context(), event(fmt.Sprintf(`["e",%d]`, sent)), inRooms("m")); err != nil {
					t.Error(err)
				}
				sent++
			}
			return len(m.Got()) > before+100
		})
	}
	together(t, servers)
	if err := servers[0].Broadcast(t.Context(), event(fmt.Sprintf(`["e",%d]`, sent)), inRooms("m")); err != nil {
		t.Error(err)
	}
	eventually(t, "the last one arrives", func() bool { return slices.Contains(m.Got(), fmt.Sprintf(`["e",%d]`, sent)) })
	newest := -1
	for _, data := range m.Got() {
		var n int
		if _, err := fmt.Sscanf(data, `["e",%d]`, &n); err != nil || n <= newest {
			t.Fatalf("got %s after %d", data, newest)
		}
		newest = n
	}
}

// What waits to be published is bounded, and so is what closing waits for.
func TestOutboxIsBounded(t *testing.T) {
	redisServer := redistest.Start(t)
	o := newOutbox(redisServer.Client(), Options{RequestsTimeout: time.Second, Logger: quiet()}.withDefaults())
	redisServer.Pause()
	t.Cleanup(redisServer.Resume)
	big := letter{channel: "c", payload: make([]byte, maxWaitingBytes/16)}
	eventually(t, "the outbox is full", func() bool {
		err := o.post(big, false)
		if err != nil && !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
		return err != nil && strings.Contains(err.Error(), "too many messages")
	})
	o.mu.Lock()
	if o.bytes > maxWaitingBytes || !o.down {
		t.Errorf("%d bytes wait, down: %v", o.bytes, o.down)
	}
	o.mu.Unlock()
	begin := time.Now()
	o.close()
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("closing took %v", took)
	}
	if err := o.post(big, false); !errors.Is(err, errClosed) {
		t.Errorf("a closed outbox: %v", err)
	}
}

// Redis has taken a message and the connection is cut before it says so: without the client's retries the message
// arrives once, and the sender is told that it may not have.
func TestAtMostOnce(t *testing.T) {
	redisServer := redistest.Start(t)
	proxy := redistest.StartProxy(t, redisServer.Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	servers := []*server{newServer(t, rdb, Options{}), newServer(t, redisServer.Client(), Options{})}
	together(t, servers)
	m := adaptertest.NewMember("m")
	servers[1].Add(m, "m")
	proxy.Lose(1, func(answer []byte) bool { return answer[0] == ':' }) // to PUBLISH
	if err := servers[0].AddSockets(t.Context(), adapter.Options{}, []string{"room"}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("the answer was not lost: %v", err)
	}
	eventually(t, "the command has arrived", func() bool { return slices.Contains(servers[1].SocketRooms("m"), "room") })
	proxy.Lose(1, func(answer []byte) bool { return answer[0] == ':' })
	_ = servers[0].Broadcast(t.Context(), event(`["once"]`), inRooms("room"))
	eventually(t, "the answer is lost", proxy.Lost)
	eventually(t, "the connection is made again", func() bool {
		return servers[0].Broadcast(t.Context(), event(`["more"]`), inRooms("room")) == nil
	})
	if err := servers[0].Broadcast(t.Context(), event(`["last"]`), inRooms("room")); err != nil {
		t.Error(err)
	}
	eventually(t, "the last one arrives", func() bool { return slices.Contains(m.Got(), `["last"]`) })
	if got := m.Got(); len(slices.DeleteFunc(got, func(data string) bool { return data != `["once"]` })) != 1 {
		t.Errorf("got %v", m.Got())
	}
}

// What was sent right before the end still goes out.
func TestCloseFlushes(t *testing.T) {
	_, servers := cluster(t, 2)
	m := adaptertest.NewMember("m")
	servers[1].Add(m, "m")
	const n = 2000
	for i := range n {
		if err := servers[0].Broadcast(t.Context(), event(fmt.Sprintf(`["e",%d]`, i)), adapter.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := servers[0].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is delivered", func() bool { return len(m.Got()) == n })
	if err := servers[0].Broadcast(t.Context(), event(`["late"]`), adapter.Options{}); !errors.Is(err, errClosed) {
		t.Errorf("a closed adapter: %v", err)
	}
}

func TestRedisCluster(t *testing.T) {
	addrs := redistest.StartCluster(t)
	var servers []*server
	for range 3 {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
		t.Cleanup(func() { _ = rdb.Close() })
		servers = append(servers, newServer(t, rdb, Options{}))
	}
	together(t, servers)
	const n = 500
	var want []string
	m := adaptertest.NewMember("m")
	servers[2].Add(m, "m", "a", "b", "c")
	for i := range n {
		data := fmt.Sprintf(`["e",%d]`, i)
		want = append(want, data)
		if err := servers[0].Broadcast(t.Context(), event(data), inRooms(string(rune('a'+i%3)))); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all is delivered", func() bool { return len(m.Got()) == n })
	if !slices.Equal(m.Got(), want) {
		t.Error("another order")
	}
	answers, err := servers[1].ServerSideEmitWithAck(t.Context(), []byte(`["q"]`), nil)
	if err != nil || len(answers) != 2 {
		t.Errorf("answers %v, %v", answers, err)
	}
}

func TestRing(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	if _, err := New(ring, Options{})(&host{name: "/"}); !errors.Is(err, errRing) {
		t.Errorf("a ring: %v", err)
	}
}

func TestWhatOthersCannotRead(t *testing.T) {
	_, servers := cluster(t, 1)
	s := servers[0]
	m := adaptertest.NewMember("m")
	s.Add(m, "m")
	bad := inRooms("\xff")
	for _, err := range []error{
		s.Broadcast(t.Context(), event(`["e"]`), bad),
		s.Broadcast(t.Context(), event(`["e"`), adapter.Options{}),
		s.Broadcast(t.Context(), &parser.Packet{Type: parser.Event, Data: []byte(`["e"]`), Attachments: make([][]byte, parser.MaxAttachments+1)}, adapter.Options{}),
		s.AddSockets(t.Context(), adapter.Options{}, bad.Rooms),
		s.DisconnectSockets(t.Context(), adapter.Options{Except: bad.Rooms}, true),
		s.ServerSideEmit(t.Context(), []byte(`["e"]`), [][]byte{{1}}),
	} {
		if err == nil {
			t.Error("no error")
		}
	}
	if len(m.Got()) > 0 || len(s.SocketRooms("m")) != 1 {
		t.Errorf("got %v, in %q", m.Got(), s.SocketRooms("m"))
	}
}
