package engineio

import "sync"

// Handler receives what a session's client sends. Its methods run on the session's own goroutines.
type Handler interface {
	// Message is called for each message, one at a time, in order. data is borrowed until it returns. While it runs,
	// nothing more is read from this client, pongs included, so it must not block for long; to wait for something,
	// wait for [Session.Done] too. An error closes the session with [ReasonParseError].
	Message(data []byte, binary bool) error
	// Closed is called exactly once, after the last Message. err is nil when either side closed in order.
	Closed(reason Reason, err error)
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
// Lock order: recv, mu, then the locks of wheel, flusher and poller. Handler methods are called with recv held
// (Message) or no lock (the others), never with mu.
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
	hangUp       bool // nothing more is expected of the client, so the session ends once the queue is empty
	queue        []*Message
	queueOff     int    // bytes of queue[0] that are written already
	queued       int    // size of all messages in queue, in the hands of a flusher or in the answer to a poll
	conn         *conn  // what carries the session if that is not polling
	probe        *conn  // a connection that has not completed its upgrade
	poll         *poll  // the GET that waits, if any
	polled       uint64 // the tag of the newest poll
	posted       uint64 // that of the newest POST that was handled
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
	if s.conn != nil {
		return s.conn.name()
	}
	return Polling
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

func (s *Session) waitsLocked() *waits {
	if s.wait == nil {
		s.wait = &waits{done: make(chan struct{})}
		if s.state != stateOpen {
			close(s.wait.done)
		}
	}
	return s.wait
}
