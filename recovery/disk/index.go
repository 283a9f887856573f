package disk

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/twine-realtime/twine/recovery"
)

// index finds the entries of the segment that is being written, by room and by
// idempotency key. The store's mu guards it. Its slices are only appended to, so
// that a reader may keep one without holding mu.
type index struct {
	number uint64                       // of the segment
	refs   map[string][]recovery.Offset // by everyonePrefix or roomPrefix
	ids    map[string]recovery.Offset   // by idKey
}

func newIndex(number uint64) *index {
	return &index{number: number, refs: make(map[string][]recovery.Offset), ids: make(map[string]recovery.Offset)}
}

func (x *index) add(ns uint32, e *recovery.Entry) {
	if len(e.Rooms) == 0 {
		x.ref(everyonePrefix(ns), e.Offset)
	}
	for _, room := range e.Rooms {
		x.ref(roomPrefix(ns, room), e.Offset)
	}
	if e.ID != "" {
		x.ids[string(idKey(ns, e.ID))] = e.Offset
	}
}

func (x *index) ref(prefix []byte, o recovery.Offset) {
	list := x.refs[string(prefix)]
	if n := len(list); n == 0 || list[n-1] != o { // an entry may name a room twice
		x.refs[string(prefix)] = append(list, o)
	}
}

// offsetsPerRecord is how many offsets of a room are in one record.
const offsetsPerRecord = 128

// refRecords are the keys and values of an index's bucket of references, in
// order. They are valid until the next one.
func (x *index) refRecords() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, prefix := range slices.Sorted(maps.Keys(x.refs)) {
			for some := range slices.Chunk(x.refs[prefix], offsetsPerRecord) {
				key := some[0].AppendKey([]byte(prefix))
				var value []byte
				for _, o := range some {
					value = o.AppendKey(value)
				}
				if !yield(key, value) {
					return
				}
			}
		}
	}
}

// idRecords are those of its bucket of IDs.
func (x *index) idRecords() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, key := range slices.Sorted(maps.Keys(x.ids)) {
			if !yield([]byte(key), x.ids[key].AppendKey(nil)) {
				return
			}
		}
	}
}

// write puts the index into the bucket of its segment, in the order of its keys,
// which fills pages one after the other.
func (x *index) write(segment *bbolt.Bucket) (f filter, sum uint32, err error) {
	put := func(name []byte, records iter.Seq2[[]byte, []byte]) error {
		bucket, err := segment.CreateBucket(name)
		if err != nil {
			return err
		}
		bucket.FillPercent = 1
		for k, v := range records {
			if err := bucket.Put(k, v); err != nil {
				return err
			}
			sum = crc32.Update(crc32.Update(sum, castagnoli, k), castagnoli, v)
		}
		return nil
	}
	if err := put(bucketRefs, x.refRecords()); err != nil {
		return nil, 0, err
	}
	if err := put(bucketIDs, x.idRecords()); err != nil || len(x.ids) == 0 {
		return nil, sum, err
	}
	f = newFilter(len(x.ids))
	for key := range x.ids {
		f.add([]byte(key))
	}
	return f, sum, segment.Put(keyFilter, seal(keyFilter, slices.Clone(f)))
}

// indexSum is the checksum of a segment's index as it is in the file.
func indexSum(segment *bbolt.Bucket) (sum uint32) {
	for _, name := range [][]byte{bucketRefs, bucketIDs} {
		bucket := segment.Bucket(name)
		if bucket == nil {
			continue
		}
		cur := bucket.Cursor()
		for k, v := cur.First(); k != nil; k, v = cur.Next() {
			sum = crc32.Update(crc32.Update(sum, castagnoli, k), castagnoli, v)
		}
	}
	return sum
}

func loadFilter(segment *bbolt.Bucket) (filter, error) {
	record := segment.Get(keyFilter)
	if record == nil {
		return nil, nil
	}
	f, err := unseal(keyFilter, record, len(record)-4)
	return slices.Clone(f), err
}

