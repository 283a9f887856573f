package engineio

import "time"

// An upgrade (Engine.IO v4, "Upgrade"): the client opens a WebSocket (or a stream) with the sid of its polling session and
// sends the ping packet "2probe"; the server answers "3probe" and lets the pending poll go with a noop, so that the client, which
// by now sends nothing and only waits for that poll to return, can stop polling; the client sends "5"; from then on the
// WebSocket is the transport. Until then all packets go through polling, so none can overtake another.

// probeNoop is how long a poll may wait while a client is being probed, before a noop lets it go.
const probeNoop = 50 * time.Millisecond

// startProbe takes c as the connection that may replace polling and counts one goroutine that reads it, or closes it.
func (s *Session) startProbe(c *conn) bool {
	s.mu.Lock()
	if s.state != stateOpen || s.conn != nil || s.probe != nil {
		s.mu.Unlock()
		c.close()
		return false
	}
	s.probe = c
	s.server.sessions.Add(1)
	s.mu.Unlock()
	// Not stopped when the upgrade succeeds: then it finds nothing to do.
	time.AfterFunc(s.server.opts.UpgradeTimeout, func() {
		s.mu.Lock()
		if s.probe == c {
			s.dropProbe()
		}
		s.mu.Unlock()
	})
	return true
}

// probePacket handles a packet on a connection that is not the transport yet. An error closes that connection alone.
func (s *Session) probePacket(c *conn, packet []byte, binary bool) error {
	if binary {
		return errPacket
	}
	switch string(packet) {
	case "2probe":
		if _, err := c.writeSome(make([]byte, 0, len(packetOfProbe.frame)), []*Message{packetOfProbe}); err != nil {
			return err
		}
		s.mu.Lock()
		if s.poll != nil {
			s.poll.probing = true
			s.poll.signal()
		}
		s.mu.Unlock()
		return nil
	case "5":
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.probe != c || s.state != stateOpen {
			return errUpgradeClosed
		}
		s.probe, s.conn = nil, c
		if s.poll != nil {
			s.poll.signal()
		}
		if len(s.queue) > 0 {
			s.wake()
		}
		return nil
	}
	return errPacket
}
