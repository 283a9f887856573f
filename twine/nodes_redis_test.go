//go:build redis

package twine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine"
)

// serveNodes starts servers that share a Redis.
func serveNodes(t *testing.T, n int, serve func(t *testing.T, r *twine.Recovery) *testServer) (*redistest.Server, []*testServer) {
	t.Helper()
	redis := redistest.Start(t)
	var nodes []*testServer
	for range n {
		nodes = append(nodes, serve(t, onRedis(t, redis)))
	}
	return redis, nodes
}

func recovering(t *testing.T, r *twine.Recovery) *testServer {
	srv := serveRecovery(t, r)
	twine.HandleEvent(srv, "publish", func(_ context.Context, _ *twine.Socket, n int) error { return srv.To("room").Emit("n", n) })
	return srv
}

func tabs(t *testing.T, r *twine.Recovery) *testServer { return serveTabs(t, r) }

// A client that was cut off comes back to another server.
func TestRestoreElsewhere(t *testing.T) {
	_, nodes := serveNodes(t, 2, recovering)
	a, b := nodes[0], nodes[1]
	c := newStock(t).connect(a)
	publishNumbers(t, b.To("room"), 1, 2)
	c.expect("n", "1", "2")
	sid := c.view().sid
	a.Of("/").Socket(sid).SetData(map[string]string{"name": "ada"})
	c.cut()
	awaitGone(t, a, sid)
	publishNumbers(t, a.To("room"), 3, 3)
	publishNumbers(t, b.To("room"), 4, 4)
	c.connect(b)
	if v := c.view(); !v.recovered || v.sid != sid {
		t.Errorf("not recovered: %+v", v)
	}
	publishNumbers(t, a.To(sid), 5, 5)
	publishNumbers(t, b.To("room"), 6, 6)
	c.expect("n", numbers(1, 6)...)
	var data map[string]string
	if err := b.Of("/").Socket(sid).BindData(&data); err != nil || data["name"] != "ada" {
		t.Errorf("its data: %v, %v", data, err)
	}
}

// The server that the client was connected to has not noticed that it is gone. What that knows counts: the store may not
// know of the newest room yet.
func TestHalfOpenSocketOfAnotherServer(t *testing.T) {
	_, nodes := serveNodes(t, 2, recovering)
	a, b := nodes[0], nodes[1]
	ended := make(chan string, 8)
	a.OnDisconnect(func(_ *twine.Socket, reason string) { ended <- reason })
	c := newStock(t).connect(a)
	publishNumbers(t, a.To("room"), 1, 1)
	c.expect("n", "1")
	old := c.leave()
	defer old.cut()
	if err := a.In("room").SocketsJoin("fresh"); err != nil {
		t.Fatal(err)
	}
	publishNumbers(t, b.To("room"), 2, 3)
	c.connect(b)
	old.expectClosed()
	if got := receive(t, ended); got != twine.ReasonTransportClose {
		t.Errorf("the old socket ended because of %q", got)
	}
	if !c.view().recovered {
		t.Error("not recovered")
	}
	publishNumbers(t, a.To("fresh"), 4, 4)
	c.expect("n", numbers(1, 4)...)
	if got := members(t, b.In("room")); len(got) != 1 {
		t.Errorf("in the room: %v", got)
	}
}

// A page is reloaded, and its next connection goes to another server, before the old one is noticed to be gone.
func TestReloadElsewhere(t *testing.T) {
	_, nodes := serveNodes(t, 2, tabs)
	a, b := nodes[0], nodes[1]
	page, other := tab(t, "browser").connect(a), tab(t, "browser").connect(a)
	page.joinRoom(a, "room")
	other.joinRoom(a, "other")
	publishNumbers(t, b.To("room"), 1, 1)
	page.expect("n", "1")
	old := page.leave()
	defer old.cut()
	publishNumbers(t, b.To("room"), 2, 2)
	publishNumbers(t, b.To("other"), 3, 3)
	next := tab(t, "browser").connect(b)
	old.expectClosed()
	publishNumbers(t, a.To("room"), 4, 4)
	next.expect("n", "1", "2", "4") // no pong has confirmed the first
	other.expect("n", "3")
	if !other.isConnected() {
		t.Error("the other tab was disturbed")
	}
}

