package twine

import (
	"encoding/json"
	"log/slog"
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
		s.enterNamespace()
	case s.more != nil && len(s.more.sent) > 0:
		sent := s.more.sent
		s.more.sent = nil
		s.mu.Unlock()
		s.observed(sent)
	case s.rec != nil && s.rec.saveDue:
		s.rec.saveDue = false
		s.mu.Unlock()
		s.persist()
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

// enterNamespace runs the middleware and connects the socket, unless it is refused or ended meanwhile.
func (s *Socket) enterNamespace() {
	decided := false
	defer func() {
		if !decided {
			s.refuse(errInternal) // a middleware called runtime.Goexit
		}
	}()
	r, gap, refusal := s.mayJoin()
	decided = true
	if refusal != nil {
		s.refuse(refusal)
		return
	}
	if !s.connect(r, gap) {
		return
	}
	s.client.joined()
	s.adopt()
	s.runConnectHandlers()
	if s.rec != nil {
		s.persistNew()
	}
}

// mayJoin asks the application, and looks for a session that the client left behind.
func (s *Socket) mayJoin() (r *resumption, gap *missed, refusal *ConnectError) {
	if s.ns == nil {
		ns, refusal := s.dynamicNamespace()
		if refusal != nil {
			return nil, nil, refusal
		}
		s.ns = ns
	}
	r, gap, err := s.findSession()
	if err != nil && s.state.Load() == stateEnded {
		return nil, nil, errRefused // its connection may have others
	}
	if err != nil {
		s.client.server.opts.Logger.Warn("twine: client has to come back later", slog.String("namespace", s.namespace),
			slog.Any("error", err))
		s.client.close(ReasonTransportClose) // not a refusal: clients give up after one
		return nil, nil, errRefused
	}
	if r != nil {
		s.mu.Lock()
		if r.recovers() {
			s.id = r.state.SID
		}
		if r.state.Data != nil && s.data == nil {
			s.data = r.state.Data
		}
		s.mu.Unlock()
	}
	if !r.recovers() || s.client.server.opts.Recovery.RunMiddleware {
		if err := s.ns.pass(s); err != nil {
			return nil, nil, connectErrorOf(err)
		}
	}
	return r, gap, nil
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

// connect makes the socket a member of its namespace and tells the client. Broadcasts that reach the socket in between
// are held back, so that none is lost and none overtakes the CONNECT packet. It reports false if the socket has ended. A
// nil r means that the socket starts with nothing. gap, unless nil, is what the client cannot get any more.
func (s *Socket) connect(r *resumption, gap *missed) bool {
	if !s.becomeMember(r) {
		return false
	}
	pid := ""
	if s.rec != nil {
		pid = s.rec.pid
	}
	p := connectPacket(s.namespace, s.id, pid)
	if s.client.legacy() {
		p.Data = nil
	}
	connected, err := s.client.server.encode(p, "")
	if err != nil {
		s.refuse(errInternal)
		return false
	}
	s.mu.Lock()
	if s.state.Load() == stateEnded {
		s.mu.Unlock()
		return false
	}
	// An error says that the connection is closed, which is about to end the socket.
	_ = s.session.Send(connected.messages...)
	s.connected = true
	if gap != nil {
		s.tellMissedLocked(gap)
	}
	if r == nil || r.needs == nil {
		s.goLiveLocked()
		s.mu.Unlock()
		return true
	}
	s.state.Store(stateCatchingUp)
	s.mu.Unlock()
	if r.recovers() {
		s.catchUp(r, 0)
		return true
	}
	s.client.server.running.Add(1)
	go func() {
		defer s.client.server.running.Add(-1)
		s.catchUp(r, s.ns.log().opts.ResumeDelay)
	}()
	return true
}

// becomeMember puts the socket into its rooms. It reports false if the socket has ended; otherwise finish, which runs on
// this same goroutine, takes it out again.
func (s *Socket) becomeMember(r *resumption) bool {
	s.joinMu.Lock()
	defer s.joinMu.Unlock()
	s.mu.Lock()
	if s.state.Load() == stateEnded {
		s.mu.Unlock()
		return false
	}
	rooms := []string{s.id}
	if r != nil {
		rooms = append(rooms, r.rooms...)
	}
	if s.more != nil {
		rooms = append(rooms, s.more.rooms...)
		s.more.rooms = nil
	}
	s.mu.Unlock()
	s.member = s.enter(rooms, r)
	return s.member
}

// held is a packet that waits until the socket is connected or has caught up.
type held struct {
	wire   *wire          // nil: packet is to be encoded with the position of then
	packet *parser.Packet // for OnAnyOutgoing's functions, or to be encoded
	offset string         // of an event of the log
}

// goLiveLocked sends what was held back; from here on nothing is. It needs mu.
func (s *Socket) goLiveLocked() {
	state := stateLive
	if x := s.more; x != nil {
		if x.observe {
			state = stateObserved
		}
		for _, h := range x.held {
			if h.wire == nil {
				w, err := s.client.server.encode(h.packet, s.rec.pos)
				if err != nil {
					continue // the one who emitted it was told
				}
				h.wire = w
			}
			_ = s.queueAt(h.wire, h.offset)
			if state == stateObserved {
				s.observeLocked(h.packet)
			}
		}
		x.held, x.heldBytes = nil, 0
	}
	s.state.Store(state)
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
			s.leaveRooms(reason)
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
