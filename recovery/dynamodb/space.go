package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// space is a namespace as this process knows it.
//
// Lock order: turn, then mu.
type space struct {
	ns string

	// turn is held by the one that appends (unless the log is shared), loads or
	// settles.
	turn chan struct{}

	mu     sync.Mutex
	loaded bool
	head   head
	// doubt is a commit of which it is not known whether it took place.
	doubt *head
	// fence is the token that is put into the head to end the doubt.
	fence string
	// spoiled: items may have been written that are not part of the log, so the
	// next commit begins a new generation.
	spoiled bool
	broken  error

	raised time.Time    // shared: when the floor was last raised
	group  *commitGroup // shared: waits for the commit that is under way
	busy   bool         // shared: a commit is under way
}

func (l *Log) space(ctx context.Context, ns string) (*space, error) {
	if l.closed.Load() {
		return nil, recovery.ErrClosed
	}
	l.mu.Lock()
	sp := l.spaces[ns]
	if sp == nil {
		sp = &space{ns: ns, turn: make(chan struct{}, 1)}
		l.spaces[ns] = sp
	}
	l.mu.Unlock()
	sp.mu.Lock()
	loaded := sp.loaded
	sp.mu.Unlock()
	if loaded {
		return sp, nil
	}
	if err := sp.lock(ctx); err != nil {
		return nil, err
	}
	defer sp.unlock()
	return sp, l.load(ctx, sp)
}

func (sp *space) lock(ctx context.Context) error {
	select {
	case sp.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (sp *space) unlock() { <-sp.turn }

func (sp *space) known() head {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.head
}

// load reads the head, or makes it. A single writer puts its token into it, so
// that nobody who had the namespace before can commit any more, and what it says
// is final. Call with turn held.
func (l *Log) load(ctx context.Context, sp *space) error {
	s := l.store
	sp.mu.Lock()
	loaded := sp.loaded
	sp.mu.Unlock()
	if loaded {
		return nil
	}
	h, err := s.getHead(ctx, sp.ns)
	if err != nil {
		return err
	}
	if h == nil {
		if h, err = s.beginHead(ctx, sp.ns, recovery.Offset{}); err != nil {
			return err
		}
	}
	if h, err = s.adaptWindow(ctx, sp.ns, h, true); err != nil {
		return err
	}
	if !s.opts.Shared {
		if h, err = s.takeOver(ctx, sp.ns, h); err != nil {
			return err
		}
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.head, sp.loaded, sp.spoiled = *h, true, true
	return nil
}

// takeOver makes an update of the head that is still under way fail.
func (s *Store) takeOver(ctx context.Context, ns string, h *head) (*head, error) {
	token := nonce()
	for range 10 {
		next, ok, err := s.updateHead(ctx, ns, h.identity, "SET "+attrToken+" = :new", attrToken+" = :old",
			item{":new": str(token), ":old": str(h.token)})
		if err != nil {
			return nil, err
		}
		if next == nil || !bytes.Equal(next.identity, h.identity) {
			return nil, errReplaced
		}
		if ok || next.token == token {
			return next, nil
		}
		h = next
	}
	return nil, errors.New("other processes keep writing to the namespace")
}

// seen takes in the head as it was just read, or its absence, and says whether
// it is still that of the same table.
func (l *Log) seen(ctx context.Context, sp *space, h *head) (same bool, err error) {
	sp.mu.Lock()
	before := sp.head
	sp.mu.Unlock()
	if h != nil && bytes.Equal(h.identity, before.identity) {
		sp.mu.Lock()
		defer sp.mu.Unlock()
		if !bytes.Equal(sp.head.identity, h.identity) {
			return false, nil
		}
		if l.store.opts.Shared {
			h.floor = later(h.floor, sp.head.floor)
			h.last = later(h.last, sp.head.last)
			h.start = later(h.start, sp.head.start)
			sp.head = *h
		} else {
			sp.head.start = later(h.start, sp.head.start)
			sp.head.window = h.window
		}
		return true, nil
	}
	// The table is a new one. What it had is lost: of a single writer's that is
	// everything up to its last commit, of a shared one's everything until now.
	lost := before.last
	if l.store.opts.Shared {
		lost = later(lost, recovery.OffsetAt(l.store.bornNow()))
	}
	if h == nil {
		if h, err = l.store.beginFrom(ctx, sp.ns, lost); err != nil {
			return false, err
		}
	}
	if !l.store.opts.Shared {
		if h, err = l.store.takeOver(ctx, sp.ns, h); err != nil {
			return false, err
		}
	}
	l.store.opts.Logger.Error("recovery: the table was lost and begun anew; history before is gone",
		"table", l.store.opts.Table, "namespace", sp.ns, "start", h.start)
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if bytes.Equal(sp.head.identity, before.identity) {
		sp.head, sp.doubt, sp.fence, sp.spoiled = *h, nil, "", true
	}
	return false, nil
}

// beginFrom makes the head of a namespace whose table was replaced. A single
// writer knows up to where: it must not begin later, or entries that it fails to
// append now would seem to be there.
func (s *Store) beginFrom(ctx context.Context, ns string, lost recovery.Offset) (*head, error) {
	if s.opts.Shared {
		return s.beginHead(ctx, ns, lost)
	}
	identity, _, err := s.meta(ctx)
	if err != nil {
		return nil, err
	}
	return s.putHead(ctx, ns, &head{identity: identity, start: lost, last: lost, window: s.opts.Window, token: nonce()})
}

// refresh looks at the head of a loaded namespace.
func (l *Log) refresh(ctx context.Context, sp *space) (same bool, err error) {
	h, err := l.store.getHead(ctx, sp.ns)
	if err != nil {
		return false, err
	}
	return l.seen(ctx, sp, h)
}

// settle finds out what became of a commit in doubt. Afterwards it can not take
// place any more if it has not. Call with turn held.
func (l *Log) settle(ctx context.Context, sp *space) error {
	sp.mu.Lock()
	if sp.fence == "" {
		sp.fence = nonce()
	}
	doubt, before, broken, token := sp.doubt, sp.head, sp.broken, sp.fence
	sp.mu.Unlock()
	if broken != nil {
		return broken
	}
	if doubt == nil {
		return nil
	}
	h, ok, err := l.store.updateHead(ctx, sp.ns, before.identity, "SET "+attrToken+" = :new", attrToken+" = :old",
		item{":new": str(token), ":old": str(before.token)})
	if err != nil {
		return err
	}
	if h == nil || !bytes.Equal(h.identity, before.identity) {
		_, err := l.seen(ctx, sp, h)
		return err
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	switch {
	case !bytes.Equal(sp.head.identity, before.identity): // a reader has found the table replaced
	case ok || h.token == token: // it did not, and cannot
		sp.head.token, sp.doubt, sp.fence = token, nil, ""
	case h.token == doubt.token: // it did
		sp.head, sp.doubt, sp.fence, sp.spoiled = *doubt, nil, "", false
	default:
		sp.broken = fmt.Errorf("%w: another process has taken namespace %q over", recovery.ErrBroken, sp.ns)
		return sp.broken
	}
	return nil
}

func later(a, b recovery.Offset) recovery.Offset {
	if a.Before(b) {
		return b
	}
	return a
}
