package twine

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// RemoteSocket is a description of a socket, on this server or another, as it was when it was fetched. Its methods reach
// the socket wherever it is; if it is gone, they do nothing.
type RemoteSocket struct {
	ns      *Namespace
	details adapter.Details
}

// ID returns the socket's id.
func (r RemoteSocket) ID() string { return r.details.ID }

// Rooms returns the rooms that the socket was in. It must not be changed.
func (r RemoteSocket) Rooms() []string { return r.details.Rooms }

// Handshake returns what the client sent when it connected.
func (r RemoteSocket) Handshake() (*Handshake, error) {
	h := new(Handshake)
	if err := json.Unmarshal(r.details.Handshake, h); err != nil {
		return nil, fmt.Errorf("twine: handshake of a remote socket: %w", err)
	}
	return h, nil
}

// BindData decodes what [Socket.SetData] attached, as JSON, into the value that v points to. Without data it leaves v as
// it is.
func (r RemoteSocket) BindData(v any) error {
	if len(r.details.Data) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.details.Data, v); err != nil {
		return fmt.Errorf("twine: data of a remote socket: %w", err)
	}
	return nil
}

func (r RemoteSocket) operator() BroadcastOperator { return r.ns.To(r.details.ID) }

// Emit sends an event to the client.
func (r RemoteSocket) Emit(event string, args ...any) error { return r.operator().Emit(event, args...) }

// EmitWithAck sends an event and waits for the client's acknowledgement, see [Socket.EmitWithAck].
func (r RemoteSocket) EmitWithAck(ctx context.Context, event string, args ...any) (*Reply, error) {
	replies, err := r.operator().EmitWithAck(ctx, event, args...)
	if err != nil {
		return nil, err
	}
	if len(replies) == 0 {
		return nil, ErrDisconnected
	}
	return &replies[0], nil
}

// Join puts the socket into rooms.
func (r RemoteSocket) Join(rooms ...string) error { return r.operator().SocketsJoin(rooms...) }

// Leave takes the socket out of rooms.
func (r RemoteSocket) Leave(rooms ...string) error { return r.operator().SocketsLeave(rooms...) }

// Disconnect disconnects the socket, see [Socket.Disconnect].
func (r RemoteSocket) Disconnect(closeTransport bool) error {
	return r.operator().DisconnectSockets(closeTransport)
}

// ServerSideEmit sends an event to all other servers of the cluster, where [Namespace.OnServerEvent]'s handlers get it.
// A server that stands alone sends nothing.
func (ns *Namespace) ServerSideEmit(event string, args ...any) error {
	data, attachments, err := parser.EventData(event, args...)
	if err != nil {
		return fmt.Errorf("twine: emit %q to servers: %w", event, err)
	}
	return ns.adapter.ServerSideEmit(ns.server.ctx, data, attachments)
}

// ServerSideEmitWithAck is ServerSideEmit that waits until each of the other servers has answered, or ctx ends. With an
// error it returns the answers that came until then.
func (ns *Namespace) ServerSideEmitWithAck(ctx context.Context, event string, args ...any) ([]Reply, error) {
	data, attachments, err := parser.EventData(event, args...)
	if err != nil {
		return nil, fmt.Errorf("twine: emit %q to servers: %w", event, err)
	}
	answers, err := ns.adapter.ServerSideEmitWithAck(ctx, data, attachments)
	replies := make([]Reply, 0, len(answers))
	for _, a := range answers {
		r, malformed := newReply("", a.Data, a.Attachments)
		if malformed != nil {
			return replies, malformed
		}
		replies = append(replies, *r)
	}
	return replies, err
}

// ServerCount returns how many servers the cluster has, this one included.
func (ns *Namespace) ServerCount(ctx context.Context) (int, error) {
	return ns.adapter.ServerCount(ctx)
}
