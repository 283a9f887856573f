package twine

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
)

// Socket is a client's place in a namespace. A client has one for each namespace that it joins, all over one connection.
// All methods may be called concurrently and after the socket has disconnected; they then do nothing or return
// [ErrDisconnected].
type Socket struct {
	id        string
	namespace string     // as the client asked for it
	ns        *Namespace // nil until the application has agreed to a dynamic namespace
	client    *client
	session   *engineio.Session
	auth      []byte

	state  atomic.Uint32 // one of the states; changes with mu held
	joinMu sync.Mutex    // held while the socket becomes a member of its namespace, and while it changes rooms
	member bool          // guarded by joinMu: the adapter knows this socket
	rec    *recoverable  // nil without recovery

	mu sync.Mutex
	progress
	inbox []*parser.Packet // events that wait for their handlers
	data  any
	more  *extras // nil until needed
}

// The states of a socket. It goes through them in this order, but may skip any.
const (
	stateJoining    uint32 = iota // middleware runs; what is sent to the socket is held back
	stateCatchingUp               // connected; events of the log are held back until those that were missed are sent
	stateLive                     // connected
	stateObserved                 // connected, and someone observes what is sent, see OnAnyOutgoing
	stateEnded                    // disconnected or refused
)

// extras is what few sockets need, so that the others do not pay for it. It is guarded by Socket.mu.
type extras struct {
	listeners
	acks      map[uint64]adapter.Acks // by the id of the event
	held      []held                  // until the socket is connected, or has caught up
	heldBytes int                     // of the events in held
	rooms     []string                // joined by middleware, before the adapter knows the socket
	sent      []*parser.Packet        // events for OnAnyOutgoing
	space     chan struct{}           // tells the reader that the inbox is not full any more
	ctx       context.Context         // nil until someone waits for it
	cancel    context.CancelFunc
	grace     *time.Timer
	reason    string // why the socket ended
	observe   bool
}

func newSocket(c *client, namespace string, ns *Namespace, auth []byte) *Socket {
	s := &Socket{id: newID(), namespace: namespace, ns: ns, client: c, session: c.session, auth: auth,
		progress: progress{joinDue: true}}
	if c.legacy() {
		s.id = c.legacyID(namespace)
	}
	if opts := c.server.opts.Recovery; opts != nil {
		s.rec = &recoverable{pid: newSecret(), token: c.server.newToken()}
		if opts.Identify != nil {
			s.rec.twineID = opts.Identify(c.session.Handshake())
		}
	}
	return s
}

// newID returns 15 random bytes as 20 characters of base64url.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// extra returns the extras. It needs mu.
func (s *Socket) extra() *extras {
	if s.more == nil {
		s.more = new(extras)
	}
	return s.more
}

// ID returns the socket's id, 20 characters that nobody can guess. The client knows it too. It differs from the id of
// the connection.
func (s *Socket) ID() string { return s.id }

// Namespace returns the namespace that the socket is part of.
func (s *Socket) Namespace() *Namespace { return s.ns }

// Conn returns the connection underneath, which the client's sockets in other namespaces share.
func (s *Socket) Conn() *engineio.Session { return s.session }

// Connected reports whether the socket is connected: the middleware let it pass, and it has not disconnected.
func (s *Socket) Connected() bool {
	return s.connectedLocked()
}

// connectedLocked is Connected, for those who hold mu and want to rely on it.
func (s *Socket) connectedLocked() bool {
	state := s.state.Load()
	return state == stateLive || state == stateObserved || state == stateCatchingUp
}

// Context returns a context that ends when the socket has disconnected and its handlers have returned, or
// [Options.DisconnectGrace] after the disconnect if they take longer. It is the one that handlers get.
func (s *Socket) Context() context.Context { return (*socketContext)(s) }

// SetData attaches a value of the application to the socket. [Namespace.FetchSockets] shows it, as JSON.
func (s *Socket) SetData(v any) {
	s.setData(v)
	if by := s.successor(); by != nil {
		by.SetData(v)
	}
}

func (s *Socket) setData(v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = v
	if s.connectedLocked() {
		s.saveLocked()
	}
}

