package redislog

import (
	"io"
	"slices"
)

// maxKeptReply is how much memory stays with the reading goroutine between two
// reads, in bytes.
const maxKeptReply = 1 << 20

// rawReply is the memory that Redis's replies are read into, one after the other.
type rawReply struct{ b []byte }

// reset makes room for the next reply. The one before is not valid any more.
func (r *rawReply) reset() {
	if cap(r.b) > maxKeptReply {
		r.b = nil
	}
	r.b = r.b[:0]
}

func (r *rawReply) Write(p []byte) (int, error) {
	r.b = append(r.b, p...)
	return len(p), nil
}

// ReadFrom spares io.Copy a buffer of its own for each string of a reply.
func (r *rawReply) ReadFrom(from io.Reader) (n int64, err error) {
	if limited, ok := from.(*io.LimitedReader); ok {
		r.b = slices.Grow(r.b, int(limited.N))
	}
	for {
		r.b = slices.Grow(r.b, 1)
		k, err := from.Read(r.b[len(r.b):cap(r.b)])
		r.b = r.b[:len(r.b)+k]
		n += int64(k)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
