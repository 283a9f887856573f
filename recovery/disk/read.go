package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/internal/merge"
)

// refRun walks over the references of one room in one segment.
type refRun struct {
	list   []recovery.Offset // what is left of a record, or of the index in memory
	cursor *bbolt.Cursor     // on that record; nil: in memory
	prefix []byte
}

func (r *refRun) Offset() recovery.Offset { return r.list[0] }

func (r *refRun) Advance() bool {
	if r.list = r.list[1:]; len(r.list) > 0 {
		return true
	}
	if r.cursor == nil {
		return false
	}
	k, v := r.cursor.Next()
	return r.load(k, v)
}

// load takes the offsets out of a record, if it is one of this room.
func (r *refRun) load(k, v []byte) bool {
	r.list = r.list[:0]
	if len(k) != len(r.prefix)+recovery.OffsetSize || !bytes.HasPrefix(k, r.prefix) {
		return false
	}
	for ; len(v) >= recovery.OffsetSize; v = v[recovery.OffsetSize:] {
		o, _ := recovery.OffsetFromKey(v[:recovery.OffsetSize])
		r.list = append(r.list, o)
	}
	return len(r.list) > 0
}

// skip leaves out what is not after o.
func (r *refRun) skip(o recovery.Offset) bool {
	i, found := slices.BinarySearchFunc(r.list, o, recovery.Offset.Compare)
	if found {
		i++
	}
	r.list = r.list[i:]
	return len(r.list) > 0
}

// seek goes to the first reference after o.
func (r *refRun) seek(o recovery.Offset) bool {
	if r.cursor == nil {
		return r.skip(o)
	}
	// The record before the one that begins after o may reach beyond it.
	k, _ := r.cursor.Seek(o.Next().AppendKey(bytes.Clone(r.prefix)))
	var v []byte
	if k == nil {
		k, v = r.cursor.Last()
	} else {
		k, v = r.cursor.Prev()
	}
	if k != nil && r.load(k, v) && r.skip(o) {
		return true
	}
	if k == nil {
		k, v = r.cursor.First()
	} else {
		k, v = r.cursor.Next()
	}
	return r.load(k, v) && r.skip(o)
}

// reading is one Read: what was asked for, and what the store knew by heart when
// it began. The file may be ahead of that, but what is in both is the same.
type reading struct {
	store    *Store
	ns       string
	q        recovery.Query
	last     recovery.Offset
	prefixes [][]byte
	active   uint64 // the segment that was being written; zero: none
	lists    map[string][]recovery.Offset
}

// Read implements recovery.Log. The entries do not share memory with the file.
func (l *Log) Read(ctx context.Context, ns string, q recovery.Query) (recovery.Page, error) {
	if l.closed.Load() {
		return recovery.Page{}, recovery.ErrClosed
	}
	r := l.store.beginReading(ns, q)
	var page recovery.Page
	err := l.store.view(func(tx *bbolt.Tx) (err error) {
		page, err = r.page(ctx, tx)
		return err
	})
	if err != nil {
		var gap *recovery.GapError
		if errors.Is(err, recovery.ErrCorrupt) && !errors.As(err, &gap) {
			// A damaged page, somewhere in the range. How far the damage goes
			// is not known, so nothing after the position is vouched for.
			return recovery.Page{}, &recovery.GapError{Namespace: ns, From: q.After, To: r.last, Cause: err}
		}
		return recovery.Page{}, err
	}
	return page, nil
}

func (s *Store) beginReading(ns string, q recovery.Query) *reading {
	r := &reading{store: s, ns: ns, q: q}
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp, ok := s.state.spaces[string(appendName(nil, ns))]
	if !ok {
		r.last = s.state.born
		return r
	}
	r.last = sp.last
	r.prefixes = append(r.prefixes, everyonePrefix(sp.id))
	for _, room := range q.Rooms {
		r.prefixes = append(r.prefixes, roomPrefix(sp.id, room))
	}
	if x := s.state.active; x != nil {
		r.active = x.number
		r.lists = make(map[string][]recovery.Offset)
		for _, prefix := range r.prefixes {
			if list := x.refs[string(prefix)]; len(list) > 0 {
				r.lists[string(prefix)] = list
			}
		}
	}
	return r
}

