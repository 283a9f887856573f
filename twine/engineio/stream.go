package engineio

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"
	"unicode/utf8"
)

// A stream (Engine.IO v4, "WebTransport") carries packets in both directions, each behind a header that says how long it
// is and, in its top bit, whether it is binary:
//
//	0…125      length
//	126 + 2    length, big endian
//	127 + 8    length, big endian
//
// That is a WebSocket's frame header without its first byte, so a Message that was framed for WebSocket is framed for a
// stream too. The client's first packet is an open packet: "0", or "0" and {"sid":…} for an upgrade.
//
// To close a stream loses what has not arrived, and browsers drop even what has arrived and was not read. So the last
// packet of a session is a ping, and the stream is closed when its pong has come.

// maxOpenPacket bounds a stream's first packet, in bytes.
const maxOpenPacket = 1 << 10

const (
	streamBinary   = 0x80
	streamLength16 = 126
	streamLength64 = 127
)

// emptyStreamBinary is an empty binary message as text, because a packet may not be empty.
var emptyStreamBinary = []byte{1, packetBase64}

// ServeStream serves one client over a stream of packets, such as a stream of a WebTransport session, and returns when the
// stream has ended. It closes stream, whose Close must make Read and Write return, may be called concurrently with them
// and more than once. r is the request that the client opened the stream with.
//
// The error tells why the stream did not become part of a session; the client is told nothing but the end of the stream.
// A nil error says that it did.
func (sv *Server) ServeStream(stream io.ReadWriteCloser, r *http.Request) error {
	c := newConn(stream)
	c.raw, c.stream = nil, true
	defer c.close()
	if !sv.opts.serves(WebTransport) {
		return sv.refuseStream(r, CodeUnknownTransport, fmt.Errorf("engineio: transport %q", WebTransport))
	}
	timeout := time.AfterFunc(sv.opts.UpgradeTimeout, c.close)
	packet, err := c.readOpenPacket()
	if !timeout.Stop() {
		err = errOpenTimeout
	}
	if err != nil {
		return sv.refuseStream(r, CodeBadRequest, err)
	}
	sid, err := parseOpenPacket(packet)
	switch {
	case err != nil:
		return sv.refuseStream(r, CodeBadRequest, err)
	case sid == "":
		return sv.openStream(c, r)
	case sv.opts.DisableUpgrades:
		return sv.refuseStream(r, CodeBadRequest, errNoUpgrades)
	}
	sv.mu.Lock()
	s := sv.clients[sid]
	sv.mu.Unlock()
	switch {
	case s == nil:
		return sv.refuseStream(r, CodeUnknownSID, fmt.Errorf("engineio: sid %q", sid))
	case s.v3 || !s.startProbe(c):
		return sv.refuseStream(r, CodeBadRequest, errUpgraded)
	}
	s.readStream(c)
	return nil
}

// openStream makes a new session of a stream.
func (sv *Server) openStream(c *conn, r *http.Request) error {
	if allow := sv.opts.AllowRequest; allow != nil {
		if err := allow(r); err != nil {
			return sv.refuseStream(r, CodeForbidden, err)
		}
	}
	s := sv.newSession(r)
	s.conn = c
	if !sv.register(s) {
		return ErrClosed
	}
	sv.open(s, WebTransport)
	s.readStream(c)
	return nil
}

func (sv *Server) refuseStream(r *http.Request, code ErrorCode, err error) error {
	if f := sv.opts.ConnectionError; f != nil {
		f(r, code, err)
	}
	return err
}

// readOpenPacket returns a stream's first packet. What has arrived behind it stays in c.left.
func (c *conn) readOpenPacket() ([]byte, error) {
	for {
		buf, n, err := c.read()
		if err != nil {
			return nil, err
		}
		c.left = append(c.left, buf.b[:n]...)
		readBuffers.Put(buf)
		packet, binary, rest, err := nextPacket(c.left, maxOpenPacket)
		switch {
		case err == io.ErrUnexpectedEOF:
			continue
		case err != nil:
			return nil, err
		case binary:
			return nil, errPacket
		}
		c.keep(rest)
		return packet, nil
	}
}

