package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"

	"github.com/twine-realtime/twine/recovery"
)

// The file, bucket by bucket. Numbers are big endian, so that keys sort.
//
//	meta        "format" → 1 byte; "born" → offset; "segments" → how many
//	namespaces  name → space
//	segments    number → segment
//	s<number>   one segment, with the bucket
//	            e: namespace id, offset → entry (recovery.Entry.AppendBinary)
//	            and, unless it is the one being written, its index:
//	            r: namespace id, room, offset → that and following offsets
//	            i: namespace id, idempotency key → offset
//	            and "filter" → a filter of what is in i
//	sessions    pid → session
//	expiry      time, pid → nothing
//	browsers    twineid, pid → nothing
//
// bbolt has no checksums of its own but for its header, and a key that was
// damaged is a key that is not found. So every record carries a CRC32C of its
// key and value, what belongs together is counted, and the index of a segment,
// which does not change any more, has a checksum as a whole.
var (
	bucketMeta       = []byte("meta")
	bucketNamespaces = []byte("namespaces")
	bucketSegments   = []byte("segments")
	bucketSessions   = []byte("sessions")
	bucketExpiry     = []byte("expiry")
	bucketBrowsers   = []byte("browsers")

	bucketEntries = []byte("e")
	bucketRefs    = []byte("r")
	bucketIDs     = []byte("i")
	keyFilter     = []byte("filter")

	keyFormat = []byte("format")
	keyBorn   = []byte("born")
	keyCount  = []byte("segments")
)

const fileFormat = 1

// space is what the file says of a namespace.
type space struct {
	id          uint32
	start, last recovery.Offset
}

func (s space) encode(key []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, s.id)
	return seal(key, s.last.AppendKey(s.start.AppendKey(b)))
}

func decodeSpace(key, record []byte) (s space, err error) {
	b, err := unseal(key, record, 4+2*recovery.OffsetSize)
	if err != nil {
		return s, fmt.Errorf("namespace: %w", err)
	}
	s.id = binary.BigEndian.Uint32(b)
	s.start, _ = recovery.OffsetFromKey(b[4:20])
	s.last, _ = recovery.OffsetFromKey(b[20:])
	return s, nil
}

// seal appends the checksum to a record, unseal takes it off and checks that the
// record is the one that was stored under the key, and as long as it should be.
func seal(key, b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, checksum(key, b))
}

func unseal(key, record []byte, size int) ([]byte, error) {
	b := record[:max(0, len(record)-4)]
	if len(b) != size || checksum(key, b) != binary.BigEndian.Uint32(record[size:]) {
		return nil, fmt.Errorf("%w record", recovery.ErrCorrupt)
	}
	return b, nil
}

