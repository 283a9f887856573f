package recovery

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// OffsetSize is the length of an Offset's binary form, in bytes.
const OffsetSize = 16

// ErrOffset means that a text or a byte string is not an offset.
var ErrOffset = errors.New("malformed offset")

// Offset is a position in a namespace's log, written "<ms>-<seq>" like a Redis
// stream ID. MS is the wall clock of the appending node in milliseconds since
// 1970, raised where needed so that offsets never go backwards; Seq counts the
// entries of one millisecond. Offsets are compared as numbers, never as text.
//
// The zero Offset is before everything.
type Offset struct {
	MS, Seq uint64
}

// MaxOffset is after everything.
var MaxOffset = Offset{MS: math.MaxUint64, Seq: math.MaxUint64}

// OffsetAt is the first offset of t's millisecond. Times before 1970 give the
// zero Offset.
func OffsetAt(t time.Time) Offset {
	return Offset{MS: uint64(max(0, t.UnixMilli()))}
}

// ParseOffset reads exactly what String writes: two decimal numbers of 64 bits
// without signs, spaces or leading zeros. Its errors match ErrOffset.
func ParseOffset(s string) (Offset, error) {
	for i := range len(s) {
		if s[i] != '-' {
			continue
		}
		ms, ok1 := parseDecimal(s[:i])
		seq, ok2 := parseDecimal(s[i+1:])
		if ok1 && ok2 {
			return Offset{MS: ms, Seq: seq}, nil
		}
		break
	}
	return Offset{}, fmt.Errorf("%w: %.48q", ErrOffset, s)
}

func parseDecimal(s string) (n uint64, ok bool) {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	for i := range len(s) {
		d := uint64(s[i] - '0')
		if d > 9 || n > math.MaxUint64/10 {
			return 0, false
		}
		n = n*10 + d
		if n < d {
			return 0, false
		}
	}
	return n, true
}

// String is the offset as clients see it, "<ms>-<seq>".
func (o Offset) String() string {
	var buf [41]byte
	return string(o.AppendTo(buf[:0]))
}

// AppendTo appends String to dst.
func (o Offset) AppendTo(dst []byte) []byte {
	dst = strconv.AppendUint(dst, o.MS, 10)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, o.Seq, 10)
}

// MarshalText and UnmarshalText make an Offset a JSON string.
func (o Offset) MarshalText() ([]byte, error) { return o.AppendTo(nil), nil }

// UnmarshalText is ParseOffset.
func (o *Offset) UnmarshalText(text []byte) (err error) {
	*o, err = ParseOffset(string(text))
	return err
}

// AppendKey appends the binary form: OffsetSize bytes whose order under
// bytes.Compare is the order of offsets.
func (o Offset) AppendKey(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, o.MS)
	return binary.BigEndian.AppendUint64(dst, o.Seq)
}

// OffsetFromKey reads the binary form. It fails with ErrOffset unless key is
// exactly OffsetSize bytes long.
func OffsetFromKey(key []byte) (Offset, error) {
	if len(key) != OffsetSize {
		return Offset{}, fmt.Errorf("%w: a key of %d bytes", ErrOffset, len(key))
	}
	return Offset{MS: binary.BigEndian.Uint64(key), Seq: binary.BigEndian.Uint64(key[8:])}, nil
}

// Compare is negative when o is before p, zero when they are equal and positive
// when o is after p.
func (o Offset) Compare(p Offset) int {
	return cmp.Or(cmp.Compare(o.MS, p.MS), cmp.Compare(o.Seq, p.Seq))
}

// Before says whether o is before p.
func (o Offset) Before(p Offset) bool { return o.Compare(p) < 0 }

// After says whether o is after p.
func (o Offset) After(p Offset) bool { return o.Compare(p) > 0 }

// Next is the smallest offset after o. MaxOffset is its own next.
func (o Offset) Next() Offset {
	switch {
	case o.Seq < math.MaxUint64:
		return Offset{MS: o.MS, Seq: o.Seq + 1}
	case o.MS < math.MaxUint64:
		return Offset{MS: o.MS + 1}
	}
	return o
}

// IsZero says whether o is the zero Offset.
func (o Offset) IsZero() bool { return o == Offset{} }

// Time is the wall clock in o. Milliseconds past what an int64 holds are cut
// off to the largest it does.
func (o Offset) Time() time.Time {
	return time.UnixMilli(int64(min(o.MS, math.MaxInt64)))
}

// later is the greater of two offsets.
func later(a, b Offset) Offset {
	if a.Before(b) {
		return b
	}
	return a
}
