package engineio

import (
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/gobwas/ws"
)

// conn is one WebSocket connection after its handshake, or a stream of packets (see [Server.ServeStream]).
//
// Where the operating system allows it (a plain TCP or Unix connection), reading and writing go through its
// syscall.RawConn: a read borrows its buffer only once there is something to read, and a write never waits.
type conn struct {
	rwc     io.ReadWriteCloser
	raw     syscall.RawConn // nil where reads and writes may have to wait, such as TLS
	deflate bool            // permessage-deflate was negotiated
	stream  bool            // not a WebSocket
	pongs   uint8           // that a client sends before a stream is closed; guarded by Session.mu

	// The rest belongs to the reading goroutine.
	left         []byte // the beginning of a frame that has not arrived in full
	parts        []byte // the fragments so far of a message
	partOp       ws.OpCode
	partDeflated bool
	small        []byte      // what a goroutine that has to wait in Read brings along
	got          *readBuffer // filled by onReadable
	gotN         int
	gotErr       error
	noWait       bool // onReadable is not to wait
	ready        func(fd uintptr) bool
}

// readBuffer is lent to a connection while it has bytes to read.
type readBuffer struct {
	b []byte
	frameReader
}

const readSize = 8 << 10

var readBuffers = sync.Pool{New: func() any { return &readBuffer{b: make([]byte, readSize)} }}

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
	if c.raw != nil {
		c.ready = c.onReadable
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

// close may be called more than once and concurrently with everything else.
func (c *conn) close() { _ = c.rwc.Close() }

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
	return c.readReady()
}

// tryRead is read without waiting: it fails with errWouldBlock instead.
func (c *conn) tryRead() (buf *readBuffer, n int, err error) {
	if c.raw == nil {
		return nil, 0, errWouldBlock
	}
	c.noWait = true
	defer func() { c.noWait = false }()
	return c.readReady()
}

func (c *conn) readReady() (buf *readBuffer, n int, err error) {
	if err := c.raw.Read(c.ready); err != nil {
		return nil, 0, err
	}
	buf, n, err = c.got, c.gotN, c.gotErr
	c.got, c.gotErr = nil, nil
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		readBuffers.Put(buf)
		return nil, 0, err
	}
	return buf, n, nil
}
