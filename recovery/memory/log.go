// Package memory holds recent history and sessions in the process's memory.
//
// Its Log is the shallowest tier: a ring of the entries of the last minutes,
// with an index by room, so that clients that were away for a moment are
// answered without touching a disk. On its own, without a deeper tier, it makes
// recovery work for as long as the process lives.
package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// LogOptions bound what a Log holds. The zero value is useful.
type LogOptions struct {
	// Window is the age past which entries are dropped. Zero: 2 minutes. The
	// age is looked at when entries are appended or trimmed, so a quiet log may
	// hold older ones.
	Window time.Duration
	// MaxBytes bounds all namespaces together, in terms of Entry.Size. The
	// oldest entries are dropped to keep it. Zero: 64 MiB.
	MaxBytes int
	Now      func() time.Time // nil: time.Now
}

// Log is a recovery.HotLog in memory. The entries it returns share memory with
// those that were appended.
type Log struct {
	opts LogOptions
	born recovery.Offset

	mu     sync.RWMutex
	ring   run // all namespaces, in the order of appending
	bytes  int
	spaces map[string]*space
	closed bool
}

var _ recovery.HotLog = (*Log)(nil)

// space is the part of the log that belongs to one namespace. Its runs hold
// what the ring holds, in the same order.
type space struct {
	start, last recovery.Offset
	everyone    run
	rooms       map[string]*run
	ids         map[string]recovery.Offset
}

type item struct {
	entry recovery.Entry
	space *space
	size  int
}

// run is a queue of items.
type run struct {
	items []*item
	head  int
}

func (r *run) push(it *item) { r.items = append(r.items, it) }

func (r *run) live() []*item { return r.items[r.head:] }

// pop drops the first item. The slice is moved up once half of it is unused,
// which costs a copied pointer per item in the mean.
func (r *run) pop() {
	r.items[r.head] = nil
	r.head++
	if r.head*2 < len(r.items) {
		return
	}
	n := copy(r.items, r.items[r.head:])
	clear(r.items[n:])
	r.items, r.head = r.items[:n], 0
	if cap(r.items) > 1024 && n < cap(r.items)/4 {
		r.items = append(make([]*item, 0, 2*n), r.items...)
	}
}

// NewLog returns an empty log. Its history begins now.
func NewLog(opts LogOptions) *Log {
	if opts.Window <= 0 {
		opts.Window = 2 * time.Minute
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = 64 << 20
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Log{opts: opts, born: recovery.OffsetAt(opts.Now()), spaces: make(map[string]*space)}
}

// Append implements recovery.Log.
func (l *Log) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return recovery.ErrClosed
	}
	last := l.born
	if s := l.spaces[ns]; s != nil {
		last = s.last
	}
	for i := range entries {
		if !entries[i].Offset.After(last) {
			return fmt.Errorf("%w: %v after %v in namespace %q", recovery.ErrOrder, entries[i].Offset, last, ns)
		}
		last = entries[i].Offset
	}
	if len(entries) == 0 {
		return nil
	}
	s := l.space(ns)
	// One piece of memory for all: they go together, too.
	items := make([]item, len(entries))
	for i := range entries {
		it := &items[i]
		*it = item{entry: entries[i], space: s, size: entries[i].Size()}
		l.ring.push(it)
		l.bytes += it.size
		s.add(it)
	}
	s.last = last
	l.evict(recovery.OffsetAt(l.opts.Now().Add(-l.opts.Window)))
	return nil
}

// space returns the namespace's space, and makes it if need be. Call with mu
// held for writing.
func (l *Log) space(ns string) *space {
	s := l.spaces[ns]
	if s == nil {
		s = &space{start: l.born, last: l.born, rooms: make(map[string]*run), ids: make(map[string]recovery.Offset)}
		l.spaces[ns] = s
	}
	return s
}

func (s *space) add(it *item) {
	if len(it.entry.Rooms) == 0 {
		s.everyone.push(it)
	}
	for _, room := range it.entry.Rooms {
		r := s.rooms[room]
		if r == nil {
			r = new(run)
			s.rooms[room] = r
		}
		r.push(it)
	}
	if it.entry.ID != "" {
		s.ids[it.entry.ID] = it.entry.Offset
	}
}

// remove takes out an item that is the first in all its runs.
func (s *space) remove(it *item) {
	if len(it.entry.Rooms) == 0 {
		s.everyone.pop()
	}
	for _, room := range it.entry.Rooms {
		r := s.rooms[room]
		if r.pop(); len(r.items) == 0 {
			delete(s.rooms, room)
		}
	}
	if s.ids[it.entry.ID] == it.entry.Offset {
		delete(s.ids, it.entry.ID)
	}
	s.start = it.entry.Offset
}

// evict drops items from the front of the ring: those before the given offset,
// and as many as are too much.
func (l *Log) evict(before recovery.Offset) {
	for len(l.ring.items) > 0 {
		it := l.ring.live()[0]
		if l.bytes <= l.opts.MaxBytes && !it.entry.Offset.Before(before) {
			return
		}
		l.ring.pop()
		l.bytes -= it.size
		it.space.remove(it)
		*it = item{} // those beside it may stay a little longer
	}
}

// Begin implements recovery.HotLog.
func (l *Log) Begin(_ context.Context, ns string, at recovery.Offset) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return recovery.ErrClosed
	}
	if s := l.spaces[ns]; s != nil && !s.last.Before(at) {
		return nil
	}
	s := l.space(ns)
	kept := l.ring.live()
	l.ring, l.bytes = run{}, 0
	for _, it := range kept {
		if it.space != s {
			l.ring.push(it)
			l.bytes += it.size
		}
	}
	*s = space{start: at, last: at, rooms: make(map[string]*run), ids: make(map[string]recovery.Offset)}
	return nil
}

// Start implements recovery.Log.
func (l *Log) Start(_ context.Context, ns string) (recovery.Offset, error) {
	start, _, err := l.extent(ns)
	return start, err
}

// Last implements recovery.Log.
func (l *Log) Last(_ context.Context, ns string) (recovery.Offset, error) {
	_, last, err := l.extent(ns)
	return last, err
}

func (l *Log) extent(ns string) (start, last recovery.Offset, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return start, last, recovery.ErrClosed
	}
	if s := l.spaces[ns]; s != nil {
		return s.start, s.last, nil
	}
	return l.born, l.born, nil
}

// Lookup implements recovery.Log.
func (l *Log) Lookup(_ context.Context, ns string, ids []string) (map[string]recovery.Offset, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return nil, recovery.ErrClosed
	}
	found := make(map[string]recovery.Offset)
	if s := l.spaces[ns]; s != nil {
		for _, id := range ids {
			if offset, ok := s.ids[id]; ok {
				found[id] = offset
			}
		}
	}
	return found, nil
}

// Trim implements recovery.Log.
func (l *Log) Trim(_ context.Context, before recovery.Offset) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return recovery.ErrClosed
	}
	l.evict(before)
	return nil
}

// Close implements recovery.Log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.ring, l.spaces, l.bytes = run{}, nil, 0
	return nil
}
