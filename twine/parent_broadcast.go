package twine

import (
	"errors"

	"github.com/twine-realtime/twine/adapter"
)

// ParentOperator is [BroadcastOperator] for the sockets of all of a parent's children: those that exist on this server when
// something is sent, and their sockets on all servers of the cluster. It is an immutable value: each method returns another
// one, so it may be kept and shared.
//
// A child that fails does not keep the others from being reached; the errors are joined. What asks for answers is for
// each of [ParentNamespace.Children] to do.
type ParentOperator struct {
	parent *ParentNamespace
	opts   adapter.Options
}

// with returns o changed as f changes an operator of one namespace.
func (o ParentOperator) with(f func(b BroadcastOperator) BroadcastOperator) ParentOperator {
	o.opts = f(BroadcastOperator{opts: o.opts}).opts
	return o
}

// To adds rooms: their members are selected, each once. Without rooms, everyone in the children is.
func (o ParentOperator) To(rooms ...string) ParentOperator {
	return o.with(func(b BroadcastOperator) BroadcastOperator { return b.To(rooms...) })
}

// In is another name for To.
func (o ParentOperator) In(rooms ...string) ParentOperator { return o.To(rooms...) }

// Except adds rooms whose members are left out. The id of a socket is a room too.
func (o ParentOperator) Except(rooms ...string) ParentOperator {
	return o.with(func(b BroadcastOperator) BroadcastOperator { return b.Except(rooms...) })
}

// Volatile is [BroadcastOperator.Volatile].
func (o ParentOperator) Volatile() ParentOperator { return o.with(BroadcastOperator.Volatile) }

// Unlogged is [BroadcastOperator.Unlogged].
func (o ParentOperator) Unlogged() ParentOperator { return o.with(BroadcastOperator.Unlogged) }

// Local selects the sockets of this server alone. Such events are not logged.
func (o ParentOperator) Local() ParentOperator { return o.with(BroadcastOperator.Local) }

// Compress asks the transport to compress, or not to.
func (o ParentOperator) Compress(compress bool) ParentOperator {
	return o.with(func(b BroadcastOperator) BroadcastOperator { return b.Compress(compress) })
}

func (o ParentOperator) each(f func(b BroadcastOperator) error) error {
	var errs []error
	for _, ns := range o.parent.Children() {
		errs = append(errs, f(BroadcastOperator{ns: ns, opts: o.opts}))
	}
	return errors.Join(errs...)
}

// Emit sends an event to the selected sockets, see [BroadcastOperator.Emit].
func (o ParentOperator) Emit(event string, args ...any) error {
	return o.each(func(b BroadcastOperator) error { return b.Emit(event, args...) })
}

// SocketsJoin puts the selected sockets into rooms.
func (o ParentOperator) SocketsJoin(rooms ...string) error {
	return o.each(func(b BroadcastOperator) error { return b.SocketsJoin(rooms...) })
}

// SocketsLeave takes the selected sockets out of rooms.
func (o ParentOperator) SocketsLeave(rooms ...string) error {
	return o.each(func(b BroadcastOperator) error { return b.SocketsLeave(rooms...) })
}

// DisconnectSockets disconnects the selected sockets, see [Socket.Disconnect].
func (o ParentOperator) DisconnectSockets(closeTransport bool) error {
	return o.each(func(b BroadcastOperator) error { return b.DisconnectSockets(closeTransport) })
}

// everyone selects all sockets of all children.
func (p *ParentNamespace) everyone() ParentOperator { return ParentOperator{parent: p} }

// To starts a [ParentOperator] for the members of rooms.
func (p *ParentNamespace) To(rooms ...string) ParentOperator { return p.everyone().To(rooms...) }

// In is another name for To.
func (p *ParentNamespace) In(rooms ...string) ParentOperator { return p.everyone().To(rooms...) }

// Except starts a [ParentOperator] for everyone but the members of rooms.
func (p *ParentNamespace) Except(rooms ...string) ParentOperator {
	return p.everyone().Except(rooms...)
}

// Volatile starts a [ParentOperator], see its Volatile.
func (p *ParentNamespace) Volatile() ParentOperator { return p.everyone().Volatile() }

// Local starts a [ParentOperator], see its Local.
func (p *ParentNamespace) Local() ParentOperator { return p.everyone().Local() }

// Compress starts a [ParentOperator], see its Compress.
func (p *ParentNamespace) Compress(compress bool) ParentOperator {
	return p.everyone().Compress(compress)
}

// Emit sends an event to the sockets of all children, see [BroadcastOperator.Emit].
func (p *ParentNamespace) Emit(event string, args ...any) error {
	return p.everyone().Emit(event, args...)
}

// SocketsJoin puts the sockets of all children into rooms.
func (p *ParentNamespace) SocketsJoin(rooms ...string) error {
	return p.everyone().SocketsJoin(rooms...)
}

// SocketsLeave takes the sockets of all children out of rooms.
func (p *ParentNamespace) SocketsLeave(rooms ...string) error {
	return p.everyone().SocketsLeave(rooms...)
}

// DisconnectSockets disconnects the sockets of all children, see [Socket.Disconnect].
func (p *ParentNamespace) DisconnectSockets(closeTransport bool) error {
	return p.everyone().DisconnectSockets(closeTransport)
}
