package recovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrCorrupt means that stored bytes are not what was written. Errors that
// match it name the place.
var ErrCorrupt = errors.New("corrupt")

// Entry is one recoverable message in a namespace's log.
//
// An Entry that was given to a Sequencer or a Log, or that came out of one, is
// shared and must not be modified, nor may the memory its slices point to.
type Entry struct {
	Offset      Offset   // assigned by the Sequencer
	Rooms       []string // whom it is for; empty: everyone in the namespace
	Except      []string // rooms whose members do not get it
	Data        []byte   // the event as a raw JSON array, ["name",arg...], without the offset argument
	Attachments [][]byte // binary values that Data refers to by placeholder
	ID          string   // the publisher's idempotency key; empty: none
}

// Size is roughly what the entry occupies, in bytes. Bounds of queues, pages
// and tiers are counted in it.
func (e *Entry) Size() int {
	const overhead = 128
	n := overhead + len(e.Data) + len(e.ID)
	for _, r := range e.Rooms {
		n += 16 + len(r)
	}
	for _, r := range e.Except {
		n += 16 + len(r)
	}
	for _, a := range e.Attachments {
		n += 24 + len(a)
	}
	return n
}

// Excepts says whether the entry is kept from a member of the given rooms.
// Logs do not look at Except: which of a client's rooms count is for the
// reader of the log to say.
func (e *Entry) Excepts(rooms []string) bool {
	for _, x := range e.Except {
		for _, r := range rooms {
			if x == r {
				return true
			}
		}
	}
	return false
}

const (
	entryFormat   = 1
	entryChecksum = 1 // where the checksum is
	entryHeader   = entryChecksum + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendBinary appends the entry's stored form to dst: a format byte, a CRC32C
// of all that follows, the offset and the fields. Tiers that store bytes use it,
// so that what one wrote another can read.
func (e *Entry) AppendBinary(dst []byte) ([]byte, error) {
	at := len(dst)
	dst = append(dst, entryFormat, 0, 0, 0, 0)
	dst = e.Offset.AppendKey(dst)
	dst = appendField(dst, e.ID)
	dst = binary.AppendUvarint(dst, uint64(len(e.Rooms)))
	for _, r := range e.Rooms {
		dst = appendField(dst, r)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Except)))
	for _, r := range e.Except {
		dst = appendField(dst, r)
	}
	dst = appendField(dst, e.Data)
	dst = binary.AppendUvarint(dst, uint64(len(e.Attachments)))
	for _, a := range e.Attachments {
		dst = appendField(dst, a)
	}
	sum := crc32.Checksum(dst[at+entryHeader:], castagnoli)
	binary.BigEndian.PutUint32(dst[at+entryChecksum:], sum)
	return dst, nil
}

// UnmarshalBinary reads what AppendBinary wrote. The entry keeps no reference
// to data. Its errors match ErrCorrupt.
func (e *Entry) UnmarshalBinary(data []byte) error {
	if len(data) < entryHeader+OffsetSize || data[0] != entryFormat {
		return fmt.Errorf("%w entry: not a record of this format", ErrCorrupt)
	}
	body := data[entryHeader:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(data[entryChecksum:]) {
		return fmt.Errorf("%w entry: the checksum does not match", ErrCorrupt)
	}
	r := fieldReader{rest: append([]byte(nil), body...)}
	var out Entry
	out.Offset, _ = OffsetFromKey(r.take(OffsetSize))
	out.ID = string(r.field())
	out.Rooms = r.strings()
	out.Except = r.strings()
	out.Data = r.field()
	if n := r.count(); n > 0 {
		out.Attachments = make([][]byte, 0, n)
		for range n {
			out.Attachments = append(out.Attachments, r.field())
		}
	}
	if r.failed || len(r.rest) > 0 {
		return fmt.Errorf("%w entry: its fields do not add up", ErrCorrupt)
	}
	*e = out
	return nil
}

func appendField[T string | []byte](dst []byte, v T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// fieldReader takes an entry apart. After the first thing that does not fit,
// failed is set and everything it returns is empty.
type fieldReader struct {
	rest   []byte
	failed bool
}

func (r *fieldReader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	v := r.rest[:n:n]
	r.rest = r.rest[n:]
	return v
}

// count reads a number of fields; each takes a byte at least, which bounds what
// a caller allocates for them.
func (r *fieldReader) count() int {
	n, size := binary.Uvarint(r.rest)
	if r.failed || size <= 0 || n > uint64(len(r.rest)-size) {
		r.failed = true
		return 0
	}
	r.rest = r.rest[size:]
	return int(n)
}

func (r *fieldReader) field() []byte { return r.take(r.count()) }

func (r *fieldReader) strings() []string {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, string(r.field()))
	}
	return list
}
