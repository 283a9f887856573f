package memory

import (
	"encoding/binary"
	"math"

	"github.com/twine-realtime/twine/recovery"
)

// Hundreds of thousands of entries are kept, and each would be several objects
// for the garbage collector to look at, again and again. So they are written into
// large pieces of memory, one record behind the other, and found by their place.

// ring is a queue of records. The zero value is empty.
type ring struct {
	pieces [][]byte // the front one begins with the index head
	first  uint32   // number of pieces[0]
	head   uint32
}

const (
	pieceSize = 64 << 10
	// maxRecord bounds what Entry.Size may say of one that is kept.
	maxRecord = math.MaxInt32
)

// place is where a record is: the number of the piece, and the index in it. Later
// records have greater places, until the numbers begin again.
type place uint64

func (r *ring) empty() bool { return len(r.pieces) == 0 }

func (r *ring) front() place { return place(r.first)<<32 | place(r.head) }

func (r *ring) at(p place) record {
	b := r.pieces[uint32(p>>32)-r.first][uint32(p):]
	return record(b[:binary.LittleEndian.Uint32(b[lengthAt:])])
}

// pop drops the record in front.
func (r *ring) pop() {
	r.head += uint32(len(r.at(r.front())))
	if int(r.head) < len(r.pieces[0]) {
		return
	}
	r.pieces[0] = nil
	r.pieces, r.head = r.pieces[1:], 0
	r.first++
}

// room makes sure that a record of n bytes fits the last piece. No piece but the last
// one has more than an eighth of pieceSize left, so that what is held stays near what
// is counted when records are large.
func (r *ring) room(n int) {
	if last := len(r.pieces) - 1; last >= 0 {
		piece := r.pieces[last]
		left := cap(piece) - len(piece)
		if left >= n {
			return
		}
		if left > pieceSize/8 {
			r.pieces[last] = append(make([]byte, 0, len(piece)), piece...)
		}
	}
	size := pieceSize
	if n > pieceSize/2 {
		size = n
	}
	r.pieces = append(r.pieces, make([]byte, 0, size))
}

// push appends an entry of a namespace; size is what Entry.Size says.
func (r *ring) push(e *recovery.Entry, space uint32, size int) place {
	n := recordLength(e)
	r.room(n)
	last := len(r.pieces) - 1
	piece := r.pieces[last]
	r.pieces[last] = appendRecord(piece, e, space, uint32(size), uint32(n))
	return place(r.first+uint32(last))<<32 | place(len(piece))
}

// pushRecord appends a copy of a record.
func (r *ring) pushRecord(rec record) place {
	r.room(len(rec))
	last := len(r.pieces) - 1
	piece := r.pieces[last]
	r.pieces[last] = append(piece, rec...)
	return place(r.first+uint32(last))<<32 | place(len(piece))
}

// record is an entry as it is kept: numbers of fixed size in little endian, then
// the fields, each with its length in front, and lists with their number of fields.
type record []byte

const (
	msAt     = 0
	seqAt    = 8
	spaceAt  = 16
	sizeAt   = 20
	lengthAt = 24
	fieldsAt = 28
)

func fieldLength(n int) int { return 4 + n }

func listLength(list []string) int {
	n := 4
	for _, s := range list {
		n += fieldLength(len(s))
	}
	return n
}

func recordLength(e *recovery.Entry) int {
	n := fieldsAt + fieldLength(len(e.ID)) + listLength(e.Rooms) + listLength(e.Except) + fieldLength(len(e.Data)) + 4
	for _, a := range e.Attachments {
		n += fieldLength(len(a))
	}
	return n
}

func appendRecord(b []byte, e *recovery.Entry, space, size, length uint32) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, e.Offset.MS)
	b = le.AppendUint64(b, e.Offset.Seq)
	b = le.AppendUint32(b, space)
	b = le.AppendUint32(b, size)
	b = le.AppendUint32(b, length)
	b = appendField(b, e.ID)
	b = appendList(b, e.Rooms)
	b = appendList(b, e.Except)
	b = appendField(b, e.Data)
	return appendList(b, e.Attachments)
}

func appendField[T string | []byte](b []byte, v T) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
}

func appendList[T string | []byte](b []byte, list []T) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	for _, v := range list {
		b = appendField(b, v)
	}
	return b
}

func (r record) offset() recovery.Offset {
	return recovery.Offset{MS: binary.LittleEndian.Uint64(r[msAt:]), Seq: binary.LittleEndian.Uint64(r[seqAt:])}
}

func (r record) space() uint32 { return binary.LittleEndian.Uint32(r[spaceAt:]) }

func (r record) size() int { return int(binary.LittleEndian.Uint32(r[sizeAt:])) }

func (r record) fields() fields { return fields(r[fieldsAt:]) }

func (r record) data() []byte {
	f := r.fields()
	f.next()
	for range 2 { // rooms, except
		for range f.count() {
			f.next()
		}
	}
	return f.next()
}

// fields are what is left to read of a record.
type fields []byte

func (f *fields) count() int {
	n := binary.LittleEndian.Uint32(*f)
	*f = (*f)[4:]
	return int(n)
}

func (f *fields) next() []byte {
	n := f.count()
	b := (*f)[:n:n]
	*f = (*f)[n:]
	return b
}

// id and rooms are what a record begins with: what the index needs of it.
func (r record) id() []byte {
	f := r.fields()
	return f.next()
}

func (r record) rooms(visit func(room []byte)) (none bool) {
	f := r.fields()
	f.next()
	n := f.count()
	for range n {
		visit(f.next())
	}
	return n == 0
}
