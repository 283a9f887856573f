package twine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/parser"
)

// What is published after a join has returned arrives, and what is published after a leave does not, whatever else is
// published to the room, and with cuts in between.
func TestJoinsAndLeavesAmongBroadcasts(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		r.MaxReplay = 1 << 20
		srv := serveRecovery(t, r)
		stop := make(chan struct{})
		var noise, clients sync.WaitGroup
		for range 2 {
			noise.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if err := srv.To("hot").Emit("noise", 1); err != nil {
							t.Error(err)
						}
						time.Sleep(200 * time.Microsecond) // a pace, nothing is waited for
					}
				}
			})
		}
		for k := range 6 {
			clients.Go(func() {
				c := newStock(t).connect(srv)
				sid := c.view().sid
				socket := func() (s *twine.Socket) {
					eventually(t, "the socket", func() bool {
						s = srv.Of("/").Socket(sid)
						return s != nil && s.Connected()
					})
					return s
				}
				publish := func(room, text string) {
					if _, err := srv.To(room).Publish(context.Background(), "", "n", text); err != nil {
						t.Error(err)
					}
				}
				publish(sid, "first")
				want := []string{`"first"`}
				eventually(t, "an offset", func() bool { return len(c.events("n")) == 1 })
				for i := range 40 {
					socket().Join("hot")
					mine := fmt.Sprintf("%d-%d", k, i)
					publish(sid, mine)
					want = append(want, `"`+mine+`"`)
					if rand.IntN(2) == 0 {
						if rand.IntN(2) == 0 {
							defer c.leave().cut()
						} else {
							c.cut()
						}
						if _, err := srv.To("hot").Except("nobody").Publish(context.Background(), "", "h", mine); err != nil {
							t.Error(err)
						}
						if !c.dial(srv) {
							return
						}
						eventually(t, "CONNECT", c.isConnected)
					} else if _, err := srv.To("hot").Publish(context.Background(), "", "h", mine); err != nil {
						t.Error(err)
					}
					socket().Leave("hot")
					if _, err := srv.To("hot").Publish(context.Background(), "", "left", mine); err != nil {
						t.Error(err)
					}
					publish(sid, mine+"x")
					want = append(want, `"`+mine+`x"`)
					eventually(t, "the last event", func() bool { return len(c.events("n")) >= len(want) })
				}
				if got := c.events("n"); !slices.Equal(got, want) {
					t.Errorf("client %d got %v, want %v", k, got, want)
				}
				hot := make(map[string]int)
				for _, h := range c.events("h") {
					hot[h]++
				}
				for i := range 40 {
					if n := hot[fmt.Sprintf(`"%d-%d"`, k, i)]; n != 1 {
						t.Errorf("client %d got what was published between join and leave %d: %d times", k, i, n)
					}
				}
				if slices.ContainsFunc(c.events("left"), func(text string) bool { return strings.HasPrefix(text, fmt.Sprintf(`"%d-`, k)) }) {
					t.Errorf("client %d got what was published after it had left", k)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				seenOffsets := make(map[string]bool)
				for _, e := range c.seen {
					if seenOffsets[e.offset] {
						t.Errorf("client %d got %s twice", k, e.offset)
					}
					seenOffsets[e.offset] = true
				}
				for _, problem := range c.disordered {
					t.Error(problem)
				}
			})
		}
		clients.Wait()
		close(stop)
		noise.Wait()
	})
}

// fill publishes n events of size bytes that a client in "room" misses.
func fill(t testing.TB, srv *testServer, ns string, n, size int) {
	t.Helper()
	text := strings.Repeat("x", size)
	var last int
	for i := range n {
		if err := srv.Of(ns).To("room").Emit("big", i, text); err != nil {
			t.Fatal(err)
		}
		last = i
	}
	if _, err := srv.Of(ns).To("room").Publish(testContext(t), "", "big", last+1, text); err != nil {
		t.Fatal(err)
	}
}

