package msgpack

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/twine-realtime/twine/twine/parser"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// reader translates MessagePack into JSON and attachments. Every length is checked against what is left of the message
// before anything is made of it, so the JSON is at most six times as long as the message (a control character takes one
// byte here and six there).
type reader struct {
	in          []byte // what is left of the message
	out         []byte // JSON
	attachments [][]byte
	lookalike   bool // an object that the canonical form would take for a placeholder
	firstEnd    int  // where the first element of the outermost array ends in out
}

func (r *reader) code() (byte, error) {
	if len(r.in) == 0 {
		return 0, errTruncated
	}
	c := r.in[0]
	r.in = r.in[1:]
	return c, nil
}

// take returns the next n bytes.
func (r *reader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.in)) {
		return nil, errTruncated
	}
	b := r.in[:n:n]
	r.in = r.in[n:]
	return b, nil
}

// number returns the next n bytes, 1, 2, 4 or 8, as a number.
func (r *reader) number(n uint64) (uint64, error) {
	b, err := r.take(n)
	if err != nil {
		return 0, err
	}
	switch n {
	case 1:
		return uint64(b[0]), nil
	case 2:
		return uint64(binary.BigEndian.Uint16(b)), nil
	case 4:
		return uint64(binary.BigEndian.Uint32(b)), nil
	}
	return binary.BigEndian.Uint64(b), nil
}

// elements reads the number of a container's elements, each of which takes at least one byte.
func (r *reader) elements(width uint64, each uint64) (int, error) {
	n, err := r.number(width)
	if err != nil {
		return 0, err
	}
	if n*each > uint64(len(r.in)) {
		return 0, errTruncated
	}
	return int(n), nil
}

func (r *reader) mapLen(code byte) (n int, ok bool, err error) {
	const each = 2
	switch {
	case msgpcode.IsFixedMap(code):
		n = int(code & msgpcode.FixedMapMask)
		if n*each > len(r.in) {
			return 0, false, errTruncated
		}
	case code == msgpcode.Map16:
		n, err = r.elements(2, each)
	case code == msgpcode.Map32:
		n, err = r.elements(4, each)
	default:
		return 0, false, nil
	}
	return n, err == nil, err
}

func (r *reader) arrayLen(code byte) (n int, ok bool, err error) {
	switch {
	case msgpcode.IsFixedArray(code):
		n = int(code & msgpcode.FixedArrayMask)
		if n > len(r.in) {
			return 0, false, errTruncated
		}
	case code == msgpcode.Array16:
		n, err = r.elements(2, 1)
	case code == msgpcode.Array32:
		n, err = r.elements(4, 1)
	default:
		return 0, false, nil
	}
	return n, err == nil, err
}

// str returns the string that starts with the code, a part of the message. ok is false if it is none.
func (r *reader) str(code byte) (s []byte, ok bool, err error) {
	var n uint64
	switch {
	case msgpcode.IsFixedString(code):
		n = uint64(code & msgpcode.FixedStrMask)
	case code == msgpcode.Str8:
		n, err = r.number(1)
	case code == msgpcode.Str16:
		n, err = r.number(2)
	case code == msgpcode.Str32:
		n, err = r.number(4)
	default:
		return nil, false, nil
	}
	if err == nil {
		s, err = r.take(n)
	}
	if err != nil {
		return nil, false, err
	}
	if !utf8.Valid(s) {
		return nil, false, errUTF8
	}
	return s, true, nil
}

func (r *reader) key() ([]byte, error) {
	code, err := r.code()
	if err != nil {
		return nil, err
	}
	s, ok, err := r.str(code)
	if err == nil && !ok {
		err = errKey
	}
	return s, err
}

// uint returns a whole number. ok is false if it is another value, which is then not read fully.
func (r *reader) uint() (n uint64, ok bool, err error) {
	code, err := r.code()
	if err != nil {
		return 0, false, err
	}
	switch {
	case code <= msgpcode.PosFixedNumHigh:
		return uint64(code), true, nil
	case code >= msgpcode.Uint8 && code <= msgpcode.Uint64:
		n, err = r.number(1 << (code - msgpcode.Uint8))
		return n, err == nil, err
	case code >= msgpcode.Int8 && code <= msgpcode.Int64:
		i, err := r.int(code)
		return uint64(i), err == nil && i >= 0, err
	}
	return 0, false, nil
}

// int returns the number that starts with one of the codes of signed integers.
func (r *reader) int(code byte) (int64, error) {
	width := uint64(1) << (code - msgpcode.Int8)
	n, err := r.number(width)
	unused := 64 - 8*width
	return int64(n<<unused) >> unused, err
}

