package engineio

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/gobwas/ws"
)

// conn is one WebSocket connection after its handshake, or a stream of packets (see [Server.ServeStream]).
//
// Where the operating system allows it (a plain TCP or Unix connection), reading and writing go through its
// syscall.RawConn: a read borrows its buffer only once there is something to read, a write never waits, and on Linux a
// connection that has nothing to read is parked: the server's poller has it, and no goroutine.
type conn struct {
	rwc     io.ReadWriteCloser
	raw     syscall.RawConn // nil where reads and writes may have to wait, such as TLS
	deflate bool            // permessage-deflate was negotiated
	stream  bool            // not a WebSocket
	pongs   uint8           // that a client sends before a stream is closed; guarded by Session.mu

	reader  atomic.Uint32 // connReading, connParked or connClosed
	session *Session      // set before another goroutine knows c; nil for streams

	// The rest belongs to the reading goroutine.
	left         []byte // the beginning of a frame that has not arrived in full
	parts        []byte // the fragments so far of a message
	partOp       ws.OpCode
	partDeflated bool
	watched
	small []byte // what a goroutine that has to wait in Read brings along
}

// Who reads a connection. Whoever takes it out of connParked starts a goroutine, which reads on or, if it was closed, ends
// what the connection carried.
const (
	connReading uint32 = iota // a goroutine
	connParked                // nobody until the poller finds that there is something to read
	connClosed
)

// readBuffer is lent to a connection while it has bytes to read. What it brings for the system calls is made once,
// because a closure for each call would be an allocation for each.
type readBuffer struct {
	b []byte
	frameReader

	n        int // what readFunc has read
	err      error
	readFunc func(fd uintptr) bool
	conn     *conn // what parkFunc is to park
	poller   *poller
	parked   bool // whether it has
	parkFunc func(fd uintptr)
}

const readSize = 8 << 10

var readBuffers = sync.Pool{New: func() any {
	buf := &readBuffer{b: make([]byte, readSize)}
	buf.readFunc, buf.parkFunc = buf.readFD, buf.parkFD
	return buf
}}

func newConn(rwc io.ReadWriteCloser) *conn {
	c := &conn{rwc: rwc}
	switch t := rwc.(type) {
	// No other type: a wrapper may buffer or count what passes through it.
	case *net.TCPConn:
		c.raw, _ = t.SyscallConn()
	case *net.UnixConn:
		c.raw, _ = t.SyscallConn()
	}
	if !rawIO {
		c.raw = nil
	}
	return c
}

// name returns the name of the transport that c is.
func (c *conn) name() string {
	if c.stream {
		return WebTransport
	}
	return WebSocket
}

func (c *conn) nonblocking() bool { return c.raw != nil }

// close may be called more than once and concurrently with everything else. The poller forgets c before the descriptor
// may be another's.
func (c *conn) close() {
	was := c.reader.Swap(connClosed)
	if was != connClosed && c.session != nil && c.parks(c.session.server.poller) {
		c.session.server.poller.remove(c)
	}
	_ = c.rwc.Close()
	if was == connParked {
		go c.session.readEnded(c, net.ErrClosed)
	}
}

// closeWrite tells the peer that nothing more comes, if that can be done without waiting.
func (c *conn) closeWrite() {
	if w, ok := c.rwc.(interface{ CloseWrite() error }); ok && c.nonblocking() {
		_ = w.CloseWrite()
	}
}

// writeSome writes the first messages of batch, as many as fit in scratch but at least one, and returns how many. It may
// wait.
func (c *conn) writeSome(scratch []byte, batch []*Message) (n int, err error) {
	b := scratch[:0]
	for n < len(batch) && len(b)+len(batch[n].frame) <= cap(b) {
		if m := batch[n]; c.stream {
			b = m.appendStream(b)
		} else {
			b = append(b, m.frame...)
		}
		n++
	}
	switch m := batch[0]; {
	case n > 0:
	case c.stream:
		if _, err = c.rwc.Write(m.appendStreamHeader(b)); err == nil {
			_, err = c.rwc.Write(m.packet())
		}
		return 1, err
	default:
		b, n = m.frame, 1
	}
	if len(b) > 0 {
		_, err = c.rwc.Write(b)
	}
	return n, err
}

// keep keeps b, what is left of c.left and the bytes that came after it, until more arrives.
func (c *conn) keep(b []byte) {
	switch {
	case len(b) == 0:
		c.left = nil
	case len(c.left) > 0 && &b[0] == &c.left[0]:
		// Still the same incomplete frame.
	default:
		c.left = append([]byte(nil), b...)
	}
}

// read waits for bytes and returns a buffer that holds n of them; the caller gives it back.
func (c *conn) read() (buf *readBuffer, n int, err error) {
	if c.raw == nil {
		if c.small == nil {
			c.small = make([]byte, 512)
		}
		n, err = c.rwc.Read(c.small)
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return nil, 0, err
		}
		buf = readBuffers.Get().(*readBuffer)
		copy(buf.b, c.small[:n])
		return buf, n, nil
	}
	err = c.raw.Read(func(fd uintptr) bool {
		buf = readBuffers.Get().(*readBuffer)
		if buf.readFD(fd); buf.err != errWouldBlock {
			return true
		}
		readBuffers.Put(buf)
		return false
	})
	if err != nil {
		return nil, 0, err
	}
	if buf.err != nil {
		defer readBuffers.Put(buf)
		return nil, 0, buf.err
	}
	return buf, buf.n, nil
}

// tryRead reads into buf without waiting: it fails with errWouldBlock instead.
func (c *conn) tryRead(buf *readBuffer) (n int, err error) {
	if c.raw == nil {
		return 0, errWouldBlock
	}
	if err := c.raw.Read(buf.readFunc); err != nil {
		return 0, err
	}
	return buf.n, buf.err
}

// parks reports whether p can wait for c.
func (c *conn) parks(p *poller) bool { return p != nil && c.raw != nil }

// park leaves c, which has nothing to read, to p. When it returns true, c is not the caller's any more. buf is the
// caller's.
func (c *conn) park(p *poller, buf *readBuffer) bool {
	if !c.parks(p) {
		return false
	}
	buf.conn, buf.poller, buf.parked = c, p, false
	_ = c.raw.Control(buf.parkFunc) // fails when c is closed
	buf.conn, buf.poller = nil, nil
	return buf.parked
}

// parkFD is called by RawConn.Control, which keeps the descriptor open meanwhile.
func (buf *readBuffer) parkFD(fd uintptr) { buf.parked = buf.poller.park(buf.conn, int(fd)) }
