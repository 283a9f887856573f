package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/twine-realtime/twine/recovery"
)

// Log is a Store seen as a recovery.Log. It is durable: what Append has
// returned for outlives the process and, as far as the disk keeps what it says
// it has, the machine.
type Log struct {
	store  *Store
	closed atomic.Bool
}

var _ recovery.Log = (*Log)(nil)

// Append implements recovery.Log. If ctx ends while the entries wait for their
// transaction they are not appended; once it has begun, Append waits for it.
// Errors match recovery.ErrFull if there is no room (it is worth trying again),
// and recovery.ErrBroken if the file has to be opened anew.
func (l *Log) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	if l.closed.Load() {
		return recovery.ErrClosed
	}
	if len(entries) == 0 {
		return ctx.Err()
	}
	// Encoded here, not in the transaction, so that it is done side by side.
	records := make([][]byte, len(entries))
	size := 0
	for i := range entries {
		record, err := entries[i].AppendBinary(make([]byte, 0, entries[i].Size()))
		if err != nil {
			return fmt.Errorf("failed to encode entry %v: %w", entries[i].Offset, err)
		}
		records[i] = record
		size += len(record)
	}
	return l.store.write(ctx, l.store.entries, size, func(c *change) error {
		return c.append(ns, entries, records)
	})
}

func (c *change) append(ns string, entries []recovery.Entry, records [][]byte) error {
	sp, err := c.space(ns)
	if err != nil {
		return err
	}
	last := sp.last
	for i := range entries {
		if !entries[i].Offset.After(last) {
			return refuse(fmt.Errorf("%w: %v after %v in namespace %q", recovery.ErrOrder, entries[i].Offset, last, ns))
		}
		last = entries[i].Offset
	}
	if err := c.openSegment(); err != nil {
		return err
	}
	seg := &c.segments[len(c.segments)-1]
	for i := range entries {
		e := &entries[i]
		if err := c.entries.Put(entryKey(nil, sp.id, e.Offset), records[i]); err != nil {
			return err
		}
		c.added = append(c.added, added{sp.id, e})
		seg.entries++
		seg.bytes += int64(len(records[i]) + indexCost*(1+len(e.Rooms)))
	}
	if seg.first.IsZero() || entries[0].Offset.Before(seg.first) {
		seg.first = entries[0].Offset
	}
	if last.After(seg.last) {
		seg.last = last
	}
	sp.last = last
	c.spaces[string(appendName(nil, ns))] = sp
	return nil
}

// indexCost is what an entry costs for each room beside what it occupies, in
// terms of Options.SegmentBytes, so that the index in memory is bounded too.
const indexCost = 48

// space returns a namespace as this transaction sees it. A new one gets its
// number here, and is stored with the first entry.
func (c *change) space(ns string) (space, error) {
	name := appendName(nil, ns)
	if sp, ok := c.spaces[string(name)]; ok {
		return sp, nil
	}
	c.store.mu.RLock()
	sp, ok := c.store.state.spaces[string(name)]
	born := c.store.state.born
	c.store.mu.RUnlock()
	if ok {
		return sp, nil
	}
	// NextSequence of a transaction that does not happen is not used up.
	id, err := c.tx.Bucket(bucketNamespaces).NextSequence()
	if err != nil {
		return space{}, err
	}
	return space{id: uint32(id), start: born, last: born}, nil
}

// touch makes the list of segments this transaction's own.
func (c *change) touch() {
	if !c.touched {
		c.segments, c.touched = slices.Clone(c.segments), true
	}
}

// openSegment makes the last segment one that can be written to. If the one
// there is has had its time, it is closed, and a new one begun.
func (c *change) openSegment() error {
	if c.writing {
		return nil
	}
	c.touch()
	c.store.mu.RLock()
	active := c.store.state.active
	c.store.mu.RUnlock()
	if active != nil && slices.Contains(c.dropped, active.number) {
		active = nil
	}
	opts := &c.store.opts
	if n := len(c.segments); active != nil &&
		(c.segments[n-1].bytes >= opts.SegmentBytes || overdue(c.segments[n-1].created, c.now, opts.slot())) {
		seg, err := &c.segments[n-1], error(nil)
		if c.filter, seg.sum, err = active.write(c.tx.Bucket(seg.bucket())); err != nil {
			return err
		}
		if err := c.tx.Bucket(bucketSegments).Put(seg.key(), seg.encode()); err != nil {
			return err
		}
		c.sealed, active = active.number, nil
	}
	if active == nil {
		number, err := c.tx.Bucket(bucketSegments).NextSequence()
		if err != nil {
			return err
		}
		c.segments = append(c.segments, segment{number: number, created: c.now})
		if err := putSegments(c.tx, len(c.segments)); err != nil {
			return err
		}
		c.active = newIndex(number)
	}
	top, err := c.tx.CreateBucketIfNotExists(c.segments[len(c.segments)-1].bucket())
	if err != nil {
		return err
	}
	if c.entries, err = top.CreateBucketIfNotExists(bucketEntries); err != nil {
		return err
	}
	// Offsets ascend, so pages need no room for what would come in between.
	c.entries.FillPercent = 0.95
	c.writing = true
	return nil
}

// overdue also holds when the clock was set back, so that a segment is not
// written to for longer than a slot.
func overdue(created, now time.Time, slot time.Duration) bool {
	return now.Sub(created).Abs() >= slot
}

