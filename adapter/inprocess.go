package adapter

import (
	"context"

	"github.com/twine-realtime/twine/twine/parser"
)

// InProcess is the adapter of a server that stands alone, and the local half of every other adapter.
//
// A broadcast is encoded and framed once, then queued at each member while the rooms that it is for are locked. So two
// broadcasts that have a room in common reach all of its members in the same order, a broadcast to everyone is ordered
// against all others, and a member is either in the room for the whole of a broadcast or not at all.
type InProcess struct {
	host  Host
	index index
}

var _ Adapter = (*InProcess)(nil)

// NewInProcess returns an empty adapter for h.
func NewInProcess(h Host) *InProcess {
	a := &InProcess{host: h}
	a.index.init()
	return a
}

// Memory is the [Constructor] of [InProcess].
func Memory(h Host) (Adapter, error) { return NewInProcess(h), nil }

// Add implements [Adapter].
func (a *InProcess) Add(m Member, rooms ...string) { a.index.add(m, rooms) }

// AddAll implements [Adapter].
func (a *InProcess) AddAll(m Member, rooms ...string) bool { return a.index.addAll(m, rooms) }

// Del implements [Adapter].
func (a *InProcess) Del(m Member, rooms ...string) { a.index.del(m, rooms) }

// DelAll implements [Adapter].
func (a *InProcess) DelAll(m Member) { a.index.delAll(m) }

// Member implements [Adapter].
func (a *InProcess) Member(id string) Member { return a.index.member(id) }

// SocketRooms implements [Adapter].
func (a *InProcess) SocketRooms(id string) []string { return a.index.roomsOf(id) }

// Rooms implements [Adapter].
func (a *InProcess) Rooms() map[string]int { return a.index.sizes() }

// Members implements [Adapter].
func (a *InProcess) Members(o Options) []Member {
	var members []Member
	a.index.each(&o, func(m Member) { members = append(members, m) })
	return members
}

// Occupied reports whether a socket of this server is in any of the rooms; without rooms, whether there is a socket.
func (a *InProcess) Occupied(rooms []string) bool {
	return a.index.each(&Options{Rooms: rooms}, nil) > 0
}

// Deliver prepares d and delivers it to the selected sockets of this server; it returns how many there were. If there
// are none, d is not even encoded. It is what an adapter calls for a broadcast that another server sent or that it read
// from a log. The fields of o that select are used; its Flags are not: d has its own. If its Wire is set, d is taken to be
// prepared.
func (a *InProcess) Deliver(d *Delivery, o Options) (int, error) {
	if d.Wire == nil {
		if a.index.each(&o, nil) == 0 {
			return 0, nil
		}
		// Encoding needs no lock. Who joins in the meantime gets the packet too.
		if err := a.host.Prepare(d); err != nil {
			return 0, err
		}
	}
	return a.index.each(&o, func(m Member) { m.Deliver(d) }), nil
}

// DeliverWithAck is Deliver for an event whose receivers answer to acks until ctx ends. It gives the packet an id.
func (a *InProcess) DeliverWithAck(ctx context.Context, d *Delivery, o Options, acks Acks) (int, error) {
	if a.index.each(&o, nil) == 0 {
		return 0, nil
	}
	p := *d.Packet
	p.ID, p.HasID = a.host.NextAckID(), true
	d.Packet, d.Acks = &p, acks
	if err := a.host.Prepare(d); err != nil {
		return 0, err
	}
	var asked []Member
	a.index.each(&o, func(m Member) {
		asked = append(asked, m)
		m.Deliver(d)
	})
	context.AfterFunc(ctx, func() {
		for _, m := range asked {
			m.Forget(p.ID)
		}
	})
	return len(asked), nil
}

// Broadcast implements [Adapter].
func (a *InProcess) Broadcast(_ context.Context, p *parser.Packet, o Options) error {
	_, err := a.Deliver(&Delivery{Packet: p, Flags: o.Flags}, o)
	return err
}

// BroadcastWithAck implements [Adapter].
func (a *InProcess) BroadcastWithAck(ctx context.Context, p *parser.Packet, o Options, acks Acks) (int, error) {
	return a.DeliverWithAck(ctx, &Delivery{Packet: p, Flags: o.Flags}, o, acks)
}

// Sockets implements [Adapter].
func (a *InProcess) Sockets(_ context.Context, o Options) ([]string, error) {
	var ids []string
	a.index.each(&o, func(m Member) { ids = append(ids, m.ID()) })
	return ids, nil
}

// FetchSockets implements [Adapter]. A socket that ends meanwhile is left out.
func (a *InProcess) FetchSockets(_ context.Context, o Options) ([]Details, error) {
	members := a.Members(o)
	all := make([]Details, 0, len(members))
	for _, m := range members {
		rooms := a.SocketRooms(m.ID())
		if rooms == nil {
			continue
		}
		handshake, data := m.Details()
		all = append(all, Details{ID: m.ID(), Rooms: rooms, Handshake: handshake, Data: data})
	}
	return all, nil
}

// AddSockets implements [Adapter].
func (a *InProcess) AddSockets(_ context.Context, o Options, rooms []string) error {
	for _, m := range a.Members(o) {
		a.AddAll(m, rooms...)
		m.RoomsChanged()
	}
	return nil
}

// DelSockets implements [Adapter].
func (a *InProcess) DelSockets(_ context.Context, o Options, rooms []string) error {
	for _, m := range a.Members(o) {
		a.Del(m, rooms...)
		m.RoomsChanged()
	}
	return nil
}

// DisconnectSockets implements [Adapter].
func (a *InProcess) DisconnectSockets(_ context.Context, o Options, closeTransport bool) error {
	for _, m := range a.Members(o) {
		m.Disconnect(closeTransport)
	}
	return nil
}

// ServerSideEmit implements [Adapter]. There is no other server.
func (a *InProcess) ServerSideEmit(context.Context, []byte, [][]byte) error { return nil }

// ServerSideEmitWithAck implements [Adapter]. There is no other server that could answer.
func (a *InProcess) ServerSideEmitWithAck(context.Context, []byte, [][]byte) ([]Answer, error) {
	return nil, nil
}

// ServerCount implements [Adapter].
func (a *InProcess) ServerCount(context.Context) (int, error) { return 1, nil }

// Close implements [Adapter]. It has nothing to do.
func (a *InProcess) Close() error { return nil }
