package twine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine"
)

func closeServer(t *testing.T, srv *testServer) {
	t.Helper()
	if err := srv.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// A server closes and another one opens on the same stores, as in a restart of the process.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir)
	srv := serveRecovery(t, &twine.Recovery{Log: store.Log(), Sessions: store.Sessions()})
	var clients []*stockClient
	for range 5 {
		c := newStock(t).connect(srv)
		sid := c.view().sid
		eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
		clients = append(clients, c)
	}
	publishNumbers(t, srv.To("room"), 1, 1)
	for _, c := range clients {
		c.expect("n", "1")
	}
	clients[4].cut() // was away before
	emitNumbers(t, srv.To("room"), 2, 40)
	// Not stored yet, maybe.
	if err := srv.In("room").SocketsJoin("late"); err != nil {
		t.Fatal(err)
	}
	closeServer(t, srv)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients[:4] {
		eventually(t, "the end of the connection", func() bool { return !c.isConnected() })
	}

	again := serveRecovery(t, onDisk(t, dir))
	publishNumbers(t, again.To("room"), 41, 41)
	for i, c := range clients {
		before := c.view()
		c.cut()
		c.connect(again)
		if v := c.view(); !v.recovered || v.sid != before.sid {
			t.Errorf("client %d is not recovered", i)
		}
		c.expect("n", numbers(1, 41)...)
	}
	publishNumbers(t, again.To("late"), 42, 42)
	for _, c := range clients[:4] {
		c.expect("n", numbers(1, 42)...)
	}
}

// A server is gone without a word: none of its stores' calls succeeds from one instant on.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir)
	srv := serveRecovery(t, &twine.Recovery{Log: store.Log(), Sessions: store.Sessions()})
	c := newStock(t).connect(srv)
	sid := c.view().sid
	eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
	publishNumbers(t, srv.To("room"), 1, 1)
	c.expect("n", "1")
	conn := c.current()
	_ = conn
	srv.Of("/").Socket(sid).Join("persisted") // returns when it is stored
	old := c.leave()
	defer old.cut()
	var published []string
	for i := range 20 {
		if _, err := srv.To("persisted").Publish(testContext(t), "", "n", i+2); err == nil {
			published = append(published, fmt.Sprint(i+2))
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.To("room").Publish(testContext(t), "", "n", "lost"); err == nil {
		t.Error("published into a store that is closed")
	}

	again := serveRecovery(t, onDisk(t, dir))
	publishNumbers(t, again.To("room"), 22, 22)
	c.connect(again)
	if v := c.view(); !v.recovered || v.sid != sid {
		t.Errorf("not recovered: %+v", v)
	}
	c.expect("n", append(append([]string{"1"}, published...), "22")...)
	publishNumbers(t, again.To("persisted"), 23, 23)
	c.expect("n", numbers(1, 23)...)
}

func TestPublishOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		srv := serveRecovery(t, r)
		c := newStock(t).connect(srv)
		sid := c.view().sid
		eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
		first, err := srv.To("room").Publish(testContext(t), "key", "n", 1)
		if err != nil || first.Duplicate || first.Offset.IsZero() {
			t.Fatalf("%+v, %v", first, err)
		}
		second, err := srv.To("room").Publish(testContext(t), "key", "n", 1)
		if err != nil || !second.Duplicate || second.Offset != first.Offset {
			t.Errorf("%+v, %v; want a duplicate of %v", second, err, first.Offset)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		offsets := make(map[recovery.Offset]int)
		originals := 0
		for range 50 {
			wg.Go(func() {
				p, err := srv.To("room").Publish(testContext(t), "other key", "n", 2)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				offsets[p.Offset]++
				if !p.Duplicate {
					originals++
				}
			})
		}
		wg.Wait()
		if len(offsets) != 1 || originals != 1 {
			t.Errorf("%d originals at %v", originals, offsets)
		}
		publishNumbers(t, srv.To("room"), 3, 3)
		c.expect("n", "1", "2", "3")
		if c.view().seen[0].offset != first.Offset.String() {
			t.Errorf("the client was told offset %s, the publisher %v", c.view().seen[0].offset, first.Offset)
		}
	})
}

func TestPublishThatFailsIsNotDelivered(t *testing.T) {
	g := new(gate)
	durable := gatedLog{memory.NewLog(memory.LogOptions{}), g}
	srv := serveRecovery(t, &twine.Recovery{Log: durable})
	c := newStock(t).connect(srv)
	sid := c.view().sid
	eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
	publishNumbers(t, srv.To("room"), 1, 1)
	g.down("append")
	for range 3 {
		if p, err := srv.To("room").Publish(testContext(t), "key", "n", 2); !errors.Is(err, recovery.ErrNotDurable) {
			t.Errorf("published %+v, %v", p, err)
		}
	}
	before := g.count("append")
	if err := srv.To("room").Emit("n", "lost"); err != nil {
		t.Errorf("emit: %v", err)
	}
	eventually(t, "the attempt", func() bool { return g.count("append") > before })
	if !strings.Contains(srv.log.String(), "nobody gets them") {
		t.Error("nobody was told")
	}
	g.up()
	// The same id again, and then what follows.
	eventually(t, "the log takes events", func() bool {
		_, err := srv.To("room").Publish(testContext(t), "key", "n", 2)
		return err == nil
	})
	publishNumbers(t, srv.To("room"), 3, 3)
	got := []string{"1", "2", "3"}
	c.expect("n", got...)
	c.cut()
	c.connect(srv)
	publishNumbers(t, srv.To("room"), 4, 4)
	c.expect("n", append(got, "4")...)
}

func TestPublishWithoutRecovery(t *testing.T) {
	srv := serve(t, nil)
	if _, err := srv.To("room").Publish(testContext(t), "", "n"); err != twine.ErrNoRecovery {
		t.Errorf("%v", err)
	}
}

// The disk is full for a while. What was accepted is there, what was refused is not, and service goes on.
func TestFullDisk(t *testing.T) {
	store, err := disk.Open(t.TempDir()+"/h.db", disk.Options{MaxBytes: 512 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	srv := serveRecovery(t, &twine.Recovery{Log: store.Log(), Sessions: store.Sessions(), MaxReplay: 1 << 20})
	c := newStock(t).connect(srv)
	sid := c.view().sid
	eventually(t, "the join", func() bool { return len(srv.Of("/").Socket(sid).Rooms()) == 2 })
	pad := make([]byte, 8<<10)
	for i := range pad {
		pad[i] = 'x'
	}
	publishNumbers(t, srv.To("room"), 1, 1)
	c.expect("n", "1")
	var accepted []string
	for i := range 200 {
		p, err := srv.To("room").Publish(context.Background(), fmt.Sprint("id", i), "big", string(pad), i)
		if err != nil {
			if !errors.Is(err, recovery.ErrNotDurable) {
				t.Errorf("full: %v", err)
			}
			break
		}
		accepted = append(accepted, p.Offset.String())
	}
	if len(accepted) == 200 {
		t.Fatal("the disk is not full")
	}
	eventually(t, "all that was accepted", func() bool { return len(c.events("big")) >= len(accepted) })
	var got []string
	for _, e := range c.view().seen {
		if e.name == "big" {
			got = append(got, e.offset)
		}
	}
	if !slices.Equal(got, accepted) {
		t.Errorf("delivered %v, accepted %v", got, accepted)
	}
	// A client can still come back, though its session cannot be written.
	fresh := newStock(t)
	fresh.dial(srv)
	eventually(t, "CONNECT or the end", func() bool {
		select {
		case <-fresh.current().done:
			return true
		default:
			return fresh.isConnected()
		}
	})
}