// A server is killed: its clients, with a session and with a cookie, go on at the other one, without waiting until its
// lease has ended.
func TestServerIsKilled(t *testing.T) {
	redis := redistest.Start(t)
	r := onRedis(t, redis)
	a, b := recovering(t, withCookies(r)), recovering(t, withCookies(onRedis(t, redis)))
	c := newStock(t).connect(a)
	page := tab(t, "browser").connect(a)
	publishNumbers(t, b.To("room"), 1, 1)
	c.expect("n", "1")
	page.expect("n", "1")
	for _, client := range []*stockClient{c, page} {
		old := client.leave()
		defer old.cut()
	}
	// Nothing of what it does from here on gets anywhere: that is what the others see of a killed one.
	_ = r.Shared.(*redislog.Stream).Client().Close()
	publishNumbers(t, b.To("room"), 2, 3)
	began := time.Now()
	c.connect(b)
	next := tab(t, "browser").connect(b)
	publishNumbers(t, b.To("room"), 4, 4)
	c.expect("n", numbers(1, 4)...)
	next.expect("n", numbers(1, 4)...)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("back after %v", took)
	}
}

// Everybody gets everything in one order, whichever server publishes and wherever they are.
func TestOneOrder(t *testing.T) {
	_, nodes := serveNodes(t, 3, recovering)
	var clients []*stockClient
	for i := range 6 {
		clients = append(clients, newStock(t).connect(nodes[i%3]))
	}
	for _, c := range clients {
		eventually(t, "the join", func() bool {
			for _, node := range nodes {
				if s := node.Of("/").Socket(c.view().sid); s != nil && slices.Contains(s.Rooms(), "room") {
					return true
				}
			}
			return false
		})
	}
	const each = 100
	var publishing sync.WaitGroup
	for i, node := range nodes {
		publishing.Go(func() {
			for n := range each {
				if n%2 == 0 {
					if err := node.To("room").Emit("n", fmt.Sprint(i, "-", n)); err != nil {
						t.Error(err)
					}
				} else if _, err := node.To("room").Publish(testContext(t), "", "n", fmt.Sprint(i, "-", n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	publishing.Wait()
	want := func() []string { return clients[0].events("n") }
	eventually(t, "all events", func() bool { return len(want()) == each*len(nodes) })
	for _, c := range clients[1:] {
		c.expect("n", want()...)
	}
	for i := range nodes {
		var own []string
		for _, n := range want() {
			if n[1] == byte('0'+i) {
				own = append(own, n)
			}
		}
		for n, got := range own {
			if got != fmt.Sprintf("%q", fmt.Sprint(i, "-", n)) {
				t.Fatalf("server %d's event %d is %s", i, n, got)
			}
		}
	}
}

// Volatile and unlogged events reach clients of other servers, with the position that these have reached.
func TestUnloggedEventsElsewhere(t *testing.T) {
	_, nodes := serveNodes(t, 2, recovering)
	a, b := nodes[0], nodes[1]
	c := newStock(t).connect(b)
	publishNumbers(t, a.To("room"), 1, 1)
	c.expect("n", "1")
	// A volatile event is dropped while another one is still being written.
	eventually(t, "nothing is under way", func() bool { return b.Of("/").Socket(c.view().sid).Conn().QueuedBytes() == 0 })
	if err := a.To("room").Volatile().Emit("v", "volatile"); err != nil {
		t.Fatal(err)
	}
	if err := a.To("room").Unlogged().Emit("u", "unlogged"); err != nil {
		t.Fatal(err)
	}
	if err := a.To("room").Local().Emit("l", "local"); err != nil {
		t.Fatal(err)
	}
	c.expect("v", `"volatile"`)
	c.expect("u", `"unlogged"`)
	publishNumbers(t, a.To("room"), 2, 2)
	c.expect("n", "1", "2")
	if got := c.events("l"); len(got) > 0 {
		t.Errorf("an event for the clients of another server: %v", got)
	}
	c.cut()
	publishNumbers(t, a.To("room"), 3, 3)
	c.connect(a)
	c.expect("n", "1", "2", "3")
}

// Redis forgets everything while clients are connected and events flow. Whoever is affected is not left with a hole that
// nobody tells of: it has a new session, or everything.
func TestRedisForgets(t *testing.T) {
	redis, nodes := serveNodes(t, 2, recovering)
	clients := []*stockClient{newStock(t).connect(nodes[0]), newStock(t).connect(nodes[1])}
	publishNumbers(t, nodes[0].To("room"), 1, 3)
	for _, c := range clients {
		c.expect("n", "1", "2", "3")
	}
	if err := redis.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is open again", func() bool {
		_, err := nodes[0].To("elsewhere").Publish(testContext(t), "", "n", 0)
		return err == nil
	})
	for i, c := range clients {
		eventually(t, "the connection ends", c.isClosed)
		sid := c.view().sid
		c.connect(nodes[i])
		if v := c.view(); v.recovered || v.sid == sid {
			t.Errorf("recovered, with a part of the history lost: %+v", v)
		}
	}
	publishNumbers(t, nodes[1].To("room"), 4, 5)
	for _, c := range clients {
		eventually(t, "events go on", func() bool { return slices.Contains(c.events("n"), "5") })
	}
}

// Clients are cut off again and again, and go to any server; servers' connections to Redis are cut too. Nothing is lost,
// nothing comes twice, and the order is everywhere the same.
func TestClientsRoam(t *testing.T) {
	redis := redistest.Start(t)
	var nodes []*testServer
	var proxies []*redistest.Proxy
	for range 3 {
		proxy := redistest.StartProxy(t, redis.Addr)
		rdb, err := redislog.Dial("redis://" + proxy.Addr)
		if err != nil {
			t.Fatal(err)
		}
		proxies = append(proxies, proxy)
		nodes = append(nodes, recovering(t, onClient(t, rdb, redislog.Options{Window: time.Hour})))
	}
	var clients []*stockClient
	for i := range 12 {
		c := newStock(t).connect(nodes[i%3])
		sid := c.view().sid
		eventually(t, "the join", func() bool { return slices.Contains(nodes[i%3].Of("/").Socket(sid).Rooms(), "room") })
		publishNumbers(t, nodes[0].To(sid), 0, 0) // from here on it has a position
		c.expect("n", "0")
		clients = append(clients, c)
	}
	const total = 600
	stop := make(chan struct{})
	var roaming sync.WaitGroup
	for _, c := range clients {
		roaming.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(20+rand.IntN(80)) * time.Millisecond):
				}
				if rand.IntN(2) == 0 {
					c.cut()
				} else {
					defer c.leave().cut()
				}
				for !c.dial(nodes[rand.IntN(3)]) {
				}
				eventually(t, "CONNECT", func() bool { return c.isConnected() || c.isClosed() })
			}
		})
	}
	accepted := []string{"0"}
	for n := 1; n <= total; n++ {
		if n%100 == 0 {
			proxies[n/100%3].Cut()
		}
		id := fmt.Sprint("id", n)
		eventually(t, "accepted", func() bool {
			_, err := nodes[rand.IntN(3)].To("room").Publish(testContext(t), id, "n", n)
			return err == nil
		})
		accepted = append(accepted, fmt.Sprint(n))
	}
	close(stop)
	roaming.Wait()
	for _, c := range clients {
		eventually(t, "everything", func() bool {
			if c.isClosed() {
				c.dial(nodes[rand.IntN(3)])
			}
			return len(c.events("n")) >= len(accepted)
		})
		c.expect("n", accepted...)
	}
}
