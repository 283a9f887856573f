//go:build unix

package engineio

import (
	"golang.org/x/sys/unix"
)

const rawIO = true

// onReadable is called by RawConn.Read, which parks the goroutine while it returns false.
func (c *conn) onReadable(fd uintptr) bool {
	buf := readBuffers.Get().(*readBuffer)
	for {
		n, err := unix.Read(int(fd), buf.b)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if !c.noWait {
				readBuffers.Put(buf)
				return false
			}
			err = errWouldBlock
		}
		c.got, c.gotN, c.gotErr = buf, max(n, 0), err
		return true
	}
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
