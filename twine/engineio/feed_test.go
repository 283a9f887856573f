package engineio

import (
	"io"
	"log/slog"
	"net"
	"testing"
)

// sink is a connection that takes everything and gives nothing.
type sink struct{ net.Conn }

func (sink) Write(b []byte) (int, error) { return len(b), nil }
func (sink) Read([]byte) (int, error)    { return 0, io.EOF }
func (sink) Close() error                { return nil }

// feed hands stream to the frame reader of a new session, cut into pieces of the given sizes and a last one with the
// rest. It returns what the handler received.
func feed(t testing.TB, stream []byte, cuts []int) ([]string, error) {
	t.Helper()
	sv := NewServer(&Options{Logger: slog.New(slog.DiscardHandler)}, nil)
	r := new(recorder)
	c := newConn(sink{})
	s := &Session{server: sv, flusher: newFlusher(), handler: r, ws: c}
	defer s.endLocking(ReasonForcedClose, nil)
	buf := make([]byte, len(stream))
	var fr frameReader
	step := func(n int) error {
		copy(buf, stream[:n]) // the reader overwrites what it is given
		stream = stream[n:]
		err := s.readFrames(c, &fr, buf[:n])
		clear(buf[:n]) // what it keeps has to be a copy
		return err
	}
	for _, n := range cuts {
		if err := step(min(n, len(stream))); err != nil {
			return r.got(), err
		}
	}
	err := step(len(stream))
	if limit := sv.opts.MaxHTTPBufferSize + 14 + readSize + len(buf); len(c.left) > limit || len(c.parts) > limit {
		t.Errorf("the reader keeps %d and %d bytes", len(c.left), len(c.parts))
	}
	return r.got(), err
}
