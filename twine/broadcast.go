package twine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twine-realtime/twine/adapter"
)

// BroadcastOperator selects sockets of a namespace, on all servers of the cluster, and says how to send to them. It is
// an immutable value: each method returns another one, so it may be kept and shared.
//
//	srv.To("lobby").Except("muted").Volatile().Emit("tick")
type BroadcastOperator struct {
	ns   *Namespace
	opts adapter.Options
}

// To adds rooms: their members are selected, each once. Without rooms, everyone in the namespace is.
func (b BroadcastOperator) To(rooms ...string) BroadcastOperator {
	b.opts.Rooms = append(slices.Clip(b.opts.Rooms), rooms...)
	return b
}

// In is another name for To.
func (b BroadcastOperator) In(rooms ...string) BroadcastOperator { return b.To(rooms...) }

// Except adds rooms whose members are left out. The id of a socket is a room too.
func (b BroadcastOperator) Except(rooms ...string) BroadcastOperator {
	b.opts.Except = append(slices.Clip(b.opts.Except), rooms...)
	return b
}

// Volatile drops the event for those whose connection cannot take it at once.
func (b BroadcastOperator) Volatile() BroadcastOperator { b.opts.Flags.Volatile = true; return b }

// Unlogged keeps the event out of the log: with recovery on, clients that are away miss it.
func (b BroadcastOperator) Unlogged() BroadcastOperator { b.opts.Flags.Unlogged = true; return b }

// Local selects the sockets of this server alone. Such events are not logged.
func (b BroadcastOperator) Local() BroadcastOperator { b.opts.Flags.Local = true; return b }

// Compress asks the transport to compress, or not to.
func (b BroadcastOperator) Compress(compress bool) BroadcastOperator {
	b.opts.Flags.NoCompress = !compress
	return b
}

// Timeout bounds how long EmitWithAck waits. Zero means as long as the context lasts.
func (b BroadcastOperator) Timeout(d time.Duration) BroadcastOperator {
	b.opts.Flags.Timeout = d
	return b
}

// Emit sends an event to the selected sockets. Events for one room reach all of its members in the same order. No
// members is no error. See the package's documentation about sending.
func (b BroadcastOperator) Emit(event string, args ...any) error {
	p, err := eventPacket(b.ns.name, event, args)
	if err != nil {
		return err
	}
	return b.ns.broadcast(p, b.opts)
}

