package engineio

import (
	"encoding/base64"
	"encoding/binary"
	"sync/atomic"
)

// Engine.IO packet types (protocol v4, "Packet encoding").
const (
	packetOpen    = '0'
	packetClose   = '1'
	packetPing    = '2'
	packetPong    = '3'
	packetMessage = '4'
	packetUpgrade = '5'
	packetNoop    = '6'
	packetBase64  = 'b' // a binary message as text
)

// maxFrameHeader is the size of the largest unmasked WebSocket frame header (RFC 6455, 5.2).
const maxFrameHeader = 10

// Headroom is the number of bytes that [NewTextInPlace] needs in front of the payload: the largest WebSocket header
// and the packet type.
const Headroom = maxFrameHeader + 1

// queueOverhead is what a queued message counts beside its bytes, so that a flood of empty messages is bounded too.
const queueOverhead = 32

type messageKind uint8

const (
	kindText messageKind = iota
	kindBinary
	kindControl // a WebSocket control frame: nothing for polling
)

// Message is one Engine.IO packet, framed for WebSocket once. It is immutable, so any number of sessions may have it
// queued at the same time.
type Message struct {
	frame []byte // WebSocket header, then the packet as it stands in a text or binary frame
	head  uint8  // length of the header
	kind  messageKind

	uncompressed bool
	deflate      atomic.Pointer[Message]
}

// Uncompressed returns a message like m that permessage-deflate leaves alone (the reference's compress(false)).
func (m *Message) Uncompressed() *Message {
	return &Message{frame: m.frame, head: m.head, kind: m.kind, uncompressed: true}
}

// NewText returns a text message with a copy of payload, which must be valid UTF-8.
func NewText(payload []byte) *Message {
	buf := make([]byte, Headroom+len(payload))
	copy(buf[Headroom:], payload)
	return NewTextInPlace(buf)
}

// NewTextInPlace returns a text message whose payload is buf[Headroom:], without copying it. The first Headroom
// bytes are overwritten. The message owns buf from then on. It panics if buf is shorter than Headroom.
func NewTextInPlace(buf []byte) *Message {
	buf[Headroom-1] = packetMessage
	return framed(buf, maxFrameHeader, kindText)
}

// NewBinary returns a binary message with a copy of payload.
func NewBinary(payload []byte) *Message {
	buf := make([]byte, maxFrameHeader+len(payload))
	copy(buf[maxFrameHeader:], payload)
	return framed(buf, maxFrameHeader, kindBinary)
}

// newPacket returns a text packet of the given type.
func newPacket(packetType byte, payload string) *Message {
	buf := make([]byte, Headroom+len(payload))
	copy(buf[Headroom:], payload)
	buf[Headroom-1] = packetType
	return framed(buf, maxFrameHeader, kindText)
}

// framed writes the frame header right before buf[body:].
func framed(buf []byte, body int, kind messageKind) *Message {
	opcode := byte(0x1)
	if kind == kindBinary {
		opcode = 0x2
	}
	n := len(buf) - body
	head := 2
	switch {
	case n > 0xffff:
		head = 10
	case n > 125:
		head = 4
	}
	frame := buf[body-head:]
	frame[0] = 0x80 | opcode
	switch head {
	case 2:
		frame[1] = byte(n)
	case 4:
		frame[1] = 126
		binary.BigEndian.PutUint16(frame[2:], uint16(n))
	default:
		frame[1] = 127
		binary.BigEndian.PutUint64(frame[2:], uint64(n))
	}
	return &Message{frame: frame, head: uint8(head), kind: kind}
}

// newControl wraps a complete WebSocket control frame.
func newControl(frame []byte) *Message {
	return &Message{frame: frame, head: 2, kind: kindControl}
}

func (m *Message) packet() []byte { return m.frame[m.head:] }

func (m *Message) size() int { return len(m.frame) + queueOverhead }

// base64 returns m for a client that asked for binary messages as text.
func (m *Message) base64() *Message {
	if m.kind != kindBinary {
		return m
	}
	buf := append(make([]byte, maxFrameHeader, maxFrameHeader+1+base64.StdEncoding.EncodedLen(len(m.packet()))), packetBase64)
	return framed(base64.StdEncoding.AppendEncode(buf, m.packet()), maxFrameHeader, kindText)
}

// appendPolling appends the packet in the form of a long-polling payload: text as it is, binary as "b" + base64.
func (m *Message) appendPolling(dst []byte) []byte {
	if m.kind == kindBinary {
		dst = append(dst, 'b')
		return base64.StdEncoding.AppendEncode(dst, m.packet())
	}
	return append(dst, m.packet()...)
}