// BindData decodes what SetData attached, now or before the socket was recovered, into the value that v points to, by way
// of JSON. Without data it leaves v as it is.
func (s *Socket) BindData(v any) error {
	data := s.Data()
	if data == nil {
		return nil
	}
	raw, ok := data.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(data); err != nil {
			return fmt.Errorf("twine: data of a socket: %w", err)
		}
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("twine: data of a socket: %w", err)
	}
	return nil
}

// Data returns what SetData attached last, or nil. In a socket that was recovered it is a json.RawMessage; see BindData.
func (s *Socket) Data() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data
}

// Join puts the socket into rooms, which exist as long as someone is in them. Every socket is in a room of its own, by
// the name of its id.
//
// With recovery the socket's session is stored before Join returns, so that a crash does not undo it.
func (s *Socket) Join(rooms ...string) {
	s.join(rooms)
	if s.rec == nil {
		return
	}
	if by := s.successor(); by != nil {
		by.Join(rooms...)
		return
	}
	s.persist()
}

func (s *Socket) join(rooms []string) {
	s.joinMu.Lock()
	defer s.joinMu.Unlock()
	if s.member {
		s.ns.adapter.AddAll(s, rooms...)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() != stateJoining {
		return
	}
	x := s.extra()
	for _, room := range rooms {
		if !slices.Contains(x.rooms, room) {
			x.rooms = append(x.rooms, room)
		}
	}
}

// Leave takes the socket out of rooms.
func (s *Socket) Leave(rooms ...string) {
	s.settle()
	s.leave(rooms)
	if by := s.successor(); by != nil {
		by.Leave(rooms...)
	}
}

func (s *Socket) leave(rooms []string) {
	s.joinMu.Lock()
	defer s.joinMu.Unlock()
	if s.member {
		s.ns.adapter.Del(s, rooms...)
		s.RoomsChanged()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more != nil {
		s.more.rooms = slices.DeleteFunc(s.more.rooms, func(room string) bool { return slices.Contains(rooms, room) })
	}
}

// Rooms returns the rooms that the socket is in, its own included, in no particular order. After the disconnect it is in
// none; while OnDisconnecting's functions run it still is.
func (s *Socket) Rooms() []string {
	s.joinMu.Lock()
	defer s.joinMu.Unlock()
	if s.member {
		if s.ns.adapter.Member(s.id) != adapter.Member(s) {
			return nil
		}
		return s.ns.adapter.SocketRooms(s.id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		return nil
	}
	return slices.Clone(s.more.rooms)
}

// Disconnect ends the socket: the client is told, and does not come back by itself. With closeTransport the whole
// connection is closed, and the client's sockets in other namespaces end too. What was sent before still arrives. Events
// of the client that no handler has begun to handle are dropped.
//
// It does not wait for the disconnect handlers, so it may be called from any handler.
func (s *Socket) Disconnect(closeTransport bool) {
	switch {
	case s.state.Load() == stateEnded:
	case closeTransport:
		s.client.disconnect()
	default:
		s.settle()
		s.leaveNamespace()
	}
}

// settle waits until what was sent so far is queued.
func (s *Socket) settle() {
	if s.rec != nil && s.ns != nil {
		s.ns.log().settle()
	}
}

// leaveNamespace tells the client that the socket is over and ends it.
func (s *Socket) leaveNamespace() {
	s.mu.Lock()
	switch s.state.Load() {
	case stateEnded:
		s.mu.Unlock()
		return
	case stateJoining:
		s.mu.Unlock()
		if !s.refuse(errRefused) {
			s.leaveNamespace()
		}
		return
	}
	if w, err := s.client.server.encode(&parser.Packet{Type: parser.Disconnect, Namespace: s.namespace}, ""); err == nil {
		_ = s.session.Send(w.messages...) // a closed connection needs no packet
	}
	acks := s.endLocked(ReasonServerDisconnect)
	s.mu.Unlock()
	s.afterEnd(ReasonServerDisconnect, acks)
}

// Details implements [adapter.Member].
func (s *Socket) Details() (handshake, data json.RawMessage) {
	handshake, err := json.Marshal(s.Handshake())
	if err != nil {
		handshake = nil
	}
	if v := s.Data(); v != nil {
		if data, err = json.Marshal(v); err != nil {
			data = nil
		}
	}
	return handshake, data
}
