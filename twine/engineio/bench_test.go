package engineio

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"
)

// discard is a connection that takes everything at once and never has anything to read.
type discard struct {
	net.Conn
	closed chan struct{}
}

func (discard) Write(b []byte) (int, error)      { return len(b), nil }
func (c discard) Read([]byte) (int, error)       { <-c.closed; return 0, net.ErrClosed }
func (discard) SetWriteDeadline(time.Time) error { return nil }
func (discard) Close() error                     { return nil }

// BenchmarkSend queues one message to each of 5,000 sessions; nothing is written. One operation is one broadcast.
func BenchmarkSend(b *testing.B) {
	const sessions = 5000
	sv := NewServer(&Options{Logger: slog.New(slog.DiscardHandler), MaxQueueBytes: 1 << 40}, nil)
	all := make([]*Session, sessions)
	for i := range all {
		all[i] = &Session{server: sv, flusher: newFlusher(), handler: new(recorder), conn: newConn(discard{})}
	}
	m := NewText(make([]byte, 100))
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range all {
			_ = s.Send(m)
		}
		for _, s := range all { // as a flusher would
			s.queue, s.queued, s.scheduled = s.queue[:0], 0, false
			s.flusher.todo = s.flusher.todo[:0]
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/delivery")
}

// BenchmarkBroadcast sends over real connections whose clients discard what they get. One operation is one broadcast
// to all; the next begins when it has left.
func BenchmarkBroadcast(b *testing.B) {
	const sessions = 1000
	h := newHost(b, nil)
	for range sessions {
		w := h.dialRaw("EIO=4&transport=websocket")
		go func() {
			buf := make([]byte, 4096)
			for {
				if _, err := w.nc.Read(buf); err != nil {
					return
				}
			}
		}()
	}
	eventually(b, "sessions", func() bool { return len(h.all()) == sessions })
	all := h.all()
	m := NewText(make([]byte, 100))
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range all {
			_ = r.Send(m)
		}
		for _, r := range all {
			_ = r.WaitQueue(b.Context(), 0)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/delivery")
}

func BenchmarkNewText(b *testing.B) {
	for _, size := range []int{10, 100, 10_000} {
		payload := make([]byte, size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = NewText(payload)
			}
		})
	}
}

func BenchmarkAppendPolling(b *testing.B) {
	text, binary := NewText(make([]byte, 100)), NewBinary(make([]byte, 100))
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = text.appendPolling(buf[:0])
		buf = binary.appendPolling(buf)
	}
}

// BenchmarkReadFrames reads ten small frames that arrive together.
func BenchmarkReadFrames(b *testing.B) {
	var stream []byte
	for range 10 {
		stream = append(stream, clientFrame(0x1, true, "4a message of a usual size, more or less")...)
	}
	c := newConn(discard{})
	s := newFed(nopHandler{}, c)
	buf := &readBuffer{b: make([]byte, readSize)}
	b.ReportAllocs()
	for b.Loop() {
		n := copy(buf.b, stream)
		if err := s.readFrames(c, &buf.frameReader, buf.b[:n]); err != nil {
			b.Fatal(err)
		}
	}
}

type nopHandler struct{}

func (nopHandler) Message([]byte, bool) error { return nil }
func (nopHandler) Closed(Reason, error)       {}
