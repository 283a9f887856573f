package twine

import (
	"context"
	"slices"
)

// listeners are an application's functions for one socket. The slices are replaced, never changed.
type listeners struct {
	events        []listener
	any           []func(context.Context, *Event)
	outgoing      []func(context.Context, *Event)
	middleware    []func(context.Context, *Event) error
	disconnecting []func(string)
	disconnect    []func(string)
}

type listener struct {
	event string
	f     func(context.Context, *Event)
}

// listeners returns the socket's functions as they are now.
func (s *Socket) listeners() listeners {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		return listeners{}
	}
	return s.more.listeners
}

func (s *Socket) listen(f func(l *listeners)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.extra().listeners)
}

// On adds a handler for an event that the client sends. Handlers for one event run in the order in which they were
// added, after those of the namespace. ctx is that of [Socket.Context]. To have arguments decoded, see [On].
//
// Handlers that all sockets have in common cost less memory on the [Namespace].
func (s *Socket) On(event string, f func(ctx context.Context, e *Event)) {
	s.listen(func(l *listeners) { l.events = appended(l.events, listener{event, f}) })
}

// Off removes the socket's handlers for an event.
func (s *Socket) Off(event string) {
	s.listen(func(l *listeners) {
		l.events = slices.DeleteFunc(slices.Clone(l.events), func(h listener) bool { return h.event == event })
	})
}

// OnAny adds a function that is called for each event that the client sends, before its handlers.
func (s *Socket) OnAny(f func(ctx context.Context, e *Event)) {
	s.listen(func(l *listeners) { l.any = appended(l.any, f) })
}

// OnAnyOutgoing adds a function that is called for each event that is sent to the client, broadcasts included, soon
// after it was queued. It must not change the arguments. If it does not keep up, events are left out.
func (s *Socket) OnAnyOutgoing(f func(ctx context.Context, e *Event)) {
	s.listen(func(l *listeners) { l.outgoing = appended(l.outgoing, f) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extra().observe = true
	s.state.CompareAndSwap(stateLive, stateObserved)
}

// Use adds a function that each event of the client has to pass before its handlers run. An error drops the event; a
// client that wants an acknowledgement is answered as a typed handler would answer the error, see [AckError].
func (s *Socket) Use(f func(ctx context.Context, e *Event) error) {
	s.listen(func(l *listeners) { l.middleware = appended(l.middleware, f) })
}

// OnDisconnecting adds a function that is called when the socket was disconnected, while it still is in its rooms.
func (s *Socket) OnDisconnecting(f func(reason string)) {
	s.listen(func(l *listeners) { l.disconnecting = appended(l.disconnecting, f) })
}

// OnDisconnect adds a function that is called, once, when the socket was disconnected and has left its rooms. reason is
// one of this package's reasons, such as [ReasonTransportClose]. Added before the connect handlers return, it is never
// missed.
func (s *Socket) OnDisconnect(f func(reason string)) {
	s.listen(func(l *listeners) { l.disconnect = appended(l.disconnect, f) })
}
