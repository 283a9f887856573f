//go:build redis

package zishang520_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/twine"
)

// Four publishers on each server at once, two clients on each. All of them get
// everything, and the same in the same order, however the servers and the
// publishers race: also those of that library's server, whose own adapters lose
// most of such a burst (see examples/migrate-zishang520/faults).
func TestConcurrentPublishers(t *testing.T) {
	for _, recovery := range []bool{false, true} {
		t.Run(fmt.Sprint("recovery=", recovery), func(t *testing.T) { testConcurrentPublishers(t, recovery) })
	}
}

func testConcurrentPublishers(t *testing.T, recovery bool) {
	c := newClusterWith(t, recovery)
	_ = c.theirs.On("connection", func(clients ...any) { clients[0].(*socket.Socket).Join("room") })
	c.ours.OnConnect(func(s *twine.Socket) { s.Join("room") })
	var clients []*client
	for range 2 {
		theirs, ours := c.both()
		clients = append(clients, theirs, ours)
	}
	eventually(t, "all are in their room", func() bool {
		list, err := c.ours.To("room").FetchSockets(t.Context())
		return err == nil && len(list) == len(clients)
	})

	const publishers, each = 4, 500
	const total = 2 * publishers * each
	var running sync.WaitGroup
	for p := range publishers {
		running.Go(func() {
			for i := range each {
				c.theirs.To("room").Emit("e", "theirs", p, i)
			}
		})
		running.Go(func() {
			for i := range each {
				if err := c.ours.To("room").Emit("e", "ours", p, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	for i, cl := range clients {
		eventually(t, fmt.Sprint("client ", i), func() bool { return len(cl.got()) >= total })
	}
	var order []string
	for i, cl := range clients {
		var events []string
		next := make(map[string]int)
		for _, e := range cl.got() {
			var server string
			var p, n int
			// With recovery, an offset follows.
			if _, err := fmt.Sscanf(e, `["e",%q,%d,%d`, &server, &p, &n); err != nil {
				t.Fatalf("client %d got %s: %v", i, e, err)
			}
			publisher := fmt.Sprint(server, p)
			if n != next[publisher] {
				t.Fatalf("client %d got %s, want number %d", i, e, next[publisher])
			}
			next[publisher]++
			events = append(events, fmt.Sprint(publisher, " ", n))
		}
		if order == nil {
			order = events
		}
		if !slices.Equal(events, order) {
			t.Errorf("client %d got another order", i)
		}
	}
	t.Logf("%d events from %d publishers on each server: lost on that library's server: %d, on ours: %d", total, publishers,
		2*total-len(clients[0].got())-len(clients[2].got()), 2*total-len(clients[1].got())-len(clients[3].got()))
}
