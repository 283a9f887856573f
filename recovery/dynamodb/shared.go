package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// commitGroup is what shares one look at the head.
type commitGroup struct {
	last recovery.Offset
	done chan struct{}
	head *head // as it was when everything in the group had been written
	err  error
}

// appendShared is Append where there are several writers. What it relies on is
// in the package documentation.
func (l *Log) appendShared(ctx context.Context, sp *space, entries []recovery.Entry, records [][]byte) error {
	identity := sp.known().identity
	var w written
	first, last := entries[0].Offset, entries[0].Offset
	for i := range entries {
		o := entries[i].Offset
		if o.Before(first) {
			first = o
		}
		last = later(last, o)
		w.add(&entries[i], records[i], sp.ns, nil, l.store.expiry(&entries[i]))
	}
	// A reader that finds a reference must find what it refers to, although the
	// append may not be accepted in the end.
	if err := l.store.batch.write(ctx, w.bodies); err != nil {
		return err
	}
	if err := l.store.batch.write(ctx, w.refs); err != nil {
		return err
	}
	h, err := l.join(ctx, sp, last)
	if err != nil {
		return err
	}
	if !bytes.Equal(h.identity, identity) {
		return errReplaced
	}
	if !first.After(h.floor) {
		return fmt.Errorf("%w: %v, and readers have got to %v; do the clocks differ?", ErrLate, first, h.floor)
	}
	return l.writeIDs(ctx, sp.ns, entries, nil)
}

// join returns the head as it is after the call, together with others that have
// the same wish.
func (l *Log) join(ctx context.Context, sp *space, last recovery.Offset) (*head, error) {
	sp.mu.Lock()
	if sp.group == nil {
		sp.group = &commitGroup{done: make(chan struct{})}
	}
	g := sp.group
	g.last = later(g.last, last)
	if !sp.busy {
		if sp.busy = l.store.spawn(func() { l.commitGroups(sp) }); !sp.busy {
			sp.mu.Unlock()
			return nil, recovery.ErrClosed
		}
	}
	sp.mu.Unlock()
	select {
	case <-g.done:
		return g.head, g.err
	case <-ctx.Done():
		return nil, errors.Join(errors.New("waiting for the head of the namespace"), ctx.Err())
	}
}

// commitGroups runs as long as there are groups.
func (l *Log) commitGroups(sp *space) {
	for {
		sp.mu.Lock()
		g, h := sp.group, sp.head
		sp.group = nil
		if g == nil {
			sp.busy = false
			sp.mu.Unlock()
			return
		}
		sp.mu.Unlock()
		g.head, g.err = l.advance(l.store.base, sp, &h, g.last)
		close(g.done)
	}
}

// advance moves Last, and returns the head as it is then.
func (l *Log) advance(ctx context.Context, sp *space, known *head, last recovery.Offset) (*head, error) {
	h, _, err := l.store.updateHead(ctx, sp.ns, known.identity, "SET "+attrLast+" = :hl", attrLast+" < :hl", item{":hl": offset(last)})
	if err != nil {
		return nil, err
	}
	if same, err := l.seen(ctx, sp, h); err != nil {
		return nil, err
	} else if !same {
		return nil, errReplaced
	}
	if h.window > l.store.opts.Window.Truncate(time.Millisecond) {
		return l.store.adaptWindow(ctx, sp.ns, h, false)
	}
	return h, nil
}

// settledTo returns up to where a shared namespace is complete, having raised
// the floor if that is not as far as it should be for a read through an offset.
func (l *Log) settledTo(ctx context.Context, sp *space, through recovery.Offset) (recovery.Offset, error) {
	const often = time.Second
	now := l.store.opts.Now()
	horizon := recovery.OffsetAt(now.Add(-l.store.opts.CommitDelay))
	sp.mu.Lock()
	h, raised := sp.head, sp.raised
	sp.mu.Unlock()
	if !h.floor.Before(through) || !h.floor.Before(horizon) {
		return h.floor, nil
	}
	// What cannot be had in full need not be had to the millisecond.
	if horizon.Before(through) && now.Sub(raised).Abs() < often {
		return h.floor, nil
	}
	next, _, err := l.store.updateHead(ctx, sp.ns, h.identity, "SET "+attrFloor+" = :hf", attrFloor+" < :hf", item{":hf": offset(horizon)})
	if err != nil {
		return recovery.Offset{}, err
	}
	if same, err := l.seen(ctx, sp, next); err != nil {
		return recovery.Offset{}, err
	} else if !same {
		return recovery.Offset{}, nil
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.raised = now
	return sp.head.floor, nil
}
