package engineio

import (
	"sync"
	"time"
)

// wheel is one timer for the heartbeats of all sessions: a hashed timer wheel whose slots are doubly linked lists
// threaded through the sessions themselves, so that scheduling allocates nothing. A session has one deadline at a
// time; what it means follows from the session's state.
//
// Lock order: Session.mu before wheel.mu. fire is called without wheel.mu.
type wheel struct {
	tick  time.Duration
	fire  func(*Session)
	start time.Time

	mu      sync.Mutex
	slots   []*Session
	now     int64 // the last tick that was processed
	running bool
	stop    chan struct{}
	stopped sync.WaitGroup
	count   int
	closed  bool
}

const wheelSlots = 512

// newWheel returns a wheel whose resolution is fit for deadlines of about span.
func newWheel(span time.Duration, fire func(*Session)) *wheel {
	tick := min(max(span/200, time.Millisecond), 100*time.Millisecond)
	return &wheel{tick: tick, fire: fire, start: time.Now(), slots: make([]*Session, wheelSlots), stop: make(chan struct{})}
}

// schedule sets s's deadline to d from now, in place of the one it had. It fires up to a tick early: a client that
// counts the same interval must not find the session still there after it.
func (w *wheel) schedule(s *Session, d time.Duration) {
	elapsed := time.Since(w.start)
	due := int64((elapsed + d) / w.tick)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(s)
	if w.closed {
		return
	}
	start := !w.running
	if start {
		w.now = int64(elapsed / w.tick)
	}
	if due <= w.now {
		due = w.now + 1
	}
	slot := &w.slots[due%wheelSlots]
	s.wheelDue, s.wheelNext, s.wheelPrev = due, *slot, nil
	if *slot != nil {
		(*slot).wheelPrev = s
	}
	*slot = s
	w.count++
	if start {
		w.running = true
		w.stopped.Add(1)
		go w.run()
	}
}

// cancel takes s's deadline away.
func (w *wheel) cancel(s *Session) {
	w.mu.Lock()
	w.unlink(s)
	w.mu.Unlock()
}

// scheduled reports whether s has a deadline.
func (w *wheel) scheduled(s *Session) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return s.wheelDue != 0
}

func (w *wheel) unlink(s *Session) {
	if s.wheelDue == 0 {
		return
	}
	if s.wheelPrev != nil {
		s.wheelPrev.wheelNext = s.wheelNext
	} else {
		w.slots[s.wheelDue%wheelSlots] = s.wheelNext
	}
	if s.wheelNext != nil {
		s.wheelNext.wheelPrev = s.wheelPrev
	}
	s.wheelDue, s.wheelNext, s.wheelPrev = 0, nil, nil
	w.count--
}

// run ends by itself when no deadline is left, so that a server without clients has no goroutine.
func (w *wheel) run() {
	defer w.stopped.Done()
	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()
	var due []*Session
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
		}
		w.mu.Lock()
		target := int64(time.Since(w.start) / w.tick)
		// After a long stall one turn visits every slot; more turns would find the same sessions.
		if target-w.now > wheelSlots {
			w.now = target - wheelSlots
		}
		for w.now < target {
			w.now++
			for s := w.slots[w.now%wheelSlots]; s != nil; {
				next := s.wheelNext
				if s.wheelDue <= target {
					w.unlink(s)
					due = append(due, s)
				}
				s = next
			}
		}
		if w.count == 0 && len(due) == 0 {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		for i, s := range due {
			w.fire(s)
			due[i] = nil
		}
		due = due[:0]
	}
}

// close ends the wheel; deadlines set before and after are void.
func (w *wheel) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.stop)
	}
	w.mu.Unlock()
	w.stopped.Wait()
}