func checksum(parts ...[]byte) (sum uint32) {
	for _, part := range parts {
		sum = crc32.Update(sum, castagnoli, part)
	}
	return sum
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment describes a bucket of entries. Entries of a namespace are in
// ascending order over the segments, those of different namespaces need not be.
type segment struct {
	number      uint64
	first, last recovery.Offset // smallest and greatest, over all namespaces
	created     time.Time
	bytes       int64
	entries     uint64 // how many
	sum         uint32 // of the index, once it is written
}

func (s segment) key() []byte    { return binary.BigEndian.AppendUint64(nil, s.number) }
func (s segment) bucket() []byte { return binary.BigEndian.AppendUint64([]byte{'s'}, s.number) }

func (s segment) encode() []byte {
	b := s.last.AppendKey(s.first.AppendKey(nil))
	b = binary.BigEndian.AppendUint64(b, uint64(s.created.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(s.bytes))
	b = binary.BigEndian.AppendUint64(b, s.entries)
	return seal(s.key(), binary.BigEndian.AppendUint32(b, s.sum))
}

func decodeSegment(key, record []byte) (s segment, err error) {
	b, err := unseal(key, record, 2*recovery.OffsetSize+28)
	if err != nil || len(key) != 8 {
		return s, fmt.Errorf("segment: %w", errors.Join(err, recovery.ErrCorrupt))
	}
	s.number = binary.BigEndian.Uint64(key)
	s.first, _ = recovery.OffsetFromKey(b[:16])
	s.last, _ = recovery.OffsetFromKey(b[16:32])
	s.created = time.UnixMilli(int64(binary.BigEndian.Uint64(b[32:])))
	s.bytes = int64(binary.BigEndian.Uint64(b[40:]))
	s.entries = binary.BigEndian.Uint64(b[48:])
	s.sum = binary.BigEndian.Uint32(b[56:])
	return s, nil
}

func putSegments(tx *bbolt.Tx, n int) error {
	return tx.Bucket(bucketMeta).Put(keyCount, seal(keyCount, binary.BigEndian.AppendUint64(nil, uint64(n))))
}

func entryKey(dst []byte, ns uint32, o recovery.Offset) []byte {
	return o.AppendKey(binary.BigEndian.AppendUint32(dst, ns))
}

const entryKeySize = 4 + recovery.OffsetSize

// everyonePrefix and roomPrefix are what the keys of references begin with; an
// offset follows.
func everyonePrefix(ns uint32) []byte {
	return append(binary.BigEndian.AppendUint32(nil, ns), 0)
}

func roomPrefix(ns uint32, room string) []byte {
	return appendName(append(binary.BigEndian.AppendUint32(nil, ns), 1), room)
}

func idKey(ns uint32, id string) []byte {
	return appendName(binary.BigEndian.AppendUint32(nil, ns), id)
}

// appendName appends a name of any length in such a way that none is the
// beginning of another. Long ones are represented by their hash: keys are
// limited, names are not.
func appendName(dst []byte, name string) []byte {
	const longest = 200
	if len(name) > longest {
		sum := sha256.Sum256([]byte(name))
		return append(append(dst, 255), sum[:]...)
	}
	return append(append(dst, byte(len(name))), name...)
}

// load reads the store's state from its file, but for the index.
func (s *Store) load() error {
	s.state.spaces = make(map[string]space)
	return s.view(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return fmt.Errorf("%w: not a file of this program", recovery.ErrCorrupt)
		}
		if f := meta.Get(keyFormat); len(f) != 1 || f[0] != fileFormat {
			return fmt.Errorf("format %v is not known to this version of the program", f)
		}
		for _, name := range [][]byte{bucketNamespaces, bucketSegments, bucketSessions, bucketExpiry, bucketBrowsers} {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("%w: bucket %q is missing", recovery.ErrCorrupt, name)
			}
		}
		born, err := unseal(keyBorn, meta.Get(keyBorn), recovery.OffsetSize)
		if err != nil {
			return err
		}
		s.state.born, _ = recovery.OffsetFromKey(born)
		err = tx.Bucket(bucketNamespaces).ForEach(func(k, v []byte) error {
			sp, err := decodeSpace(k, v)
			s.state.spaces[string(k)] = sp
			return err
		})
		if err != nil {
			return err
		}
		s.state.segments, err = loadSegments(tx)
		return err
	})
}

func loadSegments(tx *bbolt.Tx) (segments []segment, err error) {
	n, err := unseal(keyCount, tx.Bucket(bucketMeta).Get(keyCount), 8)
	if err != nil {
		return nil, err
	}
	err = tx.Bucket(bucketSegments).ForEach(func(k, v []byte) error {
		seg, err := decodeSegment(k, v)
		if err != nil {
			return err
		}
		segments = append(segments, seg)
		return nil
	})
	if err == nil && uint64(len(segments)) != binary.BigEndian.Uint64(n) {
		err = fmt.Errorf("%w: %d segments, not %d", recovery.ErrCorrupt, len(segments), binary.BigEndian.Uint64(n))
	}
	return segments, err
}

// initialise writes what an empty store consists of.
func initialise(db *bbolt.DB, born recovery.Offset) error {
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketNamespaces, bucketSegments, bucketSessions, bucketExpiry, bucketBrowsers} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if err := meta.Put(keyBorn, seal(keyBorn, born.AppendKey(nil))); err != nil {
			return err
		}
		if err := putSegments(tx, 0); err != nil {
			return err
		}
		return meta.Put(keyFormat, []byte{fileFormat})
	})
}
