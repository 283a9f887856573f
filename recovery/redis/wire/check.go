package wire

import (
	"fmt"

	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/twine-realtime/twine/twine/parser"
)

// maxDepth is how deep a message may be nested: a payload as deep as it may be, in what we and servers of Node have around
// it.
const maxDepth = parser.MaxDepth + 8

// checkPacked refuses what package msgpack must not see, because it recurses into arrays and maps without a bound, and
// believes what lengths are said to be: all that is not exactly one value of MessagePack, nested up to maxDepth deep. It
// does not recurse itself.
func checkPacked(packed []byte) error {
	open := make([]uint64, 1, 16) // for each open container, and the message itself: how many values are still to come
	open[0] = 1
	for len(open) > 0 {
		if open[len(open)-1] == 0 {
			open = open[:len(open)-1]
			continue
		}
		open[len(open)-1]--
		h, err := readHead(packed)
		if err != nil {
			return err
		}
		if h.size > len(packed) {
			return fmt.Errorf("%w: MessagePack is cut short", ErrMalformed)
		}
		// Each value takes one byte at the least.
		if rest := uint64(len(packed) - h.size); h.bytes > rest || h.values > rest {
			return fmt.Errorf("%w: MessagePack is cut short", ErrMalformed)
		}
		packed = packed[uint64(h.size)+h.bytes:]
		if h.values > 0 {
			if len(open) > maxDepth {
				return fmt.Errorf("%w: nested more than %d deep", ErrMalformed, maxDepth)
			}
			open = append(open, h.values)
		}
	}
	if len(packed) > 0 {
		return fmt.Errorf("%w: %d bytes behind the MessagePack", ErrMalformed, len(packed))
	}
	return nil
}

// packedHead is what a value of MessagePack begins with.
type packedHead struct {
	size   int    // of the head itself
	bytes  uint64 // of data that follow
	values uint64 // that follow
}

func readHead(packed []byte) (packedHead, error) {
	if len(packed) == 0 {
		return packedHead{}, fmt.Errorf("%w: MessagePack is cut short", ErrMalformed)
	}
	code := packed[0]
	switch {
	case msgpcode.IsFixedNum(code), code == msgpcode.Nil, code == msgpcode.True, code == msgpcode.False:
		return packedHead{size: 1}, nil
	case msgpcode.IsFixedMap(code):
		return packedHead{size: 1, values: 2 * uint64(code&msgpcode.FixedMapMask)}, nil
	case msgpcode.IsFixedArray(code):
		return packedHead{size: 1, values: uint64(code & msgpcode.FixedArrayMask)}, nil
	case msgpcode.IsFixedString(code):
		return packedHead{size: 1, bytes: uint64(code & msgpcode.FixedStrMask)}, nil
	case code >= msgpcode.Uint8 && code <= msgpcode.Uint64:
		return packedHead{size: 1, bytes: 1 << (code - msgpcode.Uint8)}, nil
	case code >= msgpcode.Int8 && code <= msgpcode.Int64:
		return packedHead{size: 1, bytes: 1 << (code - msgpcode.Int8)}, nil
	case code == msgpcode.Float:
		return packedHead{size: 1, bytes: 4}, nil
	case code == msgpcode.Double:
		return packedHead{size: 1, bytes: 8}, nil
	case code >= msgpcode.FixExt1 && code <= msgpcode.FixExt16:
		return packedHead{size: 2, bytes: 1 << (code - msgpcode.FixExt1)}, nil
	}
	// The rest has its length in the bytes that follow.
	var width int
	h := packedHead{size: 1}
	n := &h.bytes
	switch {
	case code >= msgpcode.Str8 && code <= msgpcode.Str32:
		width = 1 << (code - msgpcode.Str8)
	case code >= msgpcode.Bin8 && code <= msgpcode.Bin32:
		width = 1 << (code - msgpcode.Bin8)
	case code >= msgpcode.Ext8 && code <= msgpcode.Ext32:
		width = 1 << (code - msgpcode.Ext8)
		h.size++ // the kind of extension
	case code == msgpcode.Array16 || code == msgpcode.Array32:
		width, n = 2<<(code-msgpcode.Array16), &h.values
	case code == msgpcode.Map16 || code == msgpcode.Map32:
		width, n = 2<<(code-msgpcode.Map16), &h.values
	default:
		return h, fmt.Errorf("%w: MessagePack has no code %#x", ErrMalformed, code)
	}
	if h.size += width; h.size > len(packed) {
		return h, fmt.Errorf("%w: MessagePack is cut short", ErrMalformed)
	}
	for _, b := range packed[1 : 1+width] {
		*n = *n<<8 | uint64(b)
	}
	if code == msgpcode.Map16 || code == msgpcode.Map32 {
		h.values *= 2
	}
	return h, nil
}
