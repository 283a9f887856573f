package twine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine"
)

// count is what a client has to see of one publisher in one room.
type count struct{ room, publisher string }

// check reports whether c has seen 1 to n of each stream, each once, in order. Problems that can only grow are reported
// at once; it is not one that the end is still missing.
func (c *stockClient) check(want map[count]int) (complete bool, problems []string) {
	v := c.view()
	last := make(map[count]int)
	for _, e := range v.seen {
		if e.name != "n" {
			continue
		}
		var room, publisher string
		var i int
		if len(e.args) != 5 || json.Unmarshal(e.args[0], &room) != nil || json.Unmarshal(e.args[1], &publisher) != nil ||
			json.Unmarshal(e.args[2], &i) != nil {
			problems = append(problems, fmt.Sprintf("event %v", e))
			continue
		}
		key := count{room, publisher}
		if _, subscribed := want[key]; !subscribed {
			problems = append(problems, fmt.Sprintf("%v is not for this client", e))
		}
		switch {
		case i == last[key]+1:
		case i <= last[key]:
			problems = append(problems, fmt.Sprintf("%v: %d again, after %d", key, i, last[key]))
		default:
			problems = append(problems, fmt.Sprintf("%v: %d after %d", key, i, last[key]))
		}
		last[key] = max(last[key], i)
	}
	complete = true
	for key, n := range want {
		complete = complete && last[key] == n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return complete, append(problems, c.disordered...)
}

// soak cuts clients at random while publishers run, and demands that each gets everything, once and in order.
func soak(t *testing.T, r *twine.Recovery, clients int, d time.Duration, change ...func(*twine.Options)) {
	const publishers, rooms = 4, 6
	srv := serveRecovery(t, r, change...)
	all := make([]*stockClient, clients)
	subscribed := make([][]string, clients)
	for i := range all {
		all[i] = newStock(t).connect(srv)
		all[i].keepBuffer = true
		for k := range 3 {
			room := fmt.Sprint("r", (i+k*2)%rooms)
			subscribed[i] = append(subscribed[i], room)
			all[i].emitEvent(fmt.Sprintf(`["join",%q]`, room))
		}
	}
	for i, c := range all {
		eventually(t, "the joins", func() bool {
			s := srv.Of("/").Socket(c.view().sid)
			return s != nil && len(s.Rooms()) == 2+len(subscribed[i])
		})
	}
	// A first event, so that everyone has an offset.
	publishNumbers(t, srv.To("room"), 0, 0)
	for _, c := range all {
		eventually(t, "the first event", func() bool { return len(c.view().seen) > 0 })
		c.mu.Lock()
		c.seen = nil
		c.mu.Unlock()
	}

	stop := make(chan struct{})
	time.AfterFunc(d, func() { close(stop) })
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var mu sync.Mutex
	want := make(map[count]int)
	var work sync.WaitGroup
	for p := range publishers {
		work.Go(func() {
			pad := strings.Repeat("x", 50)
			for i := 0; !stopped(); i++ {
				room := fmt.Sprint("r", rand.IntN(rooms))
				key := count{room, fmt.Sprint("p", p)}
				mu.Lock()
				want[key]++
				n := want[key]
				mu.Unlock()
				var err error
				if i%2 == 0 {
					_, err = srv.To(room).Publish(context.Background(), "", "n", room, key.publisher, n, pad)
				} else {
					err = srv.To(room).Emit("n", room, key.publisher, n, pad)
				}
				if err != nil {
					t.Errorf("publish: %v", err)
				}
				if i%7 == 0 {
					_ = srv.To(room).Volatile().Emit("v", "volatile")
				}
				if i%4 == 0 {
					time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // a pace, nothing is waited for
				}
			}
		})
	}
	var cuts, unrecovered int
	for _, c := range all {
		work.Go(func() {
			for !stopped() {
				time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
				v := c.view()
				var old *testClient
				if rand.IntN(3) == 0 {
					old = c.leave() // half-open
				} else {
					c.cut()
				}
				if !c.dial(srv) {
					return
				}
				mu.Lock()
				cuts++
				if v.connects > 1 && v.connected && !v.recovered {
					unrecovered++
				}
				mu.Unlock()
				if old != nil {
					defer old.cut()
				}
			}
		})
	}
	work.Wait()
	mu.Lock()
	t.Logf("%d cuts, %d connections were not recovered", cuts, unrecovered)
	mu.Unlock()
	deliveries := 0
	for i, c := range all {
		c.cut()
		own := make(map[count]int)
		for key, n := range want {
			for _, room := range subscribed[i] {
				if key.room == room {
					own[key] = n
				}
			}
		}
		var problems []string
		eventuallyOr(t, func() (complete bool) {
			if c.isClosed() {
				c.dial(srv)
			}
			complete, problems = c.check(own)
			return complete || len(problems) > 0
		}, func() string { return fmt.Sprintf("client %d has not got everything", i) })
		for k, p := range problems {
			if k < 5 {
				t.Errorf("client %d: %s", i, p)
			}
		}
		deliveries += len(c.events("n"))
	}
	t.Logf("%d deliveries", deliveries)
	if unrecovered > 0 {
		t.Errorf("%d connections were not recovered", unrecovered)
	}
	eventually(t, "half-open sockets are gone", func() bool {
		for _, c := range all {
			if c.isClosed() {
				c.dial(srv) // a connection that the client had given up had asked for the session last
			}
		}
		return len(srv.Of("/").Sockets()) == clients
	})
	eventually(t, "no claim or lock is left", func() bool { return srv.Leftovers() == 0 })
}

func TestCutsLoseNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		r.MaxReplay = 100_000
		soak(t, r, 24, 3*time.Second)
	})
}

func TestCutsLoseNothingWithPongs(t *testing.T) {
	eachStore(t, func(t *testing.T, r *twine.Recovery) {
		r.MaxReplay = 100_000
		soak(t, r, 12, time.Second, fastPings)
	})
}
