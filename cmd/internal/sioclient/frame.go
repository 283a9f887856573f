package sioclient

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// bufferSize bounds a message: it has to fit into the one read buffer that all connections share.
const bufferSize = 256 << 10

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA
)

var errFrame = errors.New("malformed WebSocket frame")

type frame struct {
	op      byte
	payload []byte
}

// nextFrame parses the frame at the start of b. size is its length with its header, or zero when b does not hold all
// of it yet. The payload is a part of b.
func nextFrame(b []byte) (f frame, size int, err error) {
	if len(b) < 2 {
		return frame{}, 0, nil
	}
	const fin, reserved, masked = 0x80, 0x70, 0x80
	switch {
	case b[0]&reserved != 0, b[1]&masked != 0:
		return frame{}, 0, errFrame
	case b[0]&fin == 0:
		return frame{}, 0, fmt.Errorf("%w: fragmented messages are not supported", errFrame)
	}
	header, length := 2, uint64(b[1])
	switch length {
	case 126:
		header = 4
		if len(b) < header {
			return frame{}, 0, nil
		}
		length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		header = 10
		if len(b) < header {
			return frame{}, 0, nil
		}
		length = binary.BigEndian.Uint64(b[2:])
	}
	if length > bufferSize-uint64(header) {
		return frame{}, 0, fmt.Errorf("%w: %d bytes are more than this client takes", errFrame, length)
	}
	size = header + int(length)
	if len(b) < size {
		return frame{}, 0, nil
	}
	return frame{op: b[0] & 0x0f, payload: b[header:size]}, size, nil
}

// maskingKey is the same for all frames: nothing here needs it to be unpredictable, and constant frames can be made
// once. It is not zero, so that the server has to unmask.
var maskingKey = [4]byte{0x54, 0x77, 0x69, 0x6e}

// clientFrame returns a complete masked frame with a payload of less than 64 KiB.
func clientFrame(op byte, payload string) []byte {
	b := make([]byte, 0, len(payload)+8)
	switch n := len(payload); {
	case n > 0xffff:
		panic("sioclient: payload too long")
	case n > 125:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|op, 0x80|126), uint16(n))
	default:
		b = append(b, 0x80|op, 0x80|byte(n))
	}
	b = append(b, maskingKey[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^maskingKey[i%4])
	}
	return b
}
