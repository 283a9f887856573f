package pubsub

import (
	"math"
	"strconv"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// reader steps through MessagePack, whose values stay parts of the message. Lengths are checked against what is left
// before anything is made of them. All errors match errMalformed.
type reader struct{ in string }

var (
	errTruncated = malformed("MessagePack is cut short")
	errCode      = malformed("unknown code in MessagePack")
	errKind      = malformed("a value of MessagePack has another type than expected")
)

// take returns the next n bytes.
func (r *reader) take(n uint64) (string, error) {
	if n > uint64(len(r.in)) {
		return "", errTruncated
	}
	s := r.in[:n]
	r.in = r.in[n:]
	return s, nil
}

func (r *reader) code() (byte, error) {
	s, err := r.take(1)
	if err != nil {
		return 0, err
	}
	return s[0], nil
}

// uint returns the next n bytes as a number.
func (r *reader) uint(n uint64) (v uint64, err error) {
	s, err := r.take(n)
	for i := range len(s) {
		v = v<<8 | uint64(s[i])
	}
	return v, err
}

// arrayLen and mapLen return how many elements or members follow. There are at least as many bytes.
func (r *reader) arrayLen() (int, error) {
	code, err := r.code()
	if err != nil {
		return 0, err
	}
	return r.containerLen(code, msgpcode.FixedArrayLow, msgpcode.FixedArrayHigh, msgpcode.Array16, 1)
}

func (r *reader) mapLen() (int, error) {
	code, err := r.code()
	if err != nil {
		return 0, err
	}
	return r.containerLen(code, msgpcode.FixedMapLow, msgpcode.FixedMapHigh, msgpcode.Map16, 2)
}

func (r *reader) containerLen(code, low, high, code16 byte, values uint64) (int, error) {
	var n uint64
	var err error
	switch {
	case code >= low && code <= high:
		n = uint64(code - low)
	case code == code16:
		n, err = r.uint(2)
	case code == code16+1:
		n, err = r.uint(4)
	default:
		return 0, errKind
	}
	if err == nil && n*values > uint64(len(r.in)) {
		err = errTruncated
	}
	if err != nil {
		return 0, err
	}
	return int(n), nil
}

// text returns a string, as it is.
func (r *reader) text() (string, error) {
	code, err := r.code()
	if err != nil {
		return "", err
	}
	if !msgpcode.IsString(code) {
		return "", errKind
	}
	n, err := r.dataLen(code)
	if err != nil {
		return "", err
	}
	return r.take(n)
}

func (r *reader) boolean() (bool, error) {
	code, err := r.code()
	switch {
	case err != nil:
		return false, err
	case code == msgpcode.True:
		return true, nil
	case code == msgpcode.False:
		return false, nil
	}
	return false, errKind
}

// skipNothing steps over nil or undefined, if that is what comes, and says whether it did.
func (r *reader) skipNothing() bool {
	const undefined = "\xd4\x00" // of notepack.io 2, with one byte more
	switch {
	case len(r.in) > 0 && r.in[0] == msgpcode.Nil:
		r.in = r.in[1:]
		return true
	case len(r.in) > len(undefined) && r.in[:len(undefined)] == undefined:
		r.in = r.in[len(undefined)+1:]
		return true
	}
	return false
}

// number returns any number, rounded to what JavaScript has.
func (r *reader) number() (float64, error) {
	code, err := r.code()
	if err != nil {
		return 0, err
	}
	if msgpcode.IsFixedNum(code) {
		return float64(int8(code)), nil
	}
	var n uint64
	switch code {
	case msgpcode.Uint8, msgpcode.Uint16, msgpcode.Uint32, msgpcode.Uint64:
		n, err = r.uint(1 << (code - msgpcode.Uint8))
		return float64(n), err
	case msgpcode.Int8, msgpcode.Int16, msgpcode.Int32, msgpcode.Int64:
		width := uint64(1) << (code - msgpcode.Int8)
		n, err = r.uint(width)
		unused := 64 - 8*width
		return float64(int64(n<<unused) >> unused), err
	case msgpcode.Float:
		n, err = r.uint(4)
		return float64(math.Float32frombits(uint32(n))), err
	case msgpcode.Double:
		n, err = r.uint(8)
		return math.Float64frombits(n), err
	}
	return 0, errKind
}

// name returns a room, which may be a number to Node.
func (r *reader) name() (string, error) {
	if len(r.in) > 0 && msgpcode.IsString(r.in[0]) {
		return r.text()
	}
	f, err := r.number()
	if err != nil {
		return "", err
	}
	return strconv.FormatFloat(f, 'f', -1, 64), nil
}

// value returns the next value, whatever it is, as MessagePack. What it contains is not checked beyond where it ends.
func (r *reader) value() (string, error) {
	start := r.in
	open := uint64(1) // values that are still to come
	for ; open > 0; open-- {
		inner, err := r.step()
		if err != nil {
			return "", err
		}
		open += inner
		if open > uint64(len(r.in))+1 { // each takes a byte at least; this one is counted still
			return "", errTruncated
		}
	}
	return start[:len(start)-len(r.in)], nil
}

// step steps over a value, or the head of a container, and returns how many values that has.
func (r *reader) step() (inner uint64, err error) {
	code, err := r.code()
	if err != nil {
		return 0, err
	}
	switch {
	case msgpcode.IsFixedNum(code), code == msgpcode.Nil, code == msgpcode.True, code == msgpcode.False:
		return 0, nil
	case msgpcode.IsFixedMap(code):
		return 2 * uint64(code&msgpcode.FixedMapMask), nil
	case msgpcode.IsFixedArray(code):
		return uint64(code & msgpcode.FixedArrayMask), nil
	case code == msgpcode.Array16 || code == msgpcode.Array32:
		return r.uint(2 << (code - msgpcode.Array16))
	case code == msgpcode.Map16 || code == msgpcode.Map32:
		n, err := r.uint(2 << (code - msgpcode.Map16))
		return 2 * n, err
	}
	n, err := r.dataLen(code)
	if err != nil {
		return 0, err
	}
	_, err = r.take(n)
	return 0, err
}

// dataLen returns how many bytes follow the code of a value that contains no other.
func (r *reader) dataLen(code byte) (n uint64, err error) {
	const extType = 1
	switch {
	case msgpcode.IsFixedString(code):
		return uint64(code & msgpcode.FixedStrMask), nil
	case code >= msgpcode.Str8 && code <= msgpcode.Str32:
		return r.uint(1 << (code - msgpcode.Str8))
	case code >= msgpcode.Bin8 && code <= msgpcode.Bin32:
		return r.uint(1 << (code - msgpcode.Bin8))
	case code >= msgpcode.Ext8 && code <= msgpcode.Ext32:
		n, err = r.uint(1 << (code - msgpcode.Ext8))
		return n + extType, err
	case code >= msgpcode.FixExt1 && code <= msgpcode.FixExt16:
		return 1<<(code-msgpcode.FixExt1) + extType, nil
	case code >= msgpcode.Uint8 && code <= msgpcode.Uint64:
		return 1 << (code - msgpcode.Uint8), nil
	case code >= msgpcode.Int8 && code <= msgpcode.Int64:
		return 1 << (code - msgpcode.Int8), nil
	case code == msgpcode.Float:
		return 4, nil
	case code == msgpcode.Double:
		return 8, nil
	}
	return 0, errCode
}