// Two namespaces of one connection are caught up at once, each with more than a queue holds, at a client that reads slowly.
func TestReplayIsPacedByTheClient(t *testing.T) {
	const n, size = 300, 20_000 // 6 MB each
	srv := serveRecovery(t, &twine.Recovery{MaxReplay: 10 * n, Hot: memory.NewLog(memory.LogOptions{MaxBytes: 1 << 30})},
		func(o *twine.Options) { o.Engine.MaxQueueBytes = 200_000 })
	srv.Of("/chat").OnConnect(func(s *twine.Socket) {
		if !s.Recovered() {
			s.Join("room")
		}
	})
	a, b := newStock(t), newStock(t)
	b.ns = "/chat"
	a.connect(srv)
	b.connect(srv)
	eventually(t, "the joins", func() bool {
		return len(members(t, srv.To("room"))) == 1 && len(members(t, srv.Of("/chat").In("room"))) == 1
	})
	publishNumbers(t, srv.To("room"), 1, 1)
	publishNumbers(t, srv.Of("/chat").To("room"), 1, 1)
	a.expect("n", "1")
	b.expect("n", "1")
	a.cut()
	b.cut()
	awaitGone(t, srv, a.view().sid)
	eventually(t, "the other is gone", func() bool { return len(srv.Of("/chat").Sockets()) == 0 })
	fill(t, srv, "/", n-1, size)
	fill(t, srv, "/chat", n-1, size)

	// Both over one connection, which is not read for a while.
	block := make(chan struct{})
	conn := dialWith(t, srv, nil, func(_ *testClient, p *parser.Packet) {
		<-block
		a.packet(p, -1)
		b.packet(p, -1)
	})
	defer conn.cut()
	for _, c := range []*stockClient{a, b} {
		c.mu.Lock()
		c.generation, c.conn = -1, conn
		c.mu.Unlock()
	}
	conn.send("0" + a.auth())
	conn.send("0/chat," + b.auth())
	eventually(t, "the queue fills", func() bool {
		s := srv.Of("/").Socket(a.view().sid)
		return s != nil && s.Conn().QueuedBytes() > 0
	})
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	before := stats.HeapAlloc
	for range 20 {
		if s := srv.Of("/").Socket(a.view().sid); s != nil {
			if q := s.Conn().QueuedBytes(); q > 200_000 {
				t.Errorf("%d bytes are queued", q)
			}
		}
		time.Sleep(5 * time.Millisecond) // the queue is watched for a while
	}
	runtime.GC()
	runtime.ReadMemStats(&stats)
	if grown := int(stats.HeapAlloc) - int(before); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes while the client did not read", grown)
	}
	close(block)
	want := numbers(0, n-1)
	for i := range want {
		want[i] += `"` + strings.Repeat("x", size) + `"`
	}
	for _, c := range []*stockClient{a, b} {
		eventually(t, "the replay", func() bool { return len(c.view().seen) >= n+1 })
		if !slices.Equal(c.events("big"), want) {
			t.Error("not what was published")
		}
	}
	if s := srv.Of("/").Socket(a.view().sid); s == nil || !s.Recovered() {
		t.Error("not recovered")
	}
}

// An event that is larger than the queue still arrives.
func TestReplayOfAnEventLargerThanTheQueue(t *testing.T) {
	srv := serveRecovery(t, &twine.Recovery{}, func(o *twine.Options) { o.Engine.MaxQueueBytes = 10_000 })
	c := away(t, srv)
	fill(t, srv, "/", 3, 50_000)
	c.connect(srv)
	eventually(t, "the replay", func() bool { return len(c.events("big")) >= 4 })
	if !c.view().recovered {
		t.Error("not recovered")
	}
}

// Leaving one namespace while it is caught up does not disturb the others of the connection.
func TestGoodbyeWhileCatchingUp(t *testing.T) {
	for read := 1; read <= 3; read++ {
		t.Run(fmt.Sprint("read ", read), func(t *testing.T) {
			r, _, log := gated()
			srv := serveRecovery(t, r)
			srv.Of("/chat")
			c := away(t, srv)
			reached, letGo := log.blockAt("read", read, false)
			defer letGo()
			c.dial(srv)
			receive(t, reached)
			conn := c.current()
			conn.send("0/chat,")
			eventually(t, "the other namespace", func() bool { return len(srv.Of("/chat").Sockets()) == 1 })
			conn.send("1")
			other := srv.Of("/chat").Sockets()[0]
			answer(t, other, conn) // behind the goodbye
			letGo()
			awaitGone(t, srv, c.view().sid)
			answer(t, other, conn)
		})
	}
}

// countingSessions counts what a store is asked to forget.
type countingSessions struct {
	recovery.Sessions
	expired chan time.Time
}

func (s countingSessions) Expire(ctx context.Context, now time.Time) error {
	select {
	case s.expired <- now:
	default:
	}
	return s.Sessions.Expire(ctx, now)
}

func TestExpiredSessionsAreForgotten(t *testing.T) {
	sessions := countingSessions{memory.NewSessions(memory.SessionsOptions{}), make(chan time.Time, 100)}
	srv := serveRecovery(t, &twine.Recovery{Sessions: sessions})
	for range 5 {
		c := newStock(t).connect(srv)
		sid := c.view().sid
		c.cut()
		awaitGone(t, srv, sid)
	}
	receive(t, sessions.expired)
	if n := len(sessions.expired); n > 0 {
		t.Errorf("asked %d more times within a moment", n)
	}
}

// answer has the client of a socket answer a question, the first one in its namespace.
func answer(t *testing.T, s *twine.Socket, conn *testClient) {
	t.Helper()
	answered := make(chan error, 1)
	go func() {
		_, err := s.EmitWithAck(testContext(t), "question")
		answered <- err
	}()
	for i := range 10 {
		conn.send(fmt.Sprintf("3/chat,%d[]", i))
	}
	eventually(t, "the answer", func() bool {
		select {
		case err := <-answered:
			if err != nil {
				t.Error(err)
			}
			return true
		default:
			for i := range 10 {
				conn.send(fmt.Sprintf("3/chat,%d[]", i))
			}
			return false
		}
	})
}
