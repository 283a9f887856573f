package twine

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/twine-realtime/twine/twine/parser"
)

// Arguments are what an event or an acknowledgement carries. They are decoded when they are asked for. They are
// immutable and may be kept.
type Arguments struct {
	raw         [][]byte
	attachments [][]byte
}

// Len returns the number of arguments.
func (a *Arguments) Len() int { return len(a.raw) }

// Raw returns argument i as JSON, in which a binary value is the object {"_placeholder":true,"num":n}. It must not be
// changed. It is nil if there is no such argument.
func (a *Arguments) Raw(i int) json.RawMessage {
	if i < 0 || i >= len(a.raw) {
		return nil
	}
	return a.raw[i]
}

// Bind decodes argument i, counted from 0, into the value that v points to, as package json does. A *[]byte takes a
// binary argument without copying it; see [parser.DecodeArg] for binary values inside others. It returns an error that
// matches [ErrNoArgument] if there is no such argument.
func (a *Arguments) Bind(i int, v any) error {
	if i < 0 || i >= len(a.raw) {
		return fmt.Errorf("%w: %d of %d", ErrNoArgument, i, len(a.raw))
	}
	if err := parser.DecodeArg(a.raw[i], a.attachments, v); err != nil {
		return fmt.Errorf("twine: argument %d: %w", i, err)
	}
	return nil
}

// Args decodes the first arguments into the values that dst point to. A nil in dst skips an argument. If there are fewer
// arguments, it returns an error that matches [ErrNoArgument].
func (a *Arguments) Args(dst ...any) error {
	for i, v := range dst {
		if v == nil {
			continue
		}
		if err := a.Bind(i, v); err != nil {
			return err
		}
	}
	return nil
}

// Event is an event that a client sent. It may be kept, and answered later and from any goroutine.
type Event struct {
	Arguments
	name     string
	socket   *Socket // nil if another server sent the event
	id       uint64
	wantsAck bool
	acked    atomic.Bool
	answer   func(data []byte, attachments [][]byte) // for another server
}

func newEvent(s *Socket, p *parser.Packet) (*Event, error) {
	args, err := parser.SplitArgs(p.Data)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return nil, fmt.Errorf("%w: event without a name", parser.ErrMalformed)
	}
	name, err := parser.EventName(args[0])
	if err != nil {
		return nil, err
	}
	return &Event{Arguments: Arguments{args[1:], p.Attachments}, name: name, socket: s, id: p.ID, wantsAck: p.HasID}, nil
}

// Name returns the name of the event.
func (e *Event) Name() string { return e.name }

// Socket returns the socket that received the event, or nil if another server sent it.
func (e *Event) Socket() *Socket { return e.socket }

// WantsAck reports whether the sender asked for an acknowledgement.
func (e *Event) WantsAck() bool { return e.wantsAck || e.answer != nil }

// Ack acknowledges the event. Its arguments are those of Emit; so are the errors. It may be called once: then it returns
// [ErrAcked], or [ErrNoAck] if the sender did not ask. A call that fails to encode its arguments does not count.
func (e *Event) Ack(args ...any) error {
	if !e.WantsAck() {
		return ErrNoAck
	}
	data, attachments, err := parser.EncodeArgs(args...)
	if err != nil {
		return fmt.Errorf("twine: acknowledge %q: %w", e.name, err)
	}
	if e.answer != nil {
		if e.acked.Swap(true) {
			return ErrAcked
		}
		e.answer(data, attachments)
		return nil
	}
	s := e.socket
	w, err := s.client.server.encode(&parser.Packet{Type: parser.Ack, Namespace: s.namespace, ID: e.id, HasID: true,
		Data: data, Attachments: attachments}, "")
	if err != nil {
		return err
	}
	if e.acked.Swap(true) {
		return ErrAcked
	}
	return s.send(w, nil, Flags{})
}

// fail answers an event whose handling failed.
func (e *Event) fail(err error) {
	var told *AckError
	if !errors.As(err, &told) {
		told = &AckError{Message: "internal error"}
		e.socket.client.server.opts.Logger.Error("twine: event handler failed", slog.String("event", e.name),
			slog.String("socket", e.socket.id), slog.Any("error", err))
	}
	if !e.WantsAck() {
		return
	}
	err = e.Ack(struct {
		Error string `json:"error"`
		Data  any    `json:"data,omitempty"`
	}{told.Message, told.Data})
	if err != nil && !errors.Is(err, ErrDisconnected) && !errors.Is(err, ErrAcked) {
		e.socket.client.server.opts.Logger.Error("twine: event cannot be answered", slog.String("event", e.name),
			slog.String("socket", e.socket.id), slog.Any("error", err))
	}
}

// Reply is what a client, or a server, acknowledged an event with.
type Reply struct {
	Arguments
	socket string
}

// Socket returns the id of the socket that answered, or "" if that is not known: another server's, or a server itself.
func (r *Reply) Socket() string { return r.socket }

func newReply(socket string, data []byte, attachments [][]byte) (*Reply, error) {
	args, err := parser.SplitArgs(data)
	if err != nil {
		return nil, fmt.Errorf("twine: malformed acknowledgement: %w", err)
	}
	return &Reply{Arguments{args, attachments}, socket}, nil
}
