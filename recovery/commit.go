package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// sequence is the goroutine that takes what is queued, batch by batch, numbers
// it and, with Sync, commits it.
func (s *Sequencer) sequence() {
	defer close(s.handing)
	var doubt *batch
	for {
		waiters, ok := s.take(doubt != nil)
		if doubt != nil && s.settle(doubt) {
			doubt = nil
		}
		if doubt != nil {
			s.fail(waiters, fmt.Errorf("%w: an earlier commit is in doubt", ErrNotDurable))
			waiters = nil
		}
		if len(waiters) > 0 {
			doubt = s.process(waiters)
		}
		if !ok {
			return
		}
	}
}

// take waits for queued entries and returns as many as make up a batch. It
// returns without any after a while if retry is set; ok is false once the
// sequencer is closed and its queue is empty.
func (s *Sequencer) take(retry bool) (waiters []*pending, ok bool) {
	var again <-chan time.Time
	if retry {
		timer := time.NewTimer(s.opts.RetryDelay)
		defer timer.Stop()
		again = timer.C
	}
	for {
		s.mu.Lock()
		n, bytes := 0, 0
		for n < len(s.queue) && n < s.opts.MaxBatch {
			if bytes += s.queue[n].size; n > 0 && bytes > s.opts.MaxBatchBytes {
				bytes -= s.queue[n].size
				break
			}
			n++
		}
		if n > 0 {
			waiters = append([]*pending(nil), s.queue[:n]...)
			rest := copy(s.queue, s.queue[n:])
			clear(s.queue[rest:])
			s.queue = s.queue[:rest]
			if s.backlog == nil {
				s.freeRoom(n, bytes)
			}
		}
		closed := s.closed
		s.mu.Unlock()
		if n > 0 || closed {
			return waiters, n > 0
		}
		select {
		case <-s.wake:
		case <-again:
			return nil, true
		}
	}
}

// process brings one batch on its way. It returns the batch if its commit
// failed in such a way that the log may or may not have it.
func (s *Sequencer) process(waiters []*pending) (doubt *batch) {
	if waiters = s.dedupe(waiters); len(waiters) == 0 {
		return nil
	}
	b := batch{waiters: waiters}
	now := later(s.last, OffsetAt(s.opts.Now()))
	if now != s.last {
		// The first of a millisecond has Seq 0.
		s.last = now
	} else {
		s.last = s.last.Next()
	}
	for _, w := range waiters {
		if w.dup {
			continue
		}
		w.entry.Offset = s.last
		b.entries = append(b.entries, w.entry)
		s.last = s.last.Next()
	}
	if len(b.entries) > 0 {
		s.last = b.entries[len(b.entries)-1].Offset
	}
	if s.opts.Durable == nil || s.backlog != nil || len(b.entries) == 0 {
		s.handing <- b
		return nil
	}
	if err := s.commit(b.entries); err != nil {
		b.waiters = nil
		if present, known := s.committed(b.entries); known && !present {
			s.fail(waiters, err)
			return nil
		} else if known {
			b.waiters = waiters
			s.handing <- b
			return nil
		}
		s.opts.Logger.Warn("recovery: cannot tell whether a commit took place; publishing stops until the log answers",
			"namespace", s.opts.Namespace, "entries", len(b.entries), "error", err)
		s.fail(waiters, err)
		return &b
	}
	s.handing <- b
	return nil
}