// parseOpenPacket returns the id of the session to upgrade, or "" for a new one.
func parseOpenPacket(packet []byte) (sid string, err error) {
	if packet[0] != packetOpen {
		return "", errPacket
	}
	if len(packet) == 1 {
		return "", nil
	}
	var open struct {
		SID string `json:"sid"`
	}
	if json.Unmarshal(packet[1:], &open) != nil || open.SID == "" {
		return "", errPacket
	}
	return open.SID, nil
}

// nextPacket returns the first packet of b and what follows it, or io.ErrUnexpectedEOF when b is too short for it.
func nextPacket(b []byte, max int) (packet []byte, isBinary bool, rest []byte, err error) {
	if len(b) == 0 {
		return nil, false, nil, io.ErrUnexpectedEOF
	}
	length, head := uint64(b[0]&^streamBinary), 1
	switch length {
	case streamLength16:
		head += 2
	case streamLength64:
		head += 8
	}
	if len(b) < head {
		return nil, false, nil, io.ErrUnexpectedEOF
	}
	switch length {
	case streamLength16:
		length = uint64(binary.BigEndian.Uint16(b[1:]))
	case streamLength64:
		length = binary.BigEndian.Uint64(b[1:])
	}
	switch {
	case length == 0, length > min(uint64(max), math.MaxInt32):
		return nil, false, nil, errLength
	case length > uint64(len(b)-head):
		return nil, false, nil, io.ErrUnexpectedEOF
	}
	end := head + int(length)
	return b[head:end:end], b[0]&streamBinary != 0, b[end:], nil
}

// readStream reads a stream until it ends. The caller has counted this goroutine, and closes c.
func (s *Session) readStream(c *conn) {
	defer s.server.sessions.Done()
	buf, n, err := readBuffers.Get().(*readBuffer), 0, error(nil)
	for err == nil {
		err = s.handleRead(c, buf, n)
		readBuffers.Put(buf)
		if err == nil {
			buf, n, err = c.read()
		}
	}
	s.readFailed(c, err)
}

// readPackets handles the bytes b, which follow those in c.left, and keeps what is not a whole packet yet.
func (s *Session) readPackets(c *conn, b []byte) error {
	if len(c.left) > 0 {
		c.left = append(c.left, b...)
		b = c.left
	}
	for len(b) > 0 {
		packet, binary, rest, err := nextPacket(b, s.server.opts.MaxHTTPBufferSize)
		if err == io.ErrUnexpectedEOF {
			break
		}
		if err == nil {
			b, err = rest, s.streamPacket(c, packet, binary)
		}
		if err != nil {
			return err
		}
	}
	c.keep(b)
	return nil
}

func (s *Session) streamPacket(c *conn, packet []byte, binary bool) error {
	if !binary && !utf8.Valid(packet) {
		return errUTF8
	}
	s.mu.Lock()
	open, probing, current := s.state == stateOpen, c == s.probe, c == s.conn
	s.mu.Unlock()
	switch {
	case probing:
		return s.probePacket(c, packet, binary)
	case current && open:
		return s.receive(packet, binary)
	case current && !binary && packet[0] == packetPong:
		s.pong()
	}
	return nil // the session is closing: nothing else matters
}

// lastPing returns the last packet of a session over a stream. It needs mu.
func (s *Session) lastPing() *Message {
	s.conn.pongs = 1
	if s.awaitingPong {
		s.conn.pongs = 2
	}
	return packetOfPing
}

// lastPong counts a pong that came after lastPing. It needs mu.
func (s *Session) lastPong() {
	if s.conn.pongs--; s.conn.pongs == 0 {
		s.end("", nil)
	}
}

// hangUpStream makes a closing session end when its queue has left, because no pong will be read.
func (s *Session) hangUpStream() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateClosing {
		return
	}
	s.hangUp = true
	if !s.scheduled {
		s.end("", nil)
	}
}

// appendStream appends the message as a stream carries it.
func (m *Message) appendStream(dst []byte) []byte {
	switch {
	case m.kind == kindControl:
		return dst
	case len(m.packet()) == 0:
		return append(dst, emptyStreamBinary...)
	}
	return append(m.appendStreamHeader(dst), m.packet()...)
}

func (m *Message) appendStreamHeader(dst []byte) []byte {
	first := len(dst)
	dst = append(dst, m.frame[1:m.head]...)
	if m.kind == kindBinary {
		dst[first] |= streamBinary
	}
	return dst
}
