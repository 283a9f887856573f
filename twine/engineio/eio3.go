package engineio

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"
)

// Engine.IO protocol v3, for clients of Socket.IO 2.x ([Options.AllowEIO3]). It differs from v4 in who sends the pings
// (the client), in how a binary message is framed (with its packet type as first byte, or as "b4" + base64 for clients
// that ask for b64=1), and in the polling payload:
//
//	<length>:<packet>…                       text; the length counts UTF-16 code units, as JavaScript does
//	<0 or 1><digits><0xff><packet>…          with binary messages; 0 text, 1 binary, one byte a decimal digit

// maxLengthDigits is how long a length can be before it is nonsense.
const maxLengthDigits = 10

const octetStream = "application/octet-stream"

// forV3 returns m as a v3 client understands it.
func (m *Message) forV3(b64 bool) *Message {
	if m.kind != kindBinary {
		return m
	}
	data := m.packet()
	if b64 {
		buf := make([]byte, maxFrameHeader, maxFrameHeader+2+base64.StdEncoding.EncodedLen(len(data)))
		buf = append(buf, 'b', packetMessage)
		return framed(base64.StdEncoding.AppendEncode(buf, data), maxFrameHeader, kindText)
	}
	buf := make([]byte, maxFrameHeader+1+len(data))
	buf[maxFrameHeader] = packetMessage - '0'
	copy(buf[maxFrameHeader+1:], data)
	return framed(buf, maxFrameHeader, kindBinary)
}

// appendPayloadV3 encodes a polling payload of messages that went through forV3.
func appendPayloadV3(dst []byte, msgs []*Message) (payload []byte, binary bool) {
	for _, m := range msgs {
		binary = binary || m.kind == kindBinary
	}
	for _, m := range msgs {
		packet := m.packet()
		switch {
		case m.kind == kindControl:
		case binary:
			dst = append(dst, byte(m.kind)) // kindText is 0, kindBinary is 1, as on the wire
			for _, digit := range strconv.Itoa(len(packet)) {
				dst = append(dst, byte(digit-'0'))
			}
			dst = append(append(dst, 0xff), packet...)
		default:
			dst = strconv.AppendInt(dst, int64(utf16Length(packet)), 10)
			dst = append(append(dst, ':'), packet...)
		}
	}
	return dst, binary
}

func utf16Length(text []byte) (n int) {
	for _, r := range string(text) {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}

// receivePayloadV3 handles the packets of a request's body in order.
func (s *Session) receivePayloadV3(body []byte, binary bool) error {
	if binary {
		return s.receiveBinaryPayloadV3(body)
	}
	if !utf8.Valid(body) {
		return errUTF8
	}
	for len(body) > 0 && s.isOpen() {
		digits, rest, ok := bytes.Cut(body, []byte{':'})
		if !ok || len(digits) > maxLengthDigits {
			return errPacket
		}
		n, err := strconv.ParseUint(string(digits), 10, 31)
		if err != nil {
			return errPacket
		}
		size := 0
		for units := int(n); units > 0; {
			r, width := utf8.DecodeRune(rest[size:])
			if width == 0 {
				return errPacket
			}
			size += width
			units--
			if r > 0xffff {
				units--
			}
		}
		if err := s.receiveV3(rest[:size], false); err != nil {
			return err
		}
		body = rest[size:]
	}
	return nil
}

func (s *Session) receiveBinaryPayloadV3(body []byte) error {
	for len(body) > 0 && s.isOpen() {
		kind := body[0]
		end := bytes.IndexByte(body, 0xff)
		if kind > 1 || end < 2 || end > maxLengthDigits {
			return errPacket
		}
		n := 0
		for _, digit := range body[1:end] {
			if digit > 9 || n > math.MaxInt32/10 {
				return errPacket
			}
			n = n*10 + int(digit)
		}
		rest := body[end+1:]
		if n > len(rest) {
			return errPacket
		}
		if err := s.receiveV3(rest[:n], kind == 1); err != nil {
			return err
		}
		body = rest[n:]
	}
	return nil
}

// receiveV3 is receive for the packets of a v3 client.
func (s *Session) receiveV3(packet []byte, binary bool) error {
	switch {
	case len(packet) == 0:
		return errPacket
	case binary:
		if packet[0] != packetMessage-'0' {
			return errPacket
		}
		return s.message(packet[1:], true)
	case !utf8.Valid(packet):
		return errUTF8
	case packet[0] == 'b':
		if len(packet) < 2 || packet[1] != packetMessage {
			return errPacket
		}
		data, err := base64.StdEncoding.AppendDecode(nil, packet[2:])
		if err != nil {
			return errPacket
		}
		return s.message(data, true)
	case packet[0] == packetPing:
		s.pingV3(packet[1:])
		return nil
	case packet[0] == packetPong:
		return errHeartbeat
	}
	return s.receive(packet, false)
}

// pingV3 answers the ping of a v3 client, which has to send one in every PingInterval.
func (s *Session) pingV3(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateOpen {
		return
	}
	s.server.wheel.schedule(s, s.server.opts.PingInterval+s.server.opts.PingTimeout)
	_ = s.enqueue([]*Message{newPacket(packetPong, string(payload))})
}
