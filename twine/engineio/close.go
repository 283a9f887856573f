package engineio

// Close ends the session in order: what is queued leaves first, for CloseTimeout at the longest, then the transport
// is closed. Handler.Closed is told at once, on another goroutine. Later calls do nothing.
func (s *Session) Close(reason Reason) { s.closeWith(reason, nil, closeNormal) }

func (s *Session) closeWith(reason Reason, err error, frame *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateOpen {
		return
	}
	switch {
	case s.conn == nil:
		frame = packetOfClose
	case s.conn.stream:
		frame = s.lastPing()
	}
	s.beginClosing(reason, err, frame)
}

// beginClosing queues the last message of the session, past every bound. It needs mu and an open session.
func (s *Session) beginClosing(reason Reason, err error, last *Message) {
	s.state = stateClosing
	s.announce(reason, err)
	s.dropProbe()
	s.server.wheel.schedule(s, s.server.opts.CloseTimeout)
	s.queue = append(s.queue, last)
	s.queued += last.size()
	s.wake()
}

// end closes the session at once, dropping what is queued. It needs mu and does not wait.
func (s *Session) end(reason Reason, err error) {
	if s.state == stateClosed {
		return
	}
	if s.state == stateOpen {
		s.announce(reason, err)
	}
	s.state = stateClosed
	s.server.wheel.cancel(s)
	s.queue, s.queueOff, s.queued = nil, 0, 0
	s.dropProbe()
	if s.conn != nil {
		s.drop(s.conn)
	}
	if s.poll != nil {
		s.poll.signal()
	}
	s.server.forget(s)
}

// announce tells the handler that the session is over. It needs mu, and the session has to be open.
func (s *Session) announce(reason Reason, err error) {
	if s.wait != nil {
		close(s.wait.done)
	}
	s.server.sessions.Add(1)
	go func() {
		defer s.server.sessions.Done()
		defer s.server.guard("Closed")
		s.recv.Lock()
		s.ended = true
		s.recv.Unlock()
		s.handler.Closed(reason, err)
	}()
}

func (s *Session) dropProbe() {
	if s.probe != nil {
		s.drop(s.probe)
		s.probe = nil
	}
}

// drop closes c without waiting. It needs mu.
func (s *Session) drop(c *conn) {
	if c.nonblocking() {
		c.close()
		return
	}
	// A TLS connection says goodbye when it is closed, which may take seconds if the peer does not read.
	s.server.sessions.Add(1)
	go func() {
		defer s.server.sessions.Done()
		c.close()
	}()
}

// endLocking is end for callers that do not hold mu.
func (s *Session) endLocking(reason Reason, err error) {
	s.mu.Lock()
	s.end(reason, err)
	s.mu.Unlock()
}

// closedByClient handles a close packet. Over polling, the poll that the client has under way, or is about to have, is
// let go with a noop.
func (s *Session) closedByClient() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil || s.state != stateOpen {
		s.end(ReasonTransportClose, nil)
		return
	}
	s.beginClosing(ReasonTransportClose, nil, packetOfNoop)
}
