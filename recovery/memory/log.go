// Package memory holds recent history and sessions in the process's memory.
//
// Its Log is the shallowest tier: a ring of the entries of the last minutes,
// with an index by room, so that clients that were away for a moment are
// answered without touching a disk. On its own, without a deeper tier, it makes
// recovery work for as long as the process lives.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
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
	// MaxBytes bounds all namespaces together, in terms of Entry.Size, which is
	// more than the log needs for them. The oldest entries are dropped to keep
	// it. Zero: 64 MiB.
	MaxBytes int
	Now      func() time.Time // nil: time.Now
}

// Log is a recovery.HotLog in memory. It copies what is appended. The Data and
// the Attachments of the entries that it returns are parts of its own memory.
type Log struct {
	opts LogOptions
	born recovery.Offset
	hash func(id string) uint64

	mu     sync.RWMutex
	ring   ring // all namespaces, in the order of appending
	bytes  int
	spaces map[string]*space
	number []*space // by the number that records have
	closed bool
}

var _ recovery.HotLog = (*Log)(nil)

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
	seed := maphash.MakeSeed()
	return &Log{
		opts: opts, born: recovery.OffsetAt(opts.Now()), spaces: make(map[string]*space),
		hash: func(id string) uint64 { return maphash.String(seed, id) },
	}
}

// Append implements recovery.Log.
func (l *Log) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	return l.append(ctx, ns, entries, false)
}

// Adopt is Append for entries whose Data are in memory that will be used for
// something else: when it returns nil, the Data of each are the log's copy, which must
// not be modified. Otherwise the entries are as they were.
func (l *Log) Adopt(ctx context.Context, ns string, entries []recovery.Entry) error {
	return l.append(ctx, ns, entries, true)
}

func (l *Log) append(ctx context.Context, ns string, entries []recovery.Entry, adopt bool) error {
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
	for i := range entries {
		e := &entries[i]
		size := e.Size()
		if size > min(l.opts.MaxBytes, maxRecord) {
			l.evictAll() // as if it had been put in
			s.start = e.Offset
			if adopt {
				e.Data = bytes.Clone(e.Data)
			}
			continue
		}
		at := l.ring.push(e, s.number, size)
		l.bytes += size
		s.add(l, at)
		if adopt {
			e.Data = l.ring.at(at).data()
		}
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
		s = newSpace(uint32(len(l.number)), l.born)
		l.spaces[ns] = s
		l.number = append(l.number, s)
	}
	return s
}

// evict drops records from the front of the ring: those before the given offset,
// and as many as are too much.
func (l *Log) evict(before recovery.Offset) {
	for !l.ring.empty() {
		r := l.ring.at(l.ring.front())
		if l.bytes <= l.opts.MaxBytes && !r.offset().Before(before) {
			return
		}
		l.bytes -= r.size()
		l.number[r.space()].remove(l, r)
		l.ring.pop()
	}
}

func (l *Log) evictAll() { l.evict(recovery.MaxOffset) }

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
	all := l.ring
	l.ring, l.bytes = ring{}, 0
	for _, other := range l.number {
		other.clear()
	}
	for ; !all.empty(); all.pop() {
		r := all.at(all.front())
		if r.space() != s.number {
			l.bytes += r.size()
			l.number[r.space()].add(l, l.ring.pushRecord(r))
		}
	}
	s.start, s.last = at, at
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
			if offset, ok := s.lookup(l, id); ok {
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
	l.ring, l.spaces, l.number, l.bytes = ring{}, nil, nil, 0
	return nil
}
