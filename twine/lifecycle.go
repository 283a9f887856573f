package twine

import (
	"encoding/json"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// progress tells what a socket's goroutine has to do next. It is guarded by Socket.mu.
type progress struct {
	joinDue   bool // the middleware has not run yet
	busy      bool // the goroutine exists
	connected bool // the client was told that it is connected, so disconnect handlers will have to run
	finished  bool // they have run, or are running
	released  bool // the context has ended
}

// start makes sure that the socket's goroutine exists.
func (s *Socket) start() {
	s.mu.Lock()
	s.startLocked()
	s.mu.Unlock()
}

func (s *Socket) startLocked() {
	if !s.busy {
		s.busy = true
		s.client.server.running.Add(1)
		go s.run()
	}
}

// run calls the application's functions, one at a time, until there is nothing to do.
func (s *Socket) run() {
	returned := false
	defer func() {
		if !returned {
			go s.run() // a handler called runtime.Goexit
		}
	}()
	for s.step() {
	}
	returned = true
	s.client.server.running.Add(-1)
}

// step does what is next and reports whether there was something to do.
func (s *Socket) step() bool {
	s.mu.Lock()
	switch {
	case s.joinDue:
		s.joinDue = false
		s.mu.Unlock()
		s.join()
	case s.more != nil && len(s.more.sent) > 0:
		sent := s.more.sent
		s.more.sent = nil
		s.mu.Unlock()
		s.observed(sent)
	case len(s.inbox) > 0:
		p := s.takeLocked()
		s.mu.Unlock()
		s.dispatch(p)
	case s.state.Load() == stateEnded && !s.finished:
		s.finished = true
		s.mu.Unlock()
		s.finish()
	default:
		s.busy = false
		s.mu.Unlock()
		return false
	}
	return true
}

// join runs the middleware and connects the socket, unless it is refused or ended meanwhile.
func (s *Socket) join() {
	decided := false
	defer func() {
		if !decided {
			s.refuse(errInternal) // a middleware called runtime.Goexit
		}
	}()
	refusal := s.mayJoin()
	decided = true
	if refusal != nil {
		s.refuse(refusal)
		return
	}
	if s.connect(admission{}) {
		s.client.joined()
		s.runConnectHandlers()
	}
}

// mayJoin asks the application.
func (s *Socket) mayJoin() *ConnectError {
	if s.ns == nil {
		ns, refusal := s.dynamicNamespace()
		if refusal != nil {
			return refusal
		}
		s.ns = ns
	}
	if err := s.ns.pass(s); err != nil {
		return connectErrorOf(err)
	}
	return nil
}

func (s *Socket) dynamicNamespace() (ns *Namespace, refusal *ConnectError) {
	defer func() {
		if v := recover(); v != nil {
			s.client.server.main.logPanic("match of namespace "+s.namespace, s, v)
			ns, refusal = nil, errInternal
		}
	}()
	if ns = s.client.server.acquireDynamic(s.namespace, s.auth); ns == nil {
		return nil, errInvalidNamespace
	}
	return ns, nil
}

// admission is what a socket starts with. The zero value is that of a new one.
type admission struct {
	rooms  []string // beside its own and those that the middleware joined
	pid    string   // sent to the client, which offers it when it comes back
	replay []*wire  // sent before the client is told that it is connected
}

// connect makes the socket a member of its namespace and tells the client. Broadcasts that reach the socket in between
// are held back, so that none is lost and none overtakes the CONNECT packet. It reports false if the socket has ended.
func (s *Socket) connect(a admission) bool {
	connected, err := s.client.server.encode(connectPacket(s.namespace, s.id, a.pid), "")
	if err != nil {
		s.refuse(errInternal)
		return false
	}
	s.joinMu.Lock()
	s.mu.Lock()
	rooms := append([]string{s.id}, a.rooms...)
	if s.more != nil {
		rooms = append(rooms, s.more.rooms...)
		s.more.rooms = nil
	}
	ended := s.state.Load() == stateEnded
	s.mu.Unlock()
	if !ended {
		s.member = true
		s.ns.adapter.Add(s, rooms...) // finish undoes it, on this same goroutine
	}
	s.joinMu.Unlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() == stateEnded {
		return false
	}
	// An error says that the connection is closed, which is about to end the socket.
	for _, w := range a.replay {
		_ = s.session.Send(w.messages...)
	}
	_ = s.session.Send(connected.messages...)
	state := stateLive
	if x := s.more; x != nil {
		for _, w := range x.held {
			_ = s.session.Send(w.messages...)
		}
		x.held = nil
		if x.observe {
			state = stateObserved
		}
	}
	s.connected = true
	s.state.Store(state)
	return true
}

// refuse ends a socket that has not been connected and tells the client why. It reports false, and does nothing, if the
// socket has got further.
func (s *Socket) refuse(refusal *ConnectError) bool {
	s.mu.Lock()
	if s.state.Load() != stateJoining {
		s.mu.Unlock()
		return false
	}
	acks := s.endLocked(ReasonServerDisconnect)
	s.mu.Unlock()
	s.client.remove(s, false) // first, for the client may try again at once
	s.client.refuse(s.namespace, refusal)
	s.afterEnd(ReasonServerDisconnect, acks)
	return true
}

// endJoining ends a socket that is not connected yet, silently. It reports false if the socket has got further.
func (s *Socket) endJoining() bool {
	s.mu.Lock()
	switch s.state.Load() {
	case stateJoining:
		acks := s.endLocked(ReasonClientDisconnect)
		s.mu.Unlock()
		s.afterEnd(ReasonClientDisconnect, acks)
		return true
	case stateEnded:
		s.mu.Unlock()
		return true
	}
	s.mu.Unlock()
	return false
}

// end disconnects the socket, whatever it is doing. Only the first call has an effect.
func (s *Socket) end(reason string) {
	s.mu.Lock()
	if s.state.Load() == stateEnded {
		s.mu.Unlock()
		return
	}
	acks := s.endLocked(reason)
	s.mu.Unlock()
	s.afterEnd(reason, acks)
}

// endLocked ends a socket that has not ended: from here on nothing is sent to it and nothing received. It returns the
// acknowledgements that will never come. It needs mu; afterEnd does the rest without.
func (s *Socket) endLocked(reason string) map[uint64]adapter.Acks {
	joining := s.state.Load() == stateJoining
	s.state.Store(stateEnded)
	if endsEvents(reason) {
		s.inbox = nil
	}
	x := s.extra()
	x.reason = reason
	acks := x.acks
	x.acks, x.held, x.rooms = nil, nil, nil
	if x.space != nil {
		select {
		case x.space <- struct{}{}:
		default:
		}
	}
	if grace := s.client.server.opts.DisconnectGrace; joining || grace < 0 {
		s.endContextLocked()
	} else {
		x.grace = time.AfterFunc(grace, s.endContext)
	}
	s.startLocked()
	return acks
}

func (s *Socket) afterEnd(reason string, acks map[uint64]adapter.Acks) {
	s.client.remove(s, reason == ReasonServerDisconnect)
	for _, a := range acks {
		a.Lost(s.id)
	}
}

// finish runs the disconnect handlers and lets go of everything. Its parts are deferred so that each runs even if a
// handler ends the goroutine.
func (s *Socket) finish() {
	s.mu.Lock()
	connected, reason := s.connected, s.more.reason
	s.mu.Unlock()
	defer func() {
		s.endContext()
		if s.ns != nil {
			s.client.server.release(s.ns)
		}
		s.client.ended()
	}()
	if connected {
		defer s.runDisconnectHandlers(reason)
	}
	defer func() {
		if s.ns != nil {
			s.ns.adapter.DelAll(s)
		}
	}()
	if connected {
		s.runDisconnectingHandlers(reason)
	}
}

func connectPacket(namespace, sid, pid string) *parser.Packet {
	data := append([]byte(`{"sid":"`), sid...)
	if pid != "" {
		data = append(data, `","pid":"`...)
		data = append(data, pid...)
	}
	data = append(data, `"}`...)
	return &parser.Packet{Type: parser.Connect, Namespace: namespace, Data: data}
}

func connectErrorPacket(namespace string, refusal *ConnectError) *parser.Packet {
	data, err := json.Marshal(struct {
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}{refusal.Message, refusal.Data})
	p := &parser.Packet{Type: parser.ConnectError, Namespace: namespace, Data: data}
	if err != nil {
		p.Data = nil // encoding it reports the error
	}
	return p
}
