//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFanOut: every message of several publishers reaches every client of a large room, in each publisher's order.
func TestFanOut(t *testing.T) {
	const publishers, messages, clients = 4, 500, 1000
	d := startDaemon(t)
	peers := joinMany(t, d, "crowd", clients)

	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for n := range messages {
				if err := d.publish("crowd", map[string]int{"publisher": p, "n": n}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()

	within(t, 5*time.Minute, "every client has every message", func() bool {
		for _, p := range peers {
			if p.count() < publishers*messages {
				return false
			}
		}
		return true
	})
	for i, p := range peers {
		if err := inEachPublishersOrder(p, publishers, messages); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
}

func inEachPublishersOrder(p *peer, publishers, messages int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	next := make([]int, publishers)
	for _, data := range p.messages {
		var m struct {
			Publisher, N int
			Room         string
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return err
		}
		if m.Room != "crowd" || m.N != next[m.Publisher] {
			return fmt.Errorf("message %s comes where number %d of its publisher should", data, next[m.Publisher])
		}
		next[m.Publisher]++
	}
	for publisher, n := range next {
		if n != messages {
			return fmt.Errorf("%d messages of publisher %d came, want %d", n, publisher, messages)
		}
	}
	return nil
}

// joinMany connects clients to a room, a few at a time.
func joinMany(t *testing.T, d *daemon, room string, count int) []*peer {
	t.Helper()
	peers := make([]*peer, count)
	t.Cleanup(func() {
		for _, p := range peers {
			if p != nil {
				p.close()
			}
		}
	})
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range peers {
		slots <- struct{}{}
		if failed.Load() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			p, err := join(d.host, room)
			if err != nil {
				failed.CompareAndSwap(nil, &err)
				return
			}
			peers[i] = p
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	return peers
}
