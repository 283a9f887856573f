package engineio

import (
	"errors"
	"sync"
)

// scratchSize is how much a flusher gathers for one write. It is larger than what a socket's send buffer takes at
// once in most cases, so gathering more would not save system calls.
const scratchSize = 64 << 10

// keptQueue is the largest queue that a session keeps for its next messages.
const keptQueue = 4

var errWouldBlock = errors.New("engineio: would block")

// flusher writes the queues of the sessions that were added to it. A session belongs to one flusher, so its messages
// leave in order. The list is bounded by the number of sessions: each is in it once.
type flusher struct {
	mu     sync.Mutex
	todo   []*Session
	idle   bool
	closed bool
	wakeup chan struct{}

	batch   []*Message
	scratch []byte
	writer  rawWriter
}

func newFlusher() *flusher {
	f := &flusher{wakeup: make(chan struct{}, 1), scratch: make([]byte, 0, scratchSize)}
	f.writer.init()
	return f
}

// add needs s.mu and s.scheduled set by the caller.
func (f *flusher) add(s *Session) {
	f.mu.Lock()
	f.todo = append(f.todo, s)
	signal := f.idle
	f.idle = false
	f.mu.Unlock()
	if signal {
		f.wakeup <- struct{}{} // never blocks: idle was set, so the channel is empty
	}
}

func (f *flusher) close() {
	f.mu.Lock()
	f.closed = true
	signal := f.idle
	f.idle = false
	f.mu.Unlock()
	if signal {
		f.wakeup <- struct{}{}
	}
}

func (f *flusher) run() {
	var sessions []*Session
	for {
		f.mu.Lock()
		if len(f.todo) == 0 {
			if f.closed {
				f.mu.Unlock()
				return
			}
			f.idle = true
			f.mu.Unlock()
			<-f.wakeup
			continue
		}
		sessions, f.todo = f.todo, sessions[:0]
		f.mu.Unlock()
		for i, s := range sessions {
			f.flush(s)
			sessions[i] = nil
		}
	}
}

// flush writes what s has queued, without waiting.
func (f *flusher) flush(s *Session) {
	s.mu.Lock()
	c := s.conn
	if s.state == stateClosed || c == nil || len(s.queue) == 0 {
		s.scheduled = false
		s.mu.Unlock()
		return
	}
	if !c.nonblocking() {
		s.server.sessions.Add(1)
		s.mu.Unlock()
		go s.flushBlocking(c)
		return
	}
	f.batch = append(f.batch[:0], s.queue...)
	off := s.queueOff
	if cap(s.queue) > keptQueue {
		s.queue = nil
	} else {
		clear(s.queue)
		s.queue = s.queue[:0]
	}
	s.mu.Unlock()

	done, off, err := f.write(c, f.batch, off)
	size := 0
	for _, m := range f.batch[:done] {
		size += m.size()
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	defer clear(f.batch)
	if s.state == stateClosed {
		s.scheduled = false
		return
	}
	s.written(size)
	s.queueOff = off
	switch {
	case errors.Is(err, errWouldBlock):
		// Rare, so the copy does not matter: what is left goes back in front of what has come since.
		s.queue = append(append(make([]*Message, 0, len(f.batch)-done+len(s.queue)), f.batch[done:]...), s.queue...)
		s.server.sessions.Add(1)
		go s.awaitWritable(c)
	case err != nil:
		s.scheduled = false
		s.end(ReasonTransportError, err)
	case len(s.queue) > 0:
		f.add(s)
	default:
		s.flushed()
	}
}

// write writes batch from offset off in its first message. It returns how many messages have left in full and how
// many bytes of the next one.
func (f *flusher) write(c *conn, batch []*Message, off int) (done, rest int, err error) {
	for done < len(batch) {
		b := batch[done].frame[off:]
		if done+1 < len(batch) && len(b) < scratchSize/2 {
			b = gather(f.scratch[:0], batch[done:], off)
		}
		n, err := f.writer.write(c, b)
		done, off = advance(batch, done, off, n)
		if err != nil {
			return done, off, err
		}
	}
	return done, off, nil
}

// gather copies frames into dst while whole ones fit.
func gather(dst []byte, batch []*Message, off int) []byte {
	for _, m := range batch {
		b := m.frame[off:]
		if len(dst)+len(b) > cap(dst) {
			break
		}
		dst = append(dst, b...)
		off = 0
	}
	return dst
}

// advance moves the position (i, off) in batch by n bytes.
func advance(batch []*Message, i, off, n int) (int, int) {
	for n > 0 {
		left := len(batch[i].frame) - off
		if n < left {
			return i, off + n
		}
		n -= left
		i, off = i+1, 0
	}
	return i, off
}

// awaitWritable waits, in the place of a flusher, until c takes bytes again. Closing c ends the wait, which the
// heartbeat does at the latest.
func (s *Session) awaitWritable(c *conn) {
	defer s.server.sessions.Done()
	err := c.waitWritable()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.scheduled = false
		s.end(ReasonTransportError, err)
		return
	}
	s.flusher.add(s)
}

// flushBlocking writes s's queue over a connection that has no file descriptor of its own, such as TLS and streams.
// It ends when the queue is empty.
func (s *Session) flushBlocking(c *conn) {
	defer s.server.sessions.Done()
	buf := readBuffers.Get().(*readBuffer)
	defer readBuffers.Put(buf)
	for {
		s.mu.Lock()
		if s.state == stateClosed || len(s.queue) == 0 {
			s.flushed()
			s.mu.Unlock()
			return
		}
		batch := s.queue
		s.queue = nil
		s.mu.Unlock()

		size, err := 0, error(nil)
		for done := 0; done < len(batch) && err == nil; {
			var n int
			n, err = c.writeSome(buf.b, batch[done:])
			for _, m := range batch[done : done+n] {
				size += m.size()
			}
			done += n
		}
		s.mu.Lock()
		s.written(size)
		if err != nil {
			s.scheduled = false
			s.end(ReasonTransportError, err)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}
