package engineio

import (
	"context"
	"encoding/base64"
	"log/slog"
	"sync"
	"time"
)

// Handler receives what a session's client sends. Its methods run on the session's own goroutines.
type Handler interface {
	// Message is called for each message, one at a time, in order. data is borrowed until it returns. While it runs,
	// nothing more is read from this client, pongs included, so it must not block for long; to wait for something,
	// wait for [Session.Done] too. An error closes the session with [ReasonParseError].
	Message(data []byte, binary bool) error
	// Closed is called exactly once, after the last Message. err is nil when either side closed in order.
	Closed(reason Reason, err error)
}

// HeartbeatObserver may be implemented by a [Handler] that wants to know what a client has certainly received: all
// that was sent before a ping has arrived when its pong comes.
type HeartbeatObserver interface {
	// BeforePing is called right before a ping is queued. It must not block.
	BeforePing()
	// Pong is called when that ping was answered. It must not block.
	Pong()
}

type sessionState uint8

const (
	stateOpen    sessionState = iota
	stateClosing              // no more Send; what is queued still leaves
	stateClosed
)

// Session is a connection to one client, whatever the transport that carries it. All methods may be called
// concurrently.
//
// Lock order: recv, mu, then the locks of wheel and flusher. Handler methods are called with recv held (Message) or
// no lock (the others), never with mu.
type Session struct {
	server  *Server
	flusher *flusher
	id      string
	handler Handler
	hs      *Handshake

	recv  sync.Mutex // serialises calls of handler.Message
	ended bool       // guarded by recv: Closed was called or is about to be

	mu           sync.Mutex
	state        sessionState
	awaitingPong bool
	posting      bool // a POST is under way
	v3, b64      bool // the client speaks protocol v3; and wants binary as base64. Never change.
	scheduled    bool // a flusher, or a goroutine in its place, has this session
	hangUp       bool // both close frames have been said once the queue is empty
	queue        []*Message
	queueOff     int // bytes of queue[0] that are written already
	queued       int // size of all messages in queue and in the hands of a flusher
	ws           *conn
	probe        *conn // a WebSocket that has not completed its upgrade
	poll         *poll // the GET that waits, if any
	wait         *waits

	wheelDue             int64 // these three are guarded by the wheel
	wheelNext, wheelPrev *Session
}

// waits holds channels that few sessions ever need.
type waits struct {
	done      chan struct{}
	drained   chan struct{}
	watermark int
	alive     chan struct{} // closed at the next pong
}

// ID returns the session id: 20 characters of base64url.
func (s *Session) ID() string { return s.id }

// Handshake returns what the client asked for when it connected.
func (s *Session) Handshake() *Handshake { return s.hs }

// Transport returns the name of the current transport.
func (s *Session) Transport() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ws != nil {
		return WebSocket
	}
	return Polling
}

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
	if s.state != stateOpen || s.queued > 0 || (s.ws == nil && s.poll == nil) {
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

// Done returns a channel that is closed when the session is no longer open.
func (s *Session) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waitsLocked().done
}

func (s *Session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == stateOpen
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

func (s *Session) waitsLocked() *waits {
	if s.wait == nil {
		s.wait = &waits{done: make(chan struct{})}
		if s.state != stateOpen {
			close(s.wait.done)
		}
	}
	return s.wait
}

// Close ends the session in order: what is queued leaves first, for CloseTimeout at the longest, then the transport
// is closed. Handler.Closed is told at once, on another goroutine. Later calls do nothing.
func (s *Session) Close(reason Reason) { s.closeWith(reason, nil, closeNormal) }

func (s *Session) closeWith(reason Reason, err error, frame *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateOpen {
		return
	}
	if s.ws == nil {
		frame = packetOfClose
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

// flushed is called when the queue has left over a WebSocket. It needs mu.
func (s *Session) flushed() {
	s.scheduled = false
	switch {
	case s.state != stateClosing:
	case s.hangUp:
		s.end("", nil)
	default:
		// Nothing follows a close frame. Clients wait for the end of the connection before they report it closed.
		s.ws.closeWrite()
	}
}

// enqueue needs mu and an open session.
func (s *Session) enqueue(msgs []*Message) error {
	if s.v3 || s.b64 || (s.ws != nil && s.ws.deflate) {
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
		if s.ws != nil && s.ws.deflate {
			m = m.deflated(s.server.opts.PerMessageDeflate)
		}
		own[i] = m
	}
	return own
}

// wake makes whoever can write look at the queue. It needs mu.
func (s *Session) wake() {
	switch {
	case s.ws != nil:
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
	if s.ws != nil {
		s.drop(s.ws)
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
	s.mu.Unlock()
	if !answered {
		return
	}
	if o, ok := s.handler.(HeartbeatObserver); ok {
		o.Pong()
	}
}

// receive handles one packet that the client sent over its current transport. An error means that the client broke
// the protocol.
func (s *Session) receive(packet []byte, binary bool) error {
	if binary {
		return s.message(packet, true)
	}
	if len(packet) == 0 {
		return errPacket
	}
	switch packet[0] {
	case packetMessage:
		return s.message(packet[1:], false)
	case packetPong:
		s.pong()
	case packetBase64:
		data, err := base64.StdEncoding.AppendDecode(nil, packet[1:])
		if err != nil {
			return errPacket
		}
		return s.message(data, true)
	case packetPing:
		return errHeartbeat
	case packetClose:
		s.closedByClient()
	case packetOpen, packetUpgrade, packetNoop:
	default:
		return errPacket
	}
	return nil
}

// closedByClient handles a close packet. Over polling, the poll that the client has under way, or is about to have, is
// let go with a noop.
func (s *Session) closedByClient() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ws != nil || s.state != stateOpen {
		s.end(ReasonTransportClose, nil)
		return
	}
	s.beginClosing(ReasonTransportClose, nil, packetOfNoop)
}

func (s *Session) message(data []byte, binary bool) error {
	s.recv.Lock()
	defer s.recv.Unlock()
	if s.ended {
		return nil
	}
	if err := s.handler.Message(data, binary); err != nil {
		s.server.opts.Logger.Debug("engineio: message refused", slog.String("session", s.id), slog.Any("error", err))
		return errorOf{err}
	}
	return nil
}

// errorOf marks an error that came from the Handler.
type errorOf struct{ error }

func (e errorOf) Unwrap() error { return e.error }

// failure returns the reason and the close frame for an error of receive or of the WebSocket reader.
func failure(err error) (Reason, *Message) {
	switch err {
	case errHeartbeat, errProtocol:
		return ReasonTransportError, closeProtocolError
	case errTooLarge:
		return ReasonTransportError, closeTooLarge
	case errUTF8, errInflate:
		return ReasonParseError, closeInvalidData
	case errPanic:
		return ReasonForcedClose, closeNormal
	}
	return ReasonParseError, closeNormal
}
