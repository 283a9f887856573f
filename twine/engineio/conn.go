package engineio

import (
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/gobwas/ws"
)

// conn is one WebSocket connection after its handshake.
//
// Where the operating system allows it (a plain TCP or Unix connection), reading and writing go through its
// syscall.RawConn: a read borrows its buffer only once there is something to read, and a write never waits.
type conn struct {
	nc      net.Conn
	deflate bool            // permessage-deflate was negotiated
	raw     syscall.RawConn // nil where reads and writes may have to wait, such as TLS

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

func newConn(nc net.Conn) *conn {
	c := &conn{nc: nc}
	switch t := nc.(type) {
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

func (c *conn) nonblocking() bool { return c.raw != nil }

// close may be called more than once and concurrently with everything else.
func (c *conn) close() { _ = c.nc.Close() }

// closeWrite tells the peer that nothing more comes, if that can be done without waiting.
func (c *conn) closeWrite() {
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok && c.nonblocking() {
		_ = w.CloseWrite()
	}
}

// read waits for bytes and returns a buffer that holds n of them; the caller gives it back.
func (c *conn) read() (buf *readBuffer, n int, err error) {
	if c.raw == nil {
		if c.small == nil {
			c.small = make([]byte, 512)
		}
		n, err = c.nc.Read(c.small)
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
