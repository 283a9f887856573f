package twine

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Middleware decides about a client that wants to join a namespace. Returning an error refuses it: the client's
// connect_error event gets the Message and Data of a [*ConnectError], or else the text of the error. ctx ends when the
// client goes away.
//
// The socket may already join rooms and have handlers registered; what is emitted to it is sent once it is connected.
type Middleware func(ctx context.Context, s *Socket) error

// hooks are an application's functions for the sockets of a namespace, shared by all of them, so that they cost no
// memory per socket. They may be added at any time and concurrently; functions of one kind run in the order in which
// they were added.
type hooks struct {
	mu  sync.Mutex
	set atomic.Pointer[hookSet]
}

// hookSet is replaced as a whole, never changed.
type hookSet struct {
	middleware    []Middleware
	connect       []func(*Socket)
	disconnecting []func(*Socket, string)
	disconnect    []func(*Socket, string)
	events        map[string][]func(context.Context, *Socket, *Event)
	serverEvents  map[string][]func(context.Context, *Event)
}

var noHooks = new(hookSet)

func (h *hooks) load() *hookSet {
	if set := h.set.Load(); set != nil {
		return set
	}
	return noHooks
}

func (h *hooks) change(f func(set *hookSet)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	set := *h.load()
	f(&set)
	h.set.Store(&set)
}

// appended never writes to the array of list, which others may be reading.
func appended[T any](list []T, f T) []T { return append(slices.Clip(list), f) }

func appendedTo[T any](m map[string][]T, key string, f T) map[string][]T {
	m = maps.Clone(m)
	if m == nil {
		m = make(map[string][]T)
	}
	m[key] = appended(m[key], f)
	return m
}

// Use adds a middleware, which each client that wants to join has to pass.
func (h *hooks) Use(m Middleware) {
	h.change(func(set *hookSet) { set.middleware = appended(set.middleware, m) })
}

// OnConnect adds a function that is called for each socket once it is connected. Event handlers that it registers miss
// no event. Each call is followed, at the end, by the functions of OnDisconnecting and OnDisconnect, exactly once.
func (h *hooks) OnConnect(f func(s *Socket)) {
	h.change(func(set *hookSet) { set.connect = appended(set.connect, f) })
}

// OnDisconnecting adds a function that is called for each socket that was disconnected, while it still is in its rooms.
// Nothing can be sent to it any more. reason is one of this package's reasons, such as [ReasonTransportClose].
func (h *hooks) OnDisconnecting(f func(s *Socket, reason string)) {
	h.change(func(set *hookSet) { set.disconnecting = appended(set.disconnecting, f) })
}

// OnDisconnect adds a function that is called for each socket that was disconnected, after it left its rooms.
func (h *hooks) OnDisconnect(f func(s *Socket, reason string)) {
	h.change(func(set *hookSet) { set.disconnect = appended(set.disconnect, f) })
}

// On adds a handler for an event of all sockets. It runs before those of [Socket.On]. See also [Handle] and
// [HandleEvent].
func (h *hooks) On(event string, f func(ctx context.Context, s *Socket, e *Event)) {
	h.change(func(set *hookSet) { set.events = appendedTo(set.events, event, f) })
}

// OnServerEvent adds a handler for an event that another server of the cluster emitted with ServerSideEmit. It may
// answer with [Event.Ack] if that server wants to know. It must not block: other messages of the cluster wait.
func (h *hooks) OnServerEvent(event string, f func(ctx context.Context, e *Event)) {
	h.change(func(set *hookSet) { set.serverEvents = appendedTo(set.serverEvents, event, f) })
}
