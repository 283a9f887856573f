package twine

import (
	"context"
)

// Listenable has handlers that all of its sockets share: a [Namespace], a [ParentNamespace] or a [Server].
type Listenable interface {
	On(event string, f func(ctx context.Context, s *Socket, e *Event))
}

// On adds a handler to a socket that gets the event's first argument as a T and whose result acknowledges the event. An
// event without arguments gives the zero T.
//
// An argument that is no T, or an error of h, is answered as [AckError] says. A client that wants no acknowledgement gets
// none.
func On[T, R any](s *Socket, event string, h func(ctx context.Context, arg T) (R, error)) {
	s.On(event, func(ctx context.Context, e *Event) {
		if arg, ok := argument[T](e); ok {
			result, err := h(ctx, arg)
			acknowledge(e, err, result)
		}
	})
}

// OnEvent is [On] for handlers without a result: the event is acknowledged without arguments.
func OnEvent[T any](s *Socket, event string, h func(ctx context.Context, arg T) error) {
	s.On(event, func(ctx context.Context, e *Event) {
		if arg, ok := argument[T](e); ok {
			acknowledge(e, h(ctx, arg))
		}
	})
}

// Handle is [On] for all sockets of a namespace at once.
func Handle[T, R any](on Listenable, event string, h func(ctx context.Context, s *Socket, arg T) (R, error)) {
	on.On(event, func(ctx context.Context, s *Socket, e *Event) {
		if arg, ok := argument[T](e); ok {
			result, err := h(ctx, s, arg)
			acknowledge(e, err, result)
		}
	})
}

// HandleEvent is [OnEvent] for all sockets of a namespace at once.
func HandleEvent[T any](on Listenable, event string, h func(ctx context.Context, s *Socket, arg T) error) {
	on.On(event, func(ctx context.Context, s *Socket, e *Event) {
		if arg, ok := argument[T](e); ok {
			acknowledge(e, h(ctx, s, arg))
		}
	})
}

func argument[T any](e *Event) (arg T, ok bool) {
	if e.Len() == 0 {
		return arg, true
	}
	if err := e.Bind(0, &arg); err != nil {
		e.fail(&AckError{Message: "invalid argument"})
		return arg, false
	}
	return arg, true
}

func acknowledge(e *Event, err error, result ...any) {
	if err == nil && e.WantsAck() && !e.acked.Load() {
		err = e.Ack(result...)
	}
	switch err {
	case nil, ErrAcked, ErrDisconnected:
	default:
		e.fail(err)
	}
}
