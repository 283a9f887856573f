package dynamodb

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// Attributes of entries.
const (
	attrRecord     = "d"  // B: the entry, or a piece of one, as Entry.AppendBinary has it
	attrGeneration = "g"  // B: one writer: the generation it was written in
	attrSize       = "n"  // N: Entry.Size, of an entry that is elsewhere
	attrAt         = "at" // S: the partition it is in, under the same offset
	attrPieces     = "c"  // N: how many pieces it is in
)

const (
	// maxRecord is what of an entry fits one item, of 400 KB, with the keys.
	maxRecord = 380 << 10
	// writeUnit is the item size up to which writing costs one unit.
	writeUnit = 1 << 10
	// slack is how much longer than the window entries are kept, so that clocks
	// may differ.
	slack = time.Hour
)

// written is what an entry becomes. Bodies have to be in the table before the
// references to them.
type written struct {
	bodies, refs []item
}

func (w *written) add(e *recovery.Entry, record []byte, ns string, gen []byte, expires time.Time) {
	base := func(partition string, o recovery.Offset) item {
		it := keyOf(partition, o)
		it[attrExpires] = number(expires.Unix())
		if gen != nil {
			it[attrGeneration] = bin(gen)
		}
		return it
	}
	partitions := []string{partitionEveryone(ns)}
	if len(e.Rooms) > 0 {
		partitions = partitions[:0]
		for _, room := range e.Rooms {
			if p := partitionRoom(ns, room); !slices.Contains(partitions, p) {
				partitions = append(partitions, p)
			}
		}
	}
	whole := len(record) <= maxRecord
	if !whole {
		pieces := int64(0)
		at := partitionPieces(ns, e.Offset, gen)
		for piece := range slices.Chunk(record, maxRecord) {
			it := base(at, recovery.Offset{Seq: uint64(pieces)})
			it[attrRecord] = bin(piece)
			w.bodies = append(w.bodies, it)
			pieces++
		}
		for _, p := range partitions {
			it := base(p, e.Offset)
			it[attrPieces] = number(pieces)
			it[attrSize] = number(int64(e.Size()))
			w.refs = append(w.refs, it)
		}
		return
	}
	for i, p := range partitions {
		it := base(p, e.Offset)
		it[attrRecord] = bin(record)
		if i > 0 && itemSize(it) > writeUnit {
			delete(it, attrRecord)
			it[attrAt] = str(partitions[0])
			it[attrSize] = number(int64(e.Size()))
			w.refs = append(w.refs, it)
			continue
		}
		w.bodies = append(w.bodies, it)
	}
}

// idItem is where Lookup finds an entry's idempotency key.
func idItem(ns string, e *recovery.Entry, gen []byte, expires time.Time) item {
	it := keyOf(partitionID(ns, e.ID), recovery.Offset{})
	it[attrAt] = offset(e.Offset)
	it[attrExpires] = number(expires.Unix())
	if gen != nil {
		it[attrGeneration] = bin(gen)
	}
	return it
}

// expiry is when the entry may be deleted.
func (s *Store) expiry(e *recovery.Entry) time.Time {
	at := s.opts.Now()
	if o := e.Offset.Time(); o.After(at) && o.Before(at.Add(s.opts.Window)) {
		at = o
	}
	return at.Add(s.opts.Window + slack)
}

// encode turns entries into records, and refuses those that are too large.
func (s *Store) encode(entries []recovery.Entry) ([][]byte, error) {
	records := make([][]byte, len(entries))
	for i := range entries {
		e := &entries[i]
		record, err := e.AppendBinary(make([]byte, 0, e.Size()+binary.MaxVarintLen64))
		if err != nil {
			return nil, fmt.Errorf("failed to encode entry %v: %w", e.Offset, err)
		}
		if len(record) > s.opts.MaxEntryBytes {
			return nil, fmt.Errorf("%w: entry %v of %d bytes, at most %d", ErrTooLarge, e.Offset, len(record), s.opts.MaxEntryBytes)
		}
		records[i] = record
	}
	return records, nil
}

func decodeRecord(record []byte, o recovery.Offset) (e recovery.Entry, err error) {
	if err := e.UnmarshalBinary(record); err != nil {
		return recovery.Entry{}, err
	}
	if e.Offset != o {
		return recovery.Entry{}, fmt.Errorf("%w: entry %v is stored as %v", recovery.ErrCorrupt, e.Offset, o)
	}
	return e, nil
}
