package sioclient

import (
	"bytes"
	"errors"
	"fmt"
)

// phase is how far a connection has come.
type phase uint8

const (
	dialing   phase = iota // the TCP connection is not established yet
	upgrading              // the HTTP request was sent
	opening                // WebSocket; waits for the Engine.IO handshake
	joining                // waits for the answer to the Socket.IO CONNECT
	connected
	ended
)

// conn is one connection. It belongs to the loop.
type conn struct {
	fd    int
	index int
	phase phase
	left  []byte // the beginning of what has not arrived in full
}

// The nonce of RFC 6455, section 1.3, with the answer that belongs to it.
const (
	nonce       = "dGhlIHNhbXBsZSBub25jZQ=="
	nonceAnswer = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// upgradeRequest opens a session over WebSocket alone.
func upgradeRequest(opts *Options) []byte {
	b, header := beginUpgrade(opts.Addr, opts.Path), opts.Header
	if opts.Dialect == Centrifuge {
		b = beginWebSocket(opts.Addr, opts.Path)
	}
	for name, value := range header {
		b = append(b, name+": "+value+"\r\n"...)
	}
	return append(b, "\r\n"...)
}

// beginUpgrade returns the request without its end, so that header lines may follow.
func beginUpgrade(host, path string) []byte {
	return beginWebSocket(host, path+"?EIO=4&transport=websocket")
}

func beginWebSocket(host, target string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+nonce+"\r\n", target, host)
}

// Packets that a client sends, framed.
var (
	frameConnect = clientFrame(opText, "40")
	framePong    = clientFrame(opText, "3")
)

var errServerClosed = errors.New("the server closed the connection")

// peer is what a connection needs of the loop. The data is borrowed.
type peer interface {
	// text handles a text frame: for Socket.IO with conn.packet, for Centrifuge with conn.replies.
	text(c *conn, data []byte) error
	// upgraded is called when the WebSocket is open.
	upgraded(c *conn) error
	opened(c *conn, handshake []byte) error // to be answered with CONNECT
	ping(c *conn) error                     // to be answered with a pong
	joined(c *conn, data []byte) error
	event(c *conn, data []byte) error
}

// receive handles the bytes b, which start where the last ones that it used up ended, and returns how many it used.
func (c *conn) receive(p peer, b []byte) (used int, err error) {
	if c.phase == upgrading {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			return 0, nil
		}
		if err := checkUpgrade(b[:end]); err != nil {
			return 0, err
		}
		c.phase = opening
		used = end + 4
		if err := p.upgraded(c); err != nil {
			return used, err
		}
	}
	for used < len(b) {
		f, size, err := nextFrame(b[used:])
		if err != nil || size == 0 {
			return used, err
		}
		used += size
		if err := c.frame(p, f); err != nil {
			return used, err
		}
	}
	return used, nil
}

func checkUpgrade(response []byte) error {
	line, _, _ := bytes.Cut(response, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 101 ")) || !bytes.Contains(response, []byte(nonceAnswer)) {
		return fmt.Errorf("upgrade refused: %.100q", line)
	}
	return nil
}

func (c *conn) frame(p peer, f frame) error {
	switch f.op {
	case opText:
		return p.text(c, f.payload)
	case opPing, opPong:
		return nil // neither Engine.IO nor the servers under load use them
	case opClose:
		return fmt.Errorf("%w: close frame %q", errServerClosed, f.payload)
	}
	return fmt.Errorf("%w: opcode %#x", errFrame, f.op)
}

// packet handles one Engine.IO packet.
func (c *conn) packet(p peer, data []byte) error {
	if len(data) == 0 {
		return errPacket(data)
	}
	switch kind := data[0]; {
	case kind == '2':
		return p.ping(c)
	case kind == '1':
		return fmt.Errorf("%w: close packet", errServerClosed)
	case kind == '6':
		return nil
	case kind == '0' && c.phase == opening:
		c.phase = joining
		return p.opened(c, data[1:])
	case kind == '4' && len(data) > 1:
		return c.message(p, data[1], data[2:])
	}
	return errPacket(data)
}

// message handles one Socket.IO packet.
func (c *conn) message(p peer, kind byte, data []byte) error {
	switch {
	case kind == '0' && c.phase == joining:
		c.phase = connected
		return p.joined(c, data)
	case kind == '1':
		return fmt.Errorf("%w: disconnect packet", errServerClosed)
	case kind == '4':
		return fmt.Errorf("connection refused: %.200s", data)
	// An event may overtake the CONNECT packet: that is how missed events are replayed.
	case kind == '2' && c.phase >= joining:
		return p.event(c, data)
	}
	return errPacket(data)
}

func errPacket(data []byte) error { return fmt.Errorf("unexpected packet %.100q", data) }