// EmitWithAck sends an event and waits until all selected clients have acknowledged it. When the time is up, or a client
// disconnects instead, it returns the answers that there are with an error that matches [ErrTimeout] or
// [ErrDisconnected]; if other servers of a cluster could not be asked, with what the adapter says of that. A client for which a volatile event was dropped counts as disconnected.
func (b BroadcastOperator) EmitWithAck(ctx context.Context, event string, args ...any) ([]Reply, error) {
	p, err := eventPacket(b.ns.name, event, args)
	if err != nil {
		return nil, err
	}
	var cancel context.CancelFunc
	if d := b.opts.Flags.Timeout; d > 0 {
		ctx, cancel = context.WithTimeout(ctx, d)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	defer cancel() // so that the sockets forget about those who did not answer
	acks := newManyAcks()
	n, failed := b.ns.adapter.BroadcastWithAck(ctx, p, b.opts, acks)
	if failed != nil && n == 0 {
		return nil, failed
	}
	acks.expect(n) // those that could be asked
	replies, err := acks.wait(ctx)
	return replies, errors.Join(failed, err)
}

// FetchSockets describes the selected sockets.
func (b BroadcastOperator) FetchSockets(ctx context.Context) ([]RemoteSocket, error) {
	all, err := b.ns.adapter.FetchSockets(ctx, b.opts)
	sockets := make([]RemoteSocket, len(all))
	for i, details := range all {
		sockets[i] = RemoteSocket{ns: b.ns, details: details}
	}
	return sockets, err
}

// SocketsJoin puts the selected sockets into rooms.
func (b BroadcastOperator) SocketsJoin(rooms ...string) error {
	return b.ns.adapter.AddSockets(b.ns.server.ctx, b.opts, rooms)
}

// SocketsLeave takes the selected sockets out of rooms.
func (b BroadcastOperator) SocketsLeave(rooms ...string) error {
	b.ns.log().settle()
	return b.ns.adapter.DelSockets(b.ns.server.ctx, b.opts, rooms)
}

// DisconnectSockets disconnects the selected sockets, see [Socket.Disconnect].
func (b BroadcastOperator) DisconnectSockets(closeTransport bool) error {
	return b.ns.adapter.DisconnectSockets(b.ns.server.ctx, b.opts, closeTransport)
}

// everyone selects the whole namespace.
func (ns *Namespace) everyone() BroadcastOperator { return BroadcastOperator{ns: ns} }

// To starts a [BroadcastOperator] for the members of rooms.
func (ns *Namespace) To(rooms ...string) BroadcastOperator { return ns.everyone().To(rooms...) }

// In is another name for To.
func (ns *Namespace) In(rooms ...string) BroadcastOperator { return ns.everyone().To(rooms...) }

// Except starts a [BroadcastOperator] for everyone but the members of rooms.
func (ns *Namespace) Except(rooms ...string) BroadcastOperator { return ns.everyone().Except(rooms...) }

// Volatile starts a [BroadcastOperator], see its Volatile.
func (ns *Namespace) Volatile() BroadcastOperator { return ns.everyone().Volatile() }

// Local starts a [BroadcastOperator], see its Local.
func (ns *Namespace) Local() BroadcastOperator { return ns.everyone().Local() }

// Compress starts a [BroadcastOperator], see its Compress.
func (ns *Namespace) Compress(compress bool) BroadcastOperator {
	return ns.everyone().Compress(compress)
}

// Timeout starts a [BroadcastOperator], see its Timeout.
func (ns *Namespace) Timeout(d time.Duration) BroadcastOperator { return ns.everyone().Timeout(d) }

// Emit sends an event to everyone in the namespace, see [BroadcastOperator.Emit].
func (ns *Namespace) Emit(event string, args ...any) error { return ns.everyone().Emit(event, args...) }

// EmitWithAck sends an event to everyone in the namespace, see [BroadcastOperator.EmitWithAck].
func (ns *Namespace) EmitWithAck(ctx context.Context, event string, args ...any) ([]Reply, error) {
	return ns.everyone().EmitWithAck(ctx, event, args...)
}

// FetchSockets describes everyone in the namespace.
func (ns *Namespace) FetchSockets(ctx context.Context) ([]RemoteSocket, error) {
	return ns.everyone().FetchSockets(ctx)
}

// SocketsJoin puts everyone in the namespace into rooms.
func (ns *Namespace) SocketsJoin(rooms ...string) error { return ns.everyone().SocketsJoin(rooms...) }

// SocketsLeave takes everyone in the namespace out of rooms.
func (ns *Namespace) SocketsLeave(rooms ...string) error { return ns.everyone().SocketsLeave(rooms...) }

// DisconnectSockets disconnects everyone in the namespace, see [Socket.Disconnect].
func (ns *Namespace) DisconnectSockets(closeTransport bool) error {
	return ns.everyone().DisconnectSockets(closeTransport)
}

// Broadcast starts a [BroadcastOperator] for everyone in the namespace but this socket.
func (s *Socket) Broadcast() BroadcastOperator { return s.ns.everyone().Except(s.id) }

// To starts a [BroadcastOperator] for the members of rooms but this socket.
func (s *Socket) To(rooms ...string) BroadcastOperator { return s.Broadcast().To(rooms...) }

// In is another name for To.
func (s *Socket) In(rooms ...string) BroadcastOperator { return s.Broadcast().To(rooms...) }

// Except starts a [BroadcastOperator] for everyone but the members of rooms and this socket.
func (s *Socket) Except(rooms ...string) BroadcastOperator { return s.Broadcast().Except(rooms...) }

// Local starts a [BroadcastOperator] for everyone on this server but this socket.
func (s *Socket) Local() BroadcastOperator { return s.Broadcast().Local() }
