package msgpack

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/twine-realtime/twine/twine/parser"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// undefinedLen is the length of notepack's undefined: a code, a type and one byte that says nothing.
const undefinedLen = 3

func isUndefined(in []byte) bool {
	return len(in) >= undefinedLen && in[0] == msgpcode.FixExt1 && in[1] == byte(extNotepack)
}

// ext translates an extension value: a Date, an ArrayBuffer, or what neither notepack nor this package knows, which the
// reference hands to the application as an array of the type and the bytes.
func (r *reader) ext(code byte, outer int) error {
	fixed := false
	var n uint64
	var err error
	switch {
	case code >= msgpcode.FixExt1 && code <= msgpcode.FixExt16:
		fixed = true
		n = 1 << (code - msgpcode.FixExt1)
	case code >= msgpcode.Ext8 && code <= msgpcode.Ext32:
		n, err = r.number(1 << (code - msgpcode.Ext8))
	default:
		return errCode
	}
	if err != nil {
		return err
	}
	id, err := r.number(1)
	if err != nil {
		return err
	}

	switch kind := int8(id); {
	case kind == extNotepack && !fixed:
		return r.attachment(n, outer)
	case kind == extNotepack && n == 8:
		ms, err := r.number(n)
		r.date(int64(ms))
		return err
	case kind == extTimestamp && (n == 4 || n == 8 || n == 12):
		return r.timestamp(n)
	default:
		if outer >= parser.MaxDepth {
			return parser.ErrTooDeep
		}
		r.out = append(r.out, '[')
		r.out = strconv.AppendInt(r.out, int64(kind), 10)
		r.out = append(r.out, ',')
		if err := r.attachment(n, outer+1); err != nil {
			return err
		}
		r.out = append(r.out, ']')
		return nil
	}
}

// A Date of JavaScript reaches this many milliseconds to both sides of 1970.
const maxDate = 8_640_000_000_000_000

func (r *reader) date(ms int64) {
	if ms < -maxDate || ms > maxDate {
		r.out = append(r.out, "null"...) // an invalid Date
		return
	}
	r.time(time.UnixMilli(ms))
}

// timestamp translates MessagePack's own extension for times, see its specification, "Timestamp extension type".
func (r *reader) timestamp(n uint64) error {
	b, err := r.take(n)
	if err != nil {
		return err
	}
	var seconds int64
	var nanoseconds uint32
	switch n {
	case 4:
		seconds = int64(binary.BigEndian.Uint32(b))
	case 8:
		both := binary.BigEndian.Uint64(b)
		seconds, nanoseconds = int64(both&(1<<34-1)), uint32(both>>34)
	case 12:
		nanoseconds, seconds = binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint64(b[4:]))
	}
	if nanoseconds > 999_999_999 || seconds < -maxDate/1000 || seconds >= maxDate/1000 {
		return errTimestamp
	}
	r.time(time.Unix(seconds, int64(nanoseconds)))
	return nil
}

// time writes a time as Date.toISOString does, with more digits if milliseconds would lose some.
func (r *reader) time(t time.Time) {
	t = t.UTC()
	r.out = append(r.out, '"')
	switch year := t.Year(); {
	case year >= 0 && year <= 9999:
		r.out = t.AppendFormat(r.out, "2006")
	case year < 0:
		r.out = fmt.Appendf(r.out, "-%06d", -year)
	default:
		r.out = fmt.Appendf(r.out, "+%06d", year)
	}
	layout := "-01-02T15:04:05.000Z"
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		layout = "-01-02T15:04:05.000000000Z"
	}
	r.out = t.AppendFormat(r.out, layout)
	r.out = append(r.out, '"')
}
