package recovery_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
)

// machine runs a sequencer that is killed between two of its steps. What was
// done before stays done, nothing happens after.
type machine struct {
	mu    sync.Mutex
	steps int
	until int // the step that is not reached any more; zero: none
}

// step says whether the machine is alive.
func (m *machine) step() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps++
	return m.until == 0 || m.steps < m.until
}

func (m *machine) alive() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.until == 0 || m.steps < m.until
}

// client remembers what it received, over all crashes.
type client struct {
	mu       sync.Mutex
	position recovery.Offset
	got      []string
}

func (c *client) receive(e recovery.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.position = e.Offset
	c.got = append(c.got, string(e.Data))
}

// life runs a node from its start until it is killed or all is published. It
// returns how many steps that took.
func life(t testing.TB, durable recovery.Log, c *client, unanswered *[]recovery.Entry, until int) int {
	m := &machine{until: until}
	faulty := &faultyLog{Log: durable}
	hot := memoryLog()
	connected := false
	seq, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{
		Namespace: "/", Durable: faulty, Hot: hot, MaxBatch: 3, Logger: slog.New(slog.DiscardHandler),
		Deliver: func(entries []recovery.Entry) {
			for _, e := range entries {
				if m.step() && connected {
					c.receive(e)
				}
			}
			m.step()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	faulty.set(func(l *faultyLog) {
		dead := func() error {
			if !m.alive() {
				return errInjected
			}
			return nil
		}
		l.before = func([]recovery.Entry) error { m.step(); return dead() }
		l.after = func([]recovery.Entry) error { m.step(); return dead() }
		l.query = dead
	})
	seq.Fence(func(fence recovery.Offset) {
		for _, e := range readAll(t.(*testing.T), recovery.Tiers(hot, durable), recovery.Query{After: c.position, Through: fence, Rooms: []string{"r"}}) {
			if m.step() {
				c.receive(e)
			}
		}
		connected = m.alive()
	})
	var running sync.WaitGroup
	var mu sync.Mutex
	var left []recovery.Entry
	todo := *unanswered
	for p := range 2 {
		running.Go(func() {
			for i := p; i < len(todo); i += 2 {
				_, _, err := seq.Publish(ctx, todo[i])
				if err == nil {
					m.step()
				}
				if err != nil || !m.alive() {
					mu.Lock()
					left = append(left, todo[i])
					mu.Unlock()
				}
			}
		})
	}
	running.Wait()
	*unanswered = left
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_ = seq.Close(gone)
	return m.steps
}

// checkCrashes publishes messages through lives that end at the given steps and
// one that does not, and checks that the client got each message once and in
// the order of the log.
func checkCrashes(t *testing.T, crashes ...int) (steps int) {
	const messages = 8
	durable := memoryLog()
	c := new(client)
	c.position, _ = durable.Start(ctx, "/")
	start := c.position
	var unanswered []recovery.Entry
	for i := range messages {
		unanswered = append(unanswered, message(i))
	}
	for _, until := range crashes {
		life(t, durable, c, &unanswered, until)
	}
	steps = life(t, durable, c, &unanswered, 0)
	if len(unanswered) > 0 {
		t.Fatalf("crashes at %v: %d messages were never accepted", crashes, len(unanswered))
	}
	stored := texts(readAll(t, durable, recovery.Query{After: start, Rooms: []string{"r"}}))
	if !slices.Equal(c.got, stored) {
		t.Errorf("crashes at %v: the client got %v, the log has %v", crashes, c.got, stored)
	}
	slices.Sort(stored)
	if len(stored) != messages || len(slices.Compact(stored)) != messages {
		t.Errorf("crashes at %v: the log has %v", crashes, stored)
	}
	return steps
}

func TestCrashBetweenAnyTwoSteps(t *testing.T) {
	steps := checkCrashes(t)
	for until := 1; until <= 2*steps; until++ {
		checkCrashes(t, until)
	}
}

func TestCrashAgainAndAgain(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		checkCrashes(t, rapid.SliceOfN(rapid.IntRange(1, 40), 1, 5).Draw(rt, "crashes")...)
	})
}

// Sockets that come and go while messages are published get each one once: the
// history up to the fence, and from there on what is handed out.
func TestReconnectMissesNothing(t *testing.T) {
	const messages, clients = 3000, 8
	durable := memoryLog()
	// So small that most replays have to go to the deeper log.
	hot := memory.NewLog(memory.LogOptions{MaxBytes: 4000})
	logs := recovery.Tiers(hot, durable)
	var sockets sync.Map // of chan recovery.Entry
	seq, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{
		Namespace: "/", Durable: durable, Hot: hot,
		Deliver: func(entries []recovery.Entry) {
			sockets.Range(func(_, queue any) bool {
				for _, e := range entries {
					select {
					case queue.(chan recovery.Entry) <- e:
					default:
						t.Error("more was handed out than was published")
					}
				}
				return true
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	start := seq.Handed()
	var running sync.WaitGroup
	for p := range 4 {
		running.Go(func() {
			for i := p; i < messages; i += 4 {
				if _, _, err := seq.Publish(ctx, message(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all := make([]*client, clients)
	for n := range clients {
		c := &client{position: start}
		all[n] = c
		running.Go(func() {
			for len(c.got) < messages {
				live := make(chan recovery.Entry, messages)
				var fence recovery.Offset
				seq.Fence(func(at recovery.Offset) {
					fence = at
					sockets.Store(n, live)
				})
				q := recovery.Query{After: c.position, Through: fence, Rooms: []string{"r"}, Limit: 50}
				for more := true; more; {
					page, err := logs.Read(ctx, "/", q)
					if err != nil {
						t.Error(err)
						return
					}
					for _, e := range page.Entries {
						c.receive(e)
					}
					q.After, more = page.Next, page.More
				}
				for range rand.IntN(200) {
					if len(c.got) == messages {
						break
					}
					select {
					case e := <-live:
						c.receive(e)
					case <-time.After(time.Minute):
						t.Errorf("client %d waits in vain after %d messages", n, len(c.got))
						return
					}
				}
				// What is still in the queue is lost with the connection.
				sockets.Delete(n)
			}
		})
	}
	running.Wait()
	if err := seq.Close(ctx); err != nil {
		t.Fatal(err)
	}
	stored := texts(readAll(t, durable, recovery.Query{After: start, Rooms: []string{"r"}}))
	for n, c := range all {
		if !slices.Equal(c.got, stored) {
			t.Errorf("client %d got %d messages, the log has %d; or in another order", n, len(c.got), len(stored))
		}
	}
	if len(stored) != messages {
		t.Error(fmt.Sprint(len(stored), " stored"))
	}
}
