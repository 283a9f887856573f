package recovery

import (
	"sync"
	"time"
)

// backlog is what Async has handed out and not committed. MaxQueued bounds it:
// its entries stay in the sequencer's account until they are committed.
type backlog struct {
	mu      sync.Mutex
	batches []batch
	closed  bool
	wake    chan struct{}
}

func (l *backlog) put(b batch) {
	l.mu.Lock()
	l.batches = append(l.batches, b)
	l.mu.Unlock()
	l.signal()
}

func (l *backlog) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
}

func (l *backlog) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// get waits for batches and joins as many as fit into one. It returns false once
// the backlog is closed and empty.
func (l *backlog) get(maxEntries, maxBytes int) (b batch, ok bool) {
	for {
		l.mu.Lock()
		n, entries, bytes := 0, 0, 0
		for ; n < len(l.batches); n++ {
			entries += len(l.batches[n].waiters)
			for _, w := range l.batches[n].waiters {
				bytes += w.size
			}
			if n > 0 && (entries > maxEntries || bytes > maxBytes) {
				break
			}
			b.entries = append(b.entries, l.batches[n].entries...)
			b.waiters = append(b.waiters, l.batches[n].waiters...)
		}
		rest := copy(l.batches, l.batches[n:])
		clear(l.batches[rest:])
		l.batches = l.batches[:rest]
		closed := l.closed
		l.mu.Unlock()
		if n > 0 || closed {
			return b, n > 0
		}
		<-l.wake
	}
}

// writeBehind is the goroutine that, with Async, commits what was handed out. It
// tries again until it succeeds or the sequencer is closed for good.
func (s *Sequencer) writeBehind() {
	for {
		b, ok := s.backlog.get(s.opts.MaxBatch, s.opts.MaxBatchBytes)
		if !ok {
			return
		}
		if len(b.entries) > 0 && !s.persist(b.entries) {
			s.lost += len(b.entries)
		}
		s.forget(b.waiters)
		s.account(b.waiters)
	}
}

func (s *Sequencer) persist(entries []Entry) bool {
	for attempt := 0; ; attempt++ {
		err := s.commit(entries)
		if err == nil {
			return true
		}
		if present, known := s.committed(entries); known && present {
			return true
		}
		if attempt == 0 {
			s.opts.Logger.Warn("recovery: handed-out entries are not durable yet; trying again",
				"namespace", s.opts.Namespace, "entries", len(entries), "error", err)
		}
		timer := time.NewTimer(s.opts.RetryDelay << min(attempt, 4))
		select {
		case <-timer.C:
		case <-s.base.Done():
			timer.Stop()
			return false
		}
	}
}