// dedupe marks the entries whose ID the log has, and fails those for which it
// cannot tell.
func (s *Sequencer) dedupe(waiters []*pending) []*pending {
	if s.opts.Durable == nil && s.opts.Hot == nil {
		return waiters
	}
	var ids []string
	for _, w := range waiters {
		if w.entry.ID != "" {
			ids = append(ids, w.entry.ID)
		}
	}
	if len(ids) == 0 {
		return waiters
	}
	ctx, cancel := context.WithTimeout(s.base, s.opts.CommitTimeout)
	defer cancel()
	var log Log = s.opts.Hot
	if s.opts.Durable != nil {
		log = s.opts.Durable
	}
	known, err := log.Lookup(ctx, s.opts.Namespace, ids)
	kept := waiters[:0]
	var failed []*pending
	for _, w := range waiters {
		if w.entry.ID == "" {
			kept = append(kept, w)
		} else if err != nil {
			failed = append(failed, w)
		} else {
			if offset, ok := known[w.entry.ID]; ok {
				w.dup, w.entry.Offset = true, offset
			}
			kept = append(kept, w)
		}
	}
	if err != nil {
		if s.backlog != nil {
			s.account(failed)
		}
		s.fail(failed, fmt.Errorf("%w: failed to look for an earlier entry of the same ID: %w", ErrNotDurable, err))
	}
	return kept
}

func (s *Sequencer) commit(entries []Entry) error {
	ctx, cancel := context.WithTimeout(s.base, s.opts.CommitTimeout)
	defer cancel()
	if err := s.opts.Durable.Append(ctx, s.opts.Namespace, entries); err != nil {
		return fmt.Errorf("%w: failed to append to the log: %w", ErrNotDurable, err)
	}
	return nil
}

// committed asks the durable log, after a failed commit, what became of it.
func (s *Sequencer) committed(entries []Entry) (present, known bool) {
	ctx, cancel := context.WithTimeout(s.base, s.opts.CommitTimeout)
	defer cancel()
	last, err := s.opts.Durable.Last(ctx, s.opts.Namespace)
	if err != nil {
		return false, false
	}
	return !last.Before(entries[len(entries)-1].Offset), true
}

// settle tries to find out about a batch in doubt and hands it out if the log
// has it after all. Its publishers have been told that it may be.
func (s *Sequencer) settle(b *batch) bool {
	present, known := s.committed(b.entries)
	if present {
		s.handing <- *b
	}
	return known
}

// handOut is the goroutine that hands entries out, in the order of the log. It
// runs beside the commit of the next batch.
func (s *Sequencer) handOut() {
	if s.backlog != nil {
		defer s.backlog.close()
	}
	for b := range s.handing {
		if len(b.entries) > 0 {
			s.heat(b.entries)
			s.fence.Lock()
			s.opts.Deliver(b.entries)
			s.handed = b.entries[len(b.entries)-1].Offset
			s.fence.Unlock()
		}
		if s.backlog != nil {
			s.tell(b.waiters)
			s.backlog.put(b)
			continue
		}
		s.forget(b.waiters)
		s.tell(b.waiters)
	}
}

// heat appends to the hot log. If that fails it has a hole, and begins anew
// behind it.
func (s *Sequencer) heat(entries []Entry) {
	if s.opts.Hot == nil {
		return
	}
	// Not s.base: what is committed is handed out even while Close gives up.
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.CommitTimeout)
	defer cancel()
	err := s.opts.Hot.Append(ctx, s.opts.Namespace, entries)
	if err != nil {
		err = errors.Join(err, s.opts.Hot.Begin(ctx, s.opts.Namespace, entries[len(entries)-1].Offset))
		s.opts.Logger.Warn("recovery: the hot log missed entries", "namespace", s.opts.Namespace, "error", err)
	}
}

// fail tells publishers that their entries are not accepted. With Async it is
// for the caller to take them out of the account.
func (s *Sequencer) fail(waiters []*pending, err error) {
	for _, w := range waiters {
		w.err = err
	}
	s.forget(waiters)
	s.tell(waiters)
}

func (s *Sequencer) tell(waiters []*pending) {
	for _, w := range waiters {
		close(w.done)
	}
}

// forget ends the time in which a repeated ID joins its first publisher: from
// now on it is found in the log.
func (s *Sequencer) forget(waiters []*pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range waiters {
		if w.entry.ID != "" {
			delete(s.inFlight, w.entry.ID)
		}
	}
}

// account takes entries that Async has committed or refused out of MaxQueued.
func (s *Sequencer) account(waiters []*pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes := 0
	for _, w := range waiters {
		bytes += w.size
	}
	s.freeRoom(len(waiters), bytes)
}
