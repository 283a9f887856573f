package disk

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/twine-realtime/twine/recovery"
)

// change is one write transaction, and what it will have changed in the store's
// state once it is committed.
type change struct {
	store  *Store
	tx     *bbolt.Tx
	now    time.Time
	spaces map[string]space

	segments []segment // a copy once touched
	touched  bool
	dropped  []uint64

	writing bool // the last of segments is open for entries
	entries *bbolt.Bucket
	active  *index // its index, if it is a new one
	sealed  uint64 // the segment before that, if it was closed
	filter  filter
	added   []added // what is to be added to the index
}

// added is an entry of a transaction that has not been indexed yet.
type added struct {
	ns    uint32
	entry *recovery.Entry
}

// commitLoop is the goroutine that owns all write transactions. It ends when
// both queues are closed and empty.
func (s *Store) commitLoop() {
	q := queues{entries: s.entries, states: s.states}
	for {
		group := q.next()
		if group == nil {
			return
		}
		kept := group[:0]
		for _, o := range group {
			if o.state.CompareAndSwap(opQueued, opTaken) {
				kept = append(kept, o)
			}
		}
		s.commitGroup(kept)
	}
}

// queues is what commitLoop takes from. A queue that is closed and empty is nil.
type queues struct{ entries, states <-chan *op }

// next waits for ops and returns those that share a transaction; nil: there
// will be none.
func (q *queues) next() []*op {
	for q.entries != nil || q.states != nil {
		select {
		case o, ok := <-q.entries:
			if !ok {
				q.entries = nil
				continue
			}
			return q.withEntries(o, nil)
		case o, ok := <-q.states:
			if !ok {
				q.states = nil
				continue
			}
			return q.withSessions(o)
		}
	}
	return nil
}

// withEntries returns o and the entries that wait, and sessions with some more
// of them.
func (q *queues) withEntries(o *op, sessions []*op) []*op {
	group, size := []*op{o}, o.size
	for len(group) < maxGroupOps && size < maxGroupBytes {
		o := poll(&q.entries)
		if o == nil {
			break
		}
		group, size = append(group, o), size+o.size
	}
	group = append(group, sessions...)
	for range maxSessionsByEntries {
		o := poll(&q.states)
		if o == nil {
			break
		}
		group = append(group, o)
	}
	return group
}

// withSessions returns o and the sessions that come soon, unless an entry comes
// first: then that and all with it.
func (q *queues) withSessions(o *op) []*op {
	group := []*op{o}
	linger := time.NewTimer(sessionLinger)
	defer linger.Stop()
	for len(group) < maxGroupSessions {
		select {
		case o, ok := <-q.entries:
			if !ok {
				q.entries = nil
				continue
			}
			return q.withEntries(o, group)
		case o, ok := <-q.states:
			if !ok {
				q.states = nil
				return group
			}
			group = append(group, o)
		case <-linger.C:
			return group
		}
	}
	return group
}

// poll takes an op if there is one.
func poll(queue *<-chan *op) *op {
	select {
	case o, ok := <-*queue:
		if !ok {
			*queue = nil
		}
		return o
	default:
		return nil
	}
}

// commitGroup runs ops in one transaction and tells their callers. An op that
// fails for a reason of its own is left out and the others are run again.
func (s *Store) commitGroup(group []*op) {
	for len(group) > 0 {
		culprit := -1
		err := s.transact(func(c *change) error {
			for i, o := range group {
				o.err = nil
				err := guard(func() error { return o.run(c) })
				var r refusal
				if errors.As(err, &r) {
					o.err = r.error
				} else if err != nil {
					culprit = i
					return err
				}
			}
			return nil
		})
		if err != nil && culprit >= 0 {
			group[culprit].err = err
			close(group[culprit].done)
			group = append(group[:culprit], group[culprit+1:]...)
			continue
		}
		for _, o := range group {
			if err != nil {
				o.err = err
			}
			close(o.done)
		}
		return
	}
}

// transact runs f in a write transaction and commits it, durably.
func (s *Store) transact(f func(*change) error) error {
	s.mu.RLock()
	broken := s.state.broken
	c := &change{store: s, now: s.opts.Now(), spaces: make(map[string]space), segments: s.state.segments}
	s.mu.RUnlock()
	if broken != nil {
		return broken
	}
	var id int
	own := false // the transaction failed before anything was written
	err := guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			c.tx, id = tx, tx.ID()
			err := f(c)
			if err == nil {
				err = c.finish()
			}
			own = err != nil
			return err
		})
	})
	if err != nil {
		if own {
			return err
		}
		return s.classify(err, id)
	}
	c.publish()
	return nil
}

// publish makes the store's state what the committed transaction has made it.
func (c *change) publish() {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.state
	for name, sp := range c.spaces {
		st.spaces[name] = sp
	}
	st.segments = c.segments
	if c.sealed != 0 {
		st.verified[c.sealed] = true
	}
	if c.filter != nil {
		st.filters[c.sealed] = c.filter
	}
	if c.active != nil {
		st.active = c.active
	}
	for _, number := range c.dropped {
		delete(st.filters, number)
		delete(st.verified, number)
		if st.active != nil && st.active.number == number {
			st.active = nil
		}
	}
	for _, a := range c.added {
		st.active.add(a.ns, a.entry)
	}
}

// classify says what a failed commit means. Without room nothing has happened
// and all may be well later. After anything else, a failed fsync above all, the
// kernel may have dropped pages that the file seems to have, so it is not
// written to again until it has been opened anew.
func (s *Store) classify(err error, id int) error {
	var visible int
	seen := guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error { visible = tx.ID(); return nil })
	})
	if seen == nil && visible < id && noRoom(err) {
		return fmt.Errorf("failed to write %s: %w: %w", s.path, recovery.ErrFull, err)
	}
	return s.fail(err)
}

func noRoom(err error) bool {
	for _, e := range []error{berrors.ErrMaxSizeReached, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		// bbolt passes some errors of the system on as their text alone.
		if errors.Is(err, e) || strings.HasSuffix(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

// guard turns what bbolt does on damaged pages, panics and memory faults, into
// an error.
func guard(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w page: %v", recovery.ErrCorrupt, p)
		}
	}()
	return f()
}
