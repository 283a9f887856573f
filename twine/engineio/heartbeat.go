package engineio

import "time"

// HeartbeatObserver may be implemented by a [Handler] that wants to know what a client has certainly received: all
// that was sent before a ping has arrived when its pong comes.
type HeartbeatObserver interface {
	// BeforePing is called right before a ping is queued. It must not block.
	BeforePing()
	// Pong is called when that ping was answered. It must not block.
	Pong()
}

// CheckAlive sends a ping out of turn and reports whether the client has answered within timeout. A client of protocol v3
// can't be asked and counts as alive while its session is open.
func (s *Session) CheckAlive(timeout time.Duration) bool {
	s.mu.Lock()
	if s.state != stateOpen || s.v3 {
		open := s.state == stateOpen
		s.mu.Unlock()
		return open
	}
	w := s.waitsLocked()
	if w.alive == nil {
		w.alive = make(chan struct{})
	}
	alive, done := w.alive, w.done
	if !s.awaitingPong {
		s.awaitingPong = true
		s.server.wheel.schedule(s, s.server.opts.PingTimeout)
		_ = s.enqueue([]*Message{packetOfPing})
	}
	s.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-alive:
		return true
	case <-done:
	case <-timer.C:
	}
	return false
}

// deadline is called by the wheel when the session's deadline has come.
func (s *Session) deadline() {
	s.mu.Lock()
	switch {
	case s.server.wheel.scheduled(s):
		// A pong or Close came between the wheel's decision and this call, and set another deadline.
		s.mu.Unlock()
		return
	case s.state == stateClosing:
		s.end("", nil)
		fallthrough
	case s.state == stateClosed:
		s.mu.Unlock()
		return
	case s.awaitingPong:
		s.end(ReasonPingTimeout, errPingTimeout)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()

	if o, ok := s.handler.(HeartbeatObserver); ok {
		func() {
			defer s.server.guard("BeforePing")
			o.BeforePing()
		}()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateOpen {
		return
	}
	s.awaitingPong = true
	// Scheduled first: enqueue may end the session, which takes the deadline away.
	s.server.wheel.schedule(s, s.server.opts.PingTimeout)
	_ = s.enqueue([]*Message{packetOfPing})
}

func (s *Session) pong() {
	s.mu.Lock()
	answered := s.awaitingPong && s.state == stateOpen
	if answered {
		if s.wait != nil && s.wait.alive != nil {
			close(s.wait.alive)
			s.wait.alive = nil
		}
		s.awaitingPong = false
		s.server.wheel.schedule(s, s.server.opts.PingInterval)
	}
	if s.state == stateClosing && s.conn != nil && s.conn.pongs > 0 {
		s.lastPong()
	}
	s.mu.Unlock()
	if !answered {
		return
	}
	if o, ok := s.handler.(HeartbeatObserver); ok {
		o.Pong()
	}
}