// finish writes the records of what the transaction touched.
func (c *change) finish() error {
	names := c.tx.Bucket(bucketNamespaces)
	for name, sp := range c.spaces {
		if err := names.Put([]byte(name), sp.encode([]byte(name))); err != nil {
			return err
		}
	}
	if !c.writing {
		return nil
	}
	seg := c.segments[len(c.segments)-1]
	return c.tx.Bucket(bucketSegments).Put(seg.key(), seg.encode())
}

// Start implements recovery.Log.
func (l *Log) Start(_ context.Context, ns string) (recovery.Offset, error) {
	sp, _, err := l.known(ns)
	return sp.start, err
}

// Last implements recovery.Log. It fails with recovery.ErrBroken when the file
// has failed, because what the newest durable entry is cannot be told then.
func (l *Log) Last(_ context.Context, ns string) (recovery.Offset, error) {
	sp, broken, err := l.known(ns)
	if err == nil {
		err = broken
	}
	return sp.last, err
}

func (l *Log) known(ns string) (sp space, broken, err error) {
	if l.closed.Load() {
		return space{}, nil, recovery.ErrClosed
	}
	l.store.mu.RLock()
	defer l.store.mu.RUnlock()
	st := &l.store.state
	sp, ok := st.spaces[string(appendName(nil, ns))]
	if !ok {
		sp = space{start: st.born, last: st.born}
	}
	return sp, st.broken, nil
}

// Trim implements recovery.Log. It drops the segments of which all is old enough;
// a Store does so by itself for its window.
func (l *Log) Trim(ctx context.Context, before recovery.Offset) error {
	if l.closed.Load() {
		return recovery.ErrClosed
	}
	return l.store.trim(ctx, func(last recovery.Offset, _ time.Time) bool { return last.Before(before) })
}

// trim drops segments, each in a transaction of its own so that
// appending is not held up for long.
func (s *Store) trim(ctx context.Context, old func(last recovery.Offset, created time.Time) bool) error {
	var oldest, damaged uint64
	for more := true; more; {
		err := s.write(ctx, s.entries, 0, func(c *change) error {
			more, oldest = false, 0
			for i, seg := range c.segments {
				if old(seg.last, seg.created) && !(c.writing && i == len(c.segments)-1) {
					more, oldest = true, seg.number
					return c.dropSegment(i, seg.number == damaged)
				}
			}
			return nil
		})
		if errors.Is(err, recovery.ErrCorrupt) && oldest != damaged {
			s.opts.Logger.Error("recovery: a segment is damaged; the room it takes is lost", "path", s.path, "error", err)
			damaged = oldest
		} else if err != nil {
			return fmt.Errorf("failed to drop old entries: %w", err)
		}
	}
	return nil
}

// dropSegment drops a segment and moves the start of the namespaces that lose
// entries with it. One that is damaged is not looked into: it may be that any
// namespace loses entries, and its pages stay taken.
func (c *change) dropSegment(i int, damaged bool) error {
	seg := c.segments[i]
	lost := make(map[uint32]recovery.Offset)
	if top := c.tx.Bucket(seg.bucket()); top != nil && !damaged {
		var err error
		if lost, err = newestOf(top.Bucket(bucketEntries)); err != nil {
			return err
		}
		if err := c.tx.DeleteBucket(seg.bucket()); err != nil {
			return err
		}
	}
	spaces := make(map[string]space)
	c.store.mu.RLock()
	maps.Copy(spaces, c.store.state.spaces)
	c.store.mu.RUnlock()
	maps.Copy(spaces, c.spaces)
	for name, sp := range spaces {
		newest := lost[sp.id]
		if damaged {
			newest = seg.last
			if sp.last.Before(newest) {
				newest = sp.last
			}
		}
		if newest.After(sp.start) {
			sp.start = newest
			c.spaces[name] = sp
		}
	}
	c.touch()
	c.segments = slices.Delete(c.segments, i, i+1)
	c.dropped = append(c.dropped, seg.number)
	if err := putSegments(c.tx, len(c.segments)); err != nil {
		return err
	}
	return c.tx.Bucket(bucketSegments).Delete(seg.key())
}

// newestOf finds the last entry of each namespace in a segment.
func newestOf(entries *bbolt.Bucket) (map[uint32]recovery.Offset, error) {
	newest := make(map[uint32]recovery.Offset)
	cur := entries.Cursor()
	for k, _ := cur.Last(); k != nil; k, _ = cur.Prev() {
		id, offset, err := splitEntryKey(k)
		if err != nil {
			return nil, err
		}
		newest[id] = offset
		// On to the last entry of the namespace before this one.
		cur.Seek(entryKey(nil, id, recovery.Offset{}))
	}
	return newest, nil
}

func splitEntryKey(k []byte) (ns uint32, o recovery.Offset, err error) {
	if len(k) != entryKeySize {
		return 0, o, fmt.Errorf("%w: an entry with a key of %d bytes", recovery.ErrCorrupt, len(k))
	}
	o, err = recovery.OffsetFromKey(k[4:])
	return uint32(k[0])<<24 | uint32(k[1])<<16 | uint32(k[2])<<8 | uint32(k[3]), o, err
}

// Close implements recovery.Log. The file stays open for the store's Sessions
// until they are closed too.
func (l *Log) Close() error { return l.store.closeView(&l.closed) }