// verify checks a segment's index, once for as long as the file is open.
func (s *Store) verify(seg segment, top *bbolt.Bucket) error {
	s.mu.RLock()
	done := s.state.verified[seg.number]
	s.mu.RUnlock()
	if done {
		return nil
	}
	if indexSum(top) != seg.sum {
		return fmt.Errorf("%w: the index of segment %d does not match its checksum", recovery.ErrCorrupt, seg.number)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.verified[seg.number] = true
	return nil
}

// loadIndexes reads the filters of the closed segments, and builds the index of
// the one that is being written, if there is one. It says whether entries of
// that one are damaged or missing.
func (s *Store) loadIndexes() (damaged bool, err error) {
	s.state.filters = make(map[uint64]filter)
	s.state.verified = make(map[uint64]bool)
	err = s.view(func(tx *bbolt.Tx) error {
		for i, seg := range s.state.segments {
			top := tx.Bucket(seg.bucket())
			if top == nil {
				return fmt.Errorf("%w: segment %d is missing", recovery.ErrCorrupt, seg.number)
			}
			if top.Bucket(bucketRefs) != nil {
				f, err := loadFilter(top)
				if err != nil {
					return err
				}
				if f != nil {
					s.state.filters[seg.number] = f
				}
				continue
			}
			entries := top.Bucket(bucketEntries)
			if i != len(s.state.segments)-1 || entries == nil {
				return fmt.Errorf("%w: segment %d is not complete", recovery.ErrCorrupt, seg.number)
			}
			x := newIndex(seg.number)
			s.state.active = x
			n := uint64(0)
			err := entries.ForEach(func(k, v []byte) error {
				n++
				ns, offset, err := splitEntryKey(k)
				var e recovery.Entry
				if err == nil {
					e, err = decodeEntry(v, offset)
				}
				if err != nil {
					damaged = true
					return nil
				}
				x.add(ns, &e)
				return nil
			})
			if err != nil {
				return err
			}
			damaged = damaged || n != seg.entries
		}
		return nil
	})
	return damaged, err
}

// breakHistory makes every namespace's history begin now. What is stored stays
// until it expires, but no replay crosses this point. It is what is left to do
// when entries are lost and it cannot be told whose. The segment that was being
// written is closed, so that its damage is not found again by the next Open.
func (s *Store) breakHistory(why string) error {
	s.opts.Logger.Error("recovery: the history file is damaged; clients that were away will be told of a gap",
		"path", s.path, "damage", why)
	now := recovery.OffsetAt(s.opts.Now())
	return guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			if s.state.born.Before(now) {
				s.state.born = now
			}
			if err := tx.Bucket(bucketMeta).Put(keyBorn, seal(keyBorn, s.state.born.AppendKey(nil))); err != nil {
				return err
			}
			if x := s.state.active; x != nil {
				seg := &s.state.segments[len(s.state.segments)-1]
				var err error
				if s.state.filters[seg.number], seg.sum, err = x.write(tx.Bucket(seg.bucket())); err != nil {
					return err
				}
				if err := tx.Bucket(bucketSegments).Put(seg.key(), seg.encode()); err != nil {
					return err
				}
				s.state.active = nil
			}
			names := tx.Bucket(bucketNamespaces)
			for name, sp := range s.state.spaces {
				// One millisecond past the last is past whatever was lost, even
				// if the clock was set back.
				sp.last.MS++
				if sp.last.Before(now) {
					sp.last = now
				}
				sp.start = sp.last
				s.state.spaces[name] = sp
				if err := names.Put([]byte(name), sp.encode([]byte(name))); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// Lookup implements recovery.Log.
func (l *Log) Lookup(ctx context.Context, ns string, ids []string) (map[string]recovery.Offset, error) {
	if l.closed.Load() {
		return nil, recovery.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found := make(map[string]recovery.Offset)
	inSegment := make(map[uint64][]string) // where an ID may be
	s := l.store
	s.mu.RLock()
	if sp, ok := s.state.spaces[string(appendName(nil, ns))]; ok {
		for _, id := range ids {
			key := idKey(sp.id, id)
			if s.state.active != nil {
				if offset, ok := s.state.active.ids[string(key)]; ok {
					found[id] = offset
					continue
				}
			}
			for number, f := range s.state.filters {
				if len(f) > 0 && f.mayHave(key) {
					inSegment[number] = append(inSegment[number], id)
				}
			}
		}
	}
	id := s.state.spaces[string(appendName(nil, ns))].id
	s.mu.RUnlock()
	if len(inSegment) == 0 {
		return found, nil
	}
	err := s.view(func(tx *bbolt.Tx) error {
		for number, candidates := range inSegment {
			top := tx.Bucket(segment{number: number}.bucket())
			if top == nil {
				continue // it expired in the meantime
			}
			bucket := top.Bucket(bucketIDs)
			seg, err := decodeSegment(segment{number: number}.key(), tx.Bucket(bucketSegments).Get(segment{number: number}.key()))
			if err == nil && bucket == nil {
				err = fmt.Errorf("%w: segment %d is not complete", recovery.ErrCorrupt, number)
			}
			if err == nil {
				err = s.verify(seg, top)
			}
			if err != nil {
				return err
			}
			for _, c := range candidates {
				v := bucket.Get(idKey(id, c))
				if v == nil {
					continue
				}
				offset, err := recovery.OffsetFromKey(v)
				if err != nil {
					return fmt.Errorf("%w idempotency record: %w", recovery.ErrCorrupt, err)
				}
				if offset.After(found[c]) {
					found[c] = offset
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("failed to look up ids in %s: %w", s.path, err)
	}
	return found, nil
}

var errMissing = errors.New("an entry that a room refers to is missing")
