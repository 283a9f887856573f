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

// newFed returns an open session without a client. A nil c means polling.
func newFed(r Handler, c *conn) *Session {
	sv := &Server{opts: (&Options{Logger: slog.New(slog.DiscardHandler)}).withDefaults()}
	sv.wheel = newWheel(sv.opts.PingTimeout, (*Session).deadline)
	return &Session{server: sv, flusher: new(flusher), handler: r, conn: c}
}

// feed hands stream to the reader of a new session over c, cut into pieces of the given sizes and a last one with the
// rest. It returns what the handler received.
func feed(t testing.TB, c *conn, stream []byte, cuts []int) ([]string, error) {
	t.Helper()
	r := new(recorder)
	s := newFed(r, c)
	defer s.server.wheel.close()
	defer s.endLocking(ReasonForcedClose, nil)
	piece := &readBuffer{b: make([]byte, len(stream))}
	step := func(n int) (err error) {
		copy(piece.b, stream[:n]) // the reader overwrites what it is given
		stream = stream[n:]
		func() {
			defer s.server.guardSession(s, &err)
			if c.stream {
				err = s.readPackets(c, piece.b[:n])
			} else {
				err = s.readFrames(c, &piece.frameReader, piece.b[:n])
			}
		}()
		clear(piece.b[:n]) // what it keeps has to be a copy
		if limit := s.server.opts.MaxHTTPBufferSize + 14 + len(piece.b); len(c.left) > limit || len(c.parts) > limit {
			t.Errorf("the reader keeps %d and %d bytes", len(c.left), len(c.parts))
		}
		return err
	}
	for _, n := range cuts {
		if err := step(min(n, len(stream))); err != nil {
			return r.got(), err
		}
	}
	err := step(len(stream))
	return r.got(), err
}
