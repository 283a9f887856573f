package twine

import (
	"time"

	"github.com/twine-realtime/twine/twine/parser"
)

// accepts reports whether the client may send to the socket: it has been told that it is connected. It is true for a
// socket that has ended, which the client may not know yet.
func (s *Socket) accepts() bool {
	if s.state.Load() != stateJoining {
		return true
	}
	// The client may be faster than connect, which still holds the lock.
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Load() != stateJoining
}

// receive takes an event from the reader. If the inbox is full it waits, and reports false if that lasts too long.
func (s *Socket) receive(p *parser.Packet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.inbox) >= s.client.server.opts.MaxPendingEvents && !s.awaitSpace() {
		return false
	}
	if s.state.Load() != stateEnded {
		s.inbox = append(s.inbox, p)
		s.startLocked()
	}
	return true
}

// awaitSpace waits until the inbox is not full or the socket has ended. It needs mu, which it gives up while it waits.
func (s *Socket) awaitSpace() bool {
	opts := &s.client.server.opts
	x := s.extra()
	if x.space == nil {
		x.space = make(chan struct{}, 1)
	}
	timeout := time.NewTimer(opts.inboxTimeout())
	defer timeout.Stop()
	for len(s.inbox) >= opts.MaxPendingEvents && s.state.Load() != stateEnded {
		s.mu.Unlock()
		var waited bool
		select {
		case <-x.space:
			waited = true
		case <-s.session.Done(): // the socket will end as soon as the reader returns
			waited = true
		case <-timeout.C:
		}
		s.mu.Lock()
		if !waited {
			return false
		}
		select {
		case <-s.session.Done():
			return true // one more than allowed
		default:
		}
	}
	return true
}

// takeLocked takes the first event out of the inbox. It needs mu.
func (s *Socket) takeLocked() *parser.Packet {
	p := s.inbox[0]
	s.inbox[0] = nil
	if s.inbox = s.inbox[1:]; len(s.inbox) == 0 {
		s.inbox = nil // an idle socket keeps no memory for events
	}
	s.signalSpaceLocked()
	return p
}

// signalSpaceLocked wakes the reader if it waits. It needs mu.
func (s *Socket) signalSpaceLocked() {
	if s.more == nil || s.more.space == nil {
		return
	}
	select {
	case s.more.space <- struct{}{}:
	default:
	}
}

// dispatch runs the handlers for an event of the client.
func (s *Socket) dispatch(p *parser.Packet) {
	e, err := newEvent(s, p)
	if err != nil {
		s.client.close(ReasonParseError)
		return
	}
	defer s.recoverPanic("event", e.name)
	ctx := s.Context()
	l := s.listeners()
	for _, f := range l.any {
		f(ctx, e)
	}
	for _, f := range l.middleware {
		if err := f(ctx, e); err != nil {
			e.fail(err)
			return
		}
	}
	for _, set := range s.ns.hookSets() {
		for _, f := range set.events[e.name] {
			f(ctx, s, e)
		}
	}
	for _, h := range l.events {
		if h.event == e.name {
			h.f(ctx, e)
		}
	}
}

// observed runs OnAnyOutgoing's functions for events that were sent.
func (s *Socket) observed(sent []*parser.Packet) {
	defer s.recoverPanic("outgoing event", "")
	l := s.listeners()
	for _, p := range sent {
		e, err := newEvent(s, p)
		if err != nil {
			continue
		}
		e.wantsAck = false // that is for the client to answer
		for _, f := range l.outgoing {
			f(s.Context(), e)
		}
	}
}

func (s *Socket) runConnectHandlers() {
	defer s.recoverPanic("connect", "")
	for _, set := range s.ns.hookSets() {
		for _, f := range set.connect {
			f(s)
		}
	}
}

func (s *Socket) runDisconnectingHandlers(reason string) {
	for _, set := range s.ns.hookSets() {
		for _, f := range set.disconnecting {
			s.protect("disconnecting", func() { f(s, reason) })
		}
	}
	for _, f := range s.listeners().disconnecting {
		s.protect("disconnecting", func() { f(reason) })
	}
}

func (s *Socket) runDisconnectHandlers(reason string) {
	for _, set := range s.ns.hookSets() {
		for _, f := range set.disconnect {
			s.protect("disconnect", func() { f(s, reason) })
		}
	}
	for _, f := range s.listeners().disconnect {
		s.protect("disconnect", func() { f(reason) })
	}
}

// protect calls f, so that those after it run even if it panics.
func (s *Socket) protect(what string, f func()) {
	defer s.recoverPanic(what, "")
	f()
}

// recoverPanic, deferred, reports a panic and disconnects the socket.
func (s *Socket) recoverPanic(what, event string) {
	v := recover()
	if v == nil {
		return
	}
	if event != "" {
		what += " " + event
	}
	s.ns.logPanic(what, s, v)
	s.Disconnect(false)
}
