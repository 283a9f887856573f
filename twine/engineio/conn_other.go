//go:build !unix

package engineio

import "errors"

// Without non-blocking system calls every connection is read and written by a goroutine that may wait.
const rawIO = false

func (*readBuffer) readFD(uintptr) bool { return true }

func (c *conn) waitWritable() error { return errors.ErrUnsupported }

type rawWriter struct{}

func (*rawWriter) init() {}

func (*rawWriter) write(*conn, []byte) (int, error) { return 0, errors.ErrUnsupported }
