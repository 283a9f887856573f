//go:build unix

package engineio

import (
	"io"

	"golang.org/x/sys/unix"
)

const rawIO = true

// readFD is called by RawConn.Read. It always returns true: there is no waiting.
func (buf *readBuffer) readFD(fd uintptr) bool {
	n, err := unix.Read(int(fd), buf.b)
	for err == unix.EINTR {
		n, err = unix.Read(int(fd), buf.b)
	}
	switch {
	case err == unix.EAGAIN:
		err = errWouldBlock
	case err == nil && n == 0:
		err = io.EOF
	}
	buf.n, buf.err = max(n, 0), err
	return true
}

// waitWritable returns nil when the connection takes bytes.
func (c *conn) waitWritable() error {
	return c.raw.Write(func(fd uintptr) bool {
		// The readiness that RawConn waits for is edge-triggered and may have come before it began to wait.
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n > 0
	})
}

// rawWriter writes without waiting. It is reused, because a closure for each write would be an allocation for each.
type rawWriter struct {
	b   []byte
	n   int
	err error
	fn  func(fd uintptr) bool
}

func (w *rawWriter) init() {
	w.fn = func(fd uintptr) bool {
		for len(w.b) > 0 {
			n, err := unix.Write(int(fd), w.b)
			if n > 0 {
				w.n += n
				w.b = w.b[n:]
				continue
			}
			switch err {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				w.err = errWouldBlock
			default:
				w.err = err
			}
			return true
		}
		return true
	}
}

// write returns errWouldBlock with the count of what was written when the connection takes no more.
func (w *rawWriter) write(c *conn, b []byte) (int, error) {
	w.b, w.n, w.err = b, 0, nil
	err := c.raw.Write(w.fn)
	w.b = nil
	if err == nil {
		err = w.err
	}
	return w.n, err
}