func (r *reading) page(ctx context.Context, tx *bbolt.Tx) (recovery.Page, error) {
	q := &r.q
	through, limit, maxBytes := q.Bounds()
	sp := space{start: r.last, last: r.last}
	if r.prefixes != nil {
		var err error
		key := appendName(nil, r.ns)
		if sp, err = decodeSpace(key, tx.Bucket(bucketNamespaces).Get(key)); err != nil {
			return recovery.Page{}, err
		}
	}
	if q.After.Before(sp.start) {
		return recovery.Page{}, &recovery.GapError{Namespace: r.ns, From: q.After, To: sp.start}
	}
	if q.After.After(r.last) {
		return recovery.Page{}, fmt.Errorf("%w: %v in namespace %q", recovery.ErrFuture, q.After, r.ns)
	}
	if through.After(r.last) {
		through = r.last
	}
	segments, err := loadSegments(tx)
	if err != nil {
		return recovery.Page{}, err
	}
	page := recovery.Page{Next: q.After}
	size := 0
	for _, seg := range segments {
		if !seg.last.After(page.Next) || seg.first.After(through) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return recovery.Page{}, err
		}
		runs, entries, err := r.runs(tx, seg, page.Next)
		if err != nil {
			return recovery.Page{}, err
		}
		for key := []byte(nil); len(runs) > 0; {
			offset := runs.First().Offset()
			if offset.After(through) {
				break
			}
			key = entryKey(key[:0], sp.id, offset)
			entry, err := decodeEntry(entries.Get(key), offset)
			if err != nil && len(page.Entries) == 0 {
				return recovery.Page{}, &recovery.GapError{Namespace: r.ns, From: q.After, To: offset, Cause: err}
			}
			size += entry.Size()
			if n := len(page.Entries); err != nil || n > 0 && (n == limit || size > maxBytes) {
				page.More = true
				return page, nil
			}
			page.Entries = append(page.Entries, entry)
			page.Next = offset
			runs.Skip(offset)
		}
	}
	if through.After(page.Next) {
		page.Next = through
	}
	return page, nil
}

// runs returns where the references after an offset are in a segment, and its
// entries.
func (r *reading) runs(tx *bbolt.Tx, seg segment, after recovery.Offset) (runs merge.Runs[*refRun], entries *bbolt.Bucket, err error) {
	top := tx.Bucket(seg.bucket())
	if top == nil {
		return nil, nil, fmt.Errorf("%w: segment %d is missing", recovery.ErrCorrupt, seg.number)
	}
	if entries = top.Bucket(bucketEntries); entries == nil {
		return nil, nil, fmt.Errorf("%w: segment %d has no entries", recovery.ErrCorrupt, seg.number)
	}
	if seg.number == r.active {
		for _, list := range r.lists {
			if run := (&refRun{list: list}); run.seek(after) {
				runs.Add(run)
			}
		}
		return runs, entries, nil
	}
	refs := top.Bucket(bucketRefs)
	if refs == nil {
		if seg.number > r.active {
			return nil, entries, nil // begun after this Read: all of it is after r.last
		}
		return nil, nil, fmt.Errorf("%w: segment %d has no index", recovery.ErrCorrupt, seg.number)
	}
	if err := r.store.verify(seg, top); err != nil {
		return nil, nil, err
	}
	for _, prefix := range r.prefixes {
		if run := (&refRun{cursor: refs.Cursor(), prefix: prefix}); run.seek(after) {
			runs.Add(run)
		}
	}
	return runs, entries, nil
}

func decodeEntry(record []byte, offset recovery.Offset) (e recovery.Entry, err error) {
	if record == nil {
		return e, fmt.Errorf("%w: %w: %v", recovery.ErrCorrupt, errMissing, offset)
	}
	if err := e.UnmarshalBinary(record); err != nil {
		return recovery.Entry{}, err
	}
	if e.Offset != offset {
		return recovery.Entry{}, fmt.Errorf("%w: entry %v is stored as %v", recovery.ErrCorrupt, e.Offset, offset)
	}
	return e, nil
}
