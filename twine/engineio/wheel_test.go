package engineio

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// noDeadline hides the deadline of the test binary, which is in another time than the bubble's.
type noDeadline struct{ rapid.TB }

// The tests run in a bubble of testing/synctest, where time passes when everyone waits.

// TestWheelAgainstModel schedules, reschedules and cancels at random and compares with a map of deadlines.
func TestWheelAgainstModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			const sessions = 8
			span := time.Duration(rapid.IntRange(1, 30_000).Draw(rt, "span")) * time.Millisecond
			type deadline struct{ from, to time.Time }
			want := make(map[*Session]deadline)
			var w *wheel
			var mu sync.Mutex // of want and problem; the race detector does not know of the bubble's order
			var problem string
			w = newWheel(span, func(s *Session) {
				mu.Lock()
				defer mu.Unlock()
				now := time.Now()
				d, ok := want[s]
				delete(want, s)
				switch {
				case !ok:
					problem = "fired without a deadline"
				case now.Before(d.from):
					problem = "fired early by " + d.from.Sub(now).String()
				case now.After(d.to):
					problem = "fired late by " + now.Sub(d.to).String()
				}
			})
			rt.Cleanup(w.close)
			all := make([]Session, sessions)
			session := func() *Session { return &all[rapid.IntRange(0, sessions-1).Draw(rt, "session")] }
			check := func() {
				// Let what is due at this very moment happen.
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				w.mu.Lock()
				defer w.mu.Unlock()
				if problem != "" {
					rt.Fatal(problem)
				}
				for _, d := range want {
					if time.Now().After(d.to) {
						rt.Fatalf("did not fire: %v late", time.Since(d.to))
					}
				}
				if w.count != len(want) {
					rt.Fatalf("count %d, want %d", w.count, len(want))
				}
			}
			rt.Repeat(map[string]func(*rapid.T){
				"schedule": func(rt *rapid.T) {
					mu.Lock()
					defer mu.Unlock()
					s := session()
					d := w.tick * time.Duration(rapid.IntRange(0, 3*wheelSlots*16).Draw(rt, "sixteenths")) / 16
					now := time.Now()
					w.schedule(s, d)
					// At most a tick early, at most two late: one for rounding up from now, one for the ticker.
					want[s] = deadline{now.Add(d - w.tick), now.Add(d + 2*w.tick)}
				},
				"cancel": func(rt *rapid.T) {
					mu.Lock()
					defer mu.Unlock()
					s := session()
					w.cancel(s)
					delete(want, s)
				},
				"wait": func(rt *rapid.T) {
					time.Sleep(w.tick * time.Duration(rapid.IntRange(1, 40).Draw(rt, "sixteenths")) / 16)
				},
				"wait long": func(rt *rapid.T) {
					time.Sleep(w.tick * time.Duration(rapid.IntRange(1, 2*wheelSlots).Draw(rt, "ticks")))
				},
				"": func(*rapid.T) { check() },
			})
			time.Sleep(4 * wheelSlots * w.tick)
			check()
			mu.Lock()
			defer mu.Unlock()
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(want) != 0 || w.running {
				rt.Fatalf("%d deadlines left, running %v", len(want), w.running)
			}
		})
	})
}

// Regression: a deadline within the current tick, set while no other was, went to a slot that the wheel had just
// passed, and fired a whole turn later.
func TestWheelShortDeadlineWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fired := make(chan time.Time, 1)
		w := newWheel(time.Minute, func(*Session) { fired <- time.Now() })
		defer w.close()
		time.Sleep(10*w.tick + w.tick/2)
		now := time.Now()
		w.schedule(new(Session), w.tick/4)
		if late := (<-fired).Sub(now); late > 2*w.tick {
			t.Errorf("fired after %v, with a tick of %v", late, w.tick)
		}
	})
}

func TestWheelAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sessions = 1000
		var fired atomic.Int64
		var w *wheel
		stall := new(Session)
		w = newWheel(time.Second, func(s *Session) {
			if s == stall {
				time.Sleep(3 * wheelSlots * w.tick)
			}
			fired.Add(1)
		})
		defer w.close()
		w.schedule(stall, 10*w.tick)
		for range sessions {
			w.schedule(new(Session), time.Duration(11+rand.IntN(3*wheelSlots))*w.tick)
		}
		time.Sleep((3*wheelSlots + 20) * w.tick)
		synctest.Wait()
		if fired.Load() != sessions+1 {
			t.Errorf("%d deadlines fired, want %d", fired.Load(), sessions+1)
		}
	})
}

func TestWheelClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWheel(time.Second, func(*Session) { t.Error("fired") })
		w.schedule(new(Session), time.Second)
		w.close()
		w.close()
		w.schedule(new(Session), time.Second)
		time.Sleep(time.Minute)
	})
}

// Regression: a deadline that the wheel had taken from its slot, but not yet acted upon, cut a session that was closed
// meanwhile before its last messages had left.
func TestStaleDeadline(t *testing.T) {
	h := newHost(t, &Options{PingInterval: time.Hour, CloseTimeout: time.Hour})
	p := h.dialPolling()
	_ = p.rec.Send(NewText([]byte("last words")))
	p.rec.Close(ReasonForcedClose)
	p.rec.deadline()
	p.expectGet("4last words\x1e1")

	// The same with a pong: the client answered in time.
	p = h.dialPolling()
	p.wheel.cancel(p.rec.Session)
	p.rec.deadline()
	p.expectGet("2")
	p.expectPost("3")
	p.rec.deadline()
	if p.rec.isClosed() {
		t.Error("a client that has answered was closed")
	}
}