// ignore steps over a value, which has to be valid too.
func (r *reader) ignore() error {
	out, attachments, lookalike, firstEnd := len(r.out), len(r.attachments), r.lookalike, r.firstEnd
	err := r.value(0)
	r.out, r.attachments, r.lookalike, r.firstEnd = r.out[:out], r.attachments[:attachments], lookalike, firstEnd
	return err
}

// value translates the next value, which outer arrays and maps enclose.
func (r *reader) value(outer int) error {
	if isUndefined(r.in) {
		r.in = r.in[undefinedLen:]
		r.out = append(r.out, "null"...)
		return nil
	}
	code, err := r.code()
	if err != nil {
		return err
	}
	if s, ok, err := r.str(code); ok || err != nil {
		r.out = appendString(r.out, s)
		return err
	}
	if n, ok, err := r.arrayLen(code); ok || err != nil {
		if err == nil {
			err = r.array(n, outer)
		}
		return err
	}
	if n, ok, err := r.mapLen(code); ok || err != nil {
		if err == nil {
			err = r.object(n, outer)
		}
		return err
	}
	return r.scalar(code, outer)
}

func (r *reader) array(n, outer int) error {
	if outer >= parser.MaxDepth {
		return parser.ErrTooDeep
	}
	r.out = append(r.out, '[')
	for i := range n {
		if i > 0 {
			r.out = append(r.out, ',')
		}
		if err := r.value(outer + 1); err != nil {
			return err
		}
		if i == 0 && outer == 0 {
			r.firstEnd = len(r.out)
		}
	}
	r.out = append(r.out, ']')
	return nil
}

func (r *reader) object(n, outer int) error {
	if outer >= parser.MaxDepth {
		return parser.ErrTooDeep
	}
	r.out = append(r.out, '{')
	empty := len(r.out)
	for range n {
		key, err := r.key()
		if err != nil {
			return err
		}
		if isUndefined(r.in) { // JSON.stringify leaves such a member out
			r.in = r.in[undefinedLen:]
			continue
		}
		if len(r.out) > empty {
			r.out = append(r.out, ',')
		}
		r.out = appendString(r.out, key)
		r.out = append(r.out, ':')
		if len(r.in) > 0 && r.in[0] == msgpcode.True && string(key) == keyPlaceholder {
			r.lookalike = true
		}
		if err := r.value(outer + 1); err != nil {
			return err
		}
	}
	r.out = append(r.out, '}')
	return nil
}

func (r *reader) scalar(code byte, outer int) error {
	switch {
	case code == msgpcode.Nil:
		r.out = append(r.out, "null"...)
	case code == msgpcode.False:
		r.out = append(r.out, "false"...)
	case code == msgpcode.True:
		r.out = append(r.out, "true"...)
	case code <= msgpcode.PosFixedNumHigh:
		r.out = strconv.AppendInt(r.out, int64(code), 10)
	case code >= msgpcode.NegFixedNumLow:
		r.out = strconv.AppendInt(r.out, int64(int8(code)), 10)
	case code >= msgpcode.Uint8 && code <= msgpcode.Uint64:
		n, err := r.number(1 << (code - msgpcode.Uint8))
		r.out = strconv.AppendUint(r.out, n, 10)
		return err
	case code >= msgpcode.Int8 && code <= msgpcode.Int64:
		n, err := r.int(code)
		r.out = strconv.AppendInt(r.out, n, 10)
		return err
	case code == msgpcode.Float:
		n, err := r.number(4)
		r.out = appendFloat(r.out, float64(math.Float32frombits(uint32(n))))
		return err
	case code == msgpcode.Double:
		n, err := r.number(8)
		r.out = appendFloat(r.out, math.Float64frombits(n))
		return err
	case code >= msgpcode.Bin8 && code <= msgpcode.Bin32:
		n, err := r.number(1 << (code - msgpcode.Bin8))
		if err != nil {
			return err
		}
		return r.attachment(n, outer)
	default:
		return r.ext(code, outer)
	}
	return nil
}

// attachment takes the next n bytes as a binary value.
func (r *reader) attachment(n uint64, outer int) error {
	b, err := r.take(n)
	if err != nil {
		return err
	}
	if outer >= parser.MaxDepth { // the placeholder is an object
		return parser.ErrTooDeep
	}
	if len(r.attachments) >= parser.MaxAttachments {
		return parser.ErrTooManyAttachments
	}
	r.out = append(r.out, `{"_placeholder":true,"num":`...)
	r.out = strconv.AppendInt(r.out, int64(len(r.attachments)), 10)
	r.out = append(r.out, '}')
	r.attachments = append(r.attachments, append([]byte{}, b...))
	return nil
}
