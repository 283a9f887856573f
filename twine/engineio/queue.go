package engineio

import "context"

// Send queues msgs, in order and next to each other, and returns at once. It returns [ErrClosed] when the session is
// closed or closing. A nil error says that they are queued, not that they arrive.
func (s *Session) Send(msgs ...*Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateOpen {
		return ErrClosed
	}
	return s.enqueue(msgs)
}

// TrySend is Send for volatile messages: it queues msgs only if nothing else waits and the transport can write now,
// and reports whether it did.
func (s *Session) TrySend(msgs ...*Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := s.queued > 0
	if s.conn == nil { // an answer to the poll before may not be done with yet
		busy = s.poll == nil || len(s.queue) > 0
	}
	if s.state != stateOpen || busy {
		return false
	}
	return s.enqueue(msgs) == nil
}

// QueuedBytes returns the size of what waits to be written, bookkeeping included.
func (s *Session) QueuedBytes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued
}

// WaitQueue returns when at most max bytes wait to be written: nil; when the session has closed: [ErrClosed]; or when
// ctx ends: its error. One caller at a time.
func (s *Session) WaitQueue(ctx context.Context, max int) error {
	s.mu.Lock()
	if s.state != stateOpen {
		s.mu.Unlock()
		return ErrClosed
	}
	if s.queued <= max {
		s.mu.Unlock()
		return nil
	}
	w := s.waitsLocked()
	drained := make(chan struct{})
	w.drained, w.watermark = drained, max
	done := w.done
	s.mu.Unlock()
	select {
	case <-drained:
		return nil
	case <-done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flushed is called when the queue has left over a connection. It needs mu.
func (s *Session) flushed() {
	s.scheduled = false
	switch {
	case s.state != stateClosing:
	case s.hangUp:
		s.end("", nil)
	default:
		// Nothing follows a close frame. Clients wait for the end of the connection before they report it closed.
		s.conn.closeWrite()
	}
}

// enqueue needs mu and an open session.
func (s *Session) enqueue(msgs []*Message) error {
	if s.v3 || s.b64 || (s.conn != nil && s.conn.deflate) {
		msgs = s.convert(msgs)
	}
	size := 0
	for _, m := range msgs {
		size += m.size()
	}
	if s.queued > 0 && s.queued+size > s.server.opts.MaxQueueBytes {
		s.end(ReasonSlowConsumer, errSlowConsumer)
		return ErrClosed
	}
	s.queue = append(s.queue, msgs...)
	s.queued += size
	s.wake()
	return nil
}

// convert returns msgs in the form that this client asked for.
func (s *Session) convert(msgs []*Message) []*Message {
	own := make([]*Message, len(msgs))
	for i, m := range msgs {
		switch {
		case s.v3:
			m = m.forV3(s.b64)
		case s.b64:
			m = m.base64()
		}
		if s.conn != nil && s.conn.deflate {
			m = m.deflated(s.server.opts.PerMessageDeflate)
		}
		own[i] = m
	}
	return own
}

// wake makes whoever can write look at the queue. It needs mu.
func (s *Session) wake() {
	switch {
	case s.conn != nil:
		if !s.scheduled {
			s.scheduled = true
			s.flusher.add(s)
		}
	case s.poll != nil:
		s.poll.signal()
	}
}

// written notes that size bytes of the queue have left. It needs mu.
func (s *Session) written(size int) {
	s.queued -= size
	if s.wait != nil && s.wait.drained != nil && s.queued <= s.wait.watermark {
		close(s.wait.drained)
		s.wait.drained = nil
	}
}
