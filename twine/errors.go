package twine

import (
	"errors"
	"fmt"
)

// Errors to be matched with [errors.Is].
var (
	// ErrDisconnected: the socket is disconnected, or was before it answered.
	ErrDisconnected = errors.New("twine: socket disconnected")

	// ErrTimeout: a client did not acknowledge in time. Such an error also matches [context.DeadlineExceeded].
	ErrTimeout = errors.New("twine: no acknowledgement in time")

	// ErrDropped: a volatile packet that asks for an acknowledgement could not be sent at once, and so was not.
	ErrDropped = errors.New("twine: volatile packet dropped")

	// ErrNoAck: the client did not ask for an acknowledgement of this event.
	ErrNoAck = errors.New("twine: no acknowledgement wanted")

	// ErrAcked: the event was acknowledged before. A client is answered once.
	ErrAcked = errors.New("twine: already acknowledged")

	// ErrNoArgument: an event or a reply has fewer arguments than were asked for.
	ErrNoArgument = errors.New("twine: no such argument")

	errInvalidNamespace  = &ConnectError{Message: "Invalid namespace"}
	errInternal          = &ConnectError{Message: "internal error"}
	errTooManyNamespaces = &ConnectError{Message: "too many namespaces"}
	errRefused           = &ConnectError{Message: "disconnected"}
)

// ConnectError refuses a client. A middleware returns it; the client receives it as its connect_error event.
type ConnectError struct {
	// Message is the message of the Error object that the client receives.
	Message string
	// Data, unless it is nil, becomes the data property of that Error, marshalled as JSON.
	Data any
}

func (e *ConnectError) Error() string { return "twine: connection refused: " + e.Message }

// AckError is what a typed handler returns to tell the client what went wrong: an event that asks for an
// acknowledgement is answered with {"error": Message, "data": Data}. The text of any other error stays on the server; the
// client receives {"error": "internal error"}.
type AckError struct {
	Message string
	// Data is left out if it is nil.
	Data any
}

func (e *AckError) Error() string { return "twine: " + e.Message }

func timeoutError(cause error) error { return fmt.Errorf("%w: %w", ErrTimeout, cause) }
