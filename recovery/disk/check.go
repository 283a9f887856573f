package disk

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"go.etcd.io/bbolt"

	"github.com/twine-realtime/twine/recovery"
)

// Check reads the whole file and compares all that depends on each other: pages,
// entries and their checksums, the indexes by room and by ID,
// sessions. It takes time in proportion to the file and holds up nobody. It
// returns what is wrong, as errors that match recovery.ErrCorrupt, joined; after
// the first hundred it gives up.
func (s *Store) Check(ctx context.Context) error {
	c := &checker{}
	file, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer file.Close()
	err = s.view(func(tx *bbolt.Tx) error {
		if err := walkTx(tx, file); err != nil {
			return err
		}
		c.newest = make(map[uint32]recovery.Offset)
		segments, err := loadSegments(tx)
		if err != nil {
			return err
		}
		for i, seg := range segments {
			if err := ctx.Err(); err != nil {
				return err
			}
			top := tx.Bucket(seg.bucket())
			if top == nil || top.Bucket(bucketEntries) == nil {
				c.report("segment %d is missing", seg.number)
				continue
			}
			if err := c.segment(seg, top, i == len(segments)-1); err != nil {
				return err
			}
		}
		if err := c.namespaces(tx); err != nil {
			return err
		}
		return c.sessions(tx)
	})
	return errors.Join(append(c.found, err)...)
}

type checker struct {
	found  []error
	newest map[uint32]recovery.Offset
}

func (c *checker) report(format string, args ...any) {
	if len(c.found) < 100 {
		c.found = append(c.found, fmt.Errorf("%w: %w", recovery.ErrCorrupt, fmt.Errorf(format, args...)))
	}
}

func (c *checker) segment(seg segment, top *bbolt.Bucket, last bool) error {
	refs, ids := top.Bucket(bucketRefs), top.Bucket(bucketIDs)
	if refs == nil != (ids == nil) || refs == nil && !last {
		c.report("segment %d is not complete", seg.number)
		return nil
	}
	x := newIndex(seg.number)
	entries := uint64(0)
	err := top.Bucket(bucketEntries).ForEach(func(k, v []byte) error {
		ns, offset, err := splitEntryKey(k)
		if err != nil {
			return err
		}
		if !offset.After(c.newest[ns]) || offset.Before(seg.first) || offset.After(seg.last) {
			c.report("entry %v of namespace %d is out of order in segment %d", offset, ns, seg.number)
		}
		c.newest[ns] = offset
		entries++
		e, err := decodeEntry(v, offset)
		if err != nil {
			c.report("entry %v of namespace %d: %w", offset, ns, err)
			return nil
		}
		x.add(ns, &e)
		return nil
	})
	if err != nil {
		return err
	}
	if entries != seg.entries {
		c.report("segment %d has %d entries, not %d", seg.number, entries, seg.entries)
	}
	if refs == nil {
		return nil
	}
	// The index is what it would be if it were written now.
	want := crc32.New(castagnoli)
	for k, v := range x.refRecords() {
		_, _ = want.Write(k)
		_, _ = want.Write(v)
	}
	for k, v := range x.idRecords() {
		_, _ = want.Write(k)
		_, _ = want.Write(v)
	}
	if sum := indexSum(top); sum != seg.sum || sum != want.Sum32() {
		c.report("segment %d has an index that does not fit its entries", seg.number)
	}
	f, err := loadFilter(top)
	if err != nil {
		return err
	}
	for k := range x.idRecords() {
		if !f.mayHave(k) {
			c.report("segment %d has a filter that does not fit its ids", seg.number)
		}
	}
	return nil
}

func (c *checker) namespaces(tx *bbolt.Tx) error {
	return tx.Bucket(bucketNamespaces).ForEach(func(k, v []byte) error {
		sp, err := decodeSpace(k, v)
		if err != nil {
			return err
		}
		if newest, ok := c.newest[sp.id]; ok && newest != sp.last && sp.start.Before(newest) {
			c.report("namespace %d ends at %v, its entries at %v", sp.id, sp.last, newest)
		}
		if sp.last.Before(sp.start) {
			c.report("namespace %d starts at %v, after its end %v", sp.id, sp.start, sp.last)
		}
		return nil
	})
}

func (c *checker) sessions(tx *bbolt.Tx) error {
	expiry, browsers := tx.Bucket(bucketExpiry), tx.Bucket(bucketBrowsers)
	return tx.Bucket(bucketSessions).ForEach(func(k, v []byte) error {
		r, err := decodeRecord(v)
		if err != nil {
			c.report("%w", err)
			return nil
		}
		st := &r.State
		if string(pidKey(st.PID)) != string(k) {
			c.report("a session is stored under another's id")
		}
		if key := expiryKey(st.Expires, st.PID); !has(expiry, key) {
			c.report("a session does not expire")
		}
		if st.TwineID != "" && !has(browsers, browserKey(st.TwineID, st.PID)) {
			c.report("a session is not found by its browser")
		}
		return nil
	})
}

func has(b *bbolt.Bucket, key []byte) bool {
	k, _ := b.Cursor().Seek(key)
	return string(k) == string(key)
}
