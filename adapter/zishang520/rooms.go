package zishang520

import (
	"slices"

	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/adapter"
)

// member returns nil for a socket that is not connected.
func (b *bridge) member(id socket.SocketId) *member {
	m, _ := b.cluster.Member(string(id)).(*member)
	return m
}

// AddAll implements [socket.Adapter].
func (b *bridge) AddAll(id socket.SocketId, rooms *types.Set[socket.Room]) {
	b.mu.Lock()
	m := b.member(id)
	switch {
	case m != nil:
		b.cluster.AddAll(m, names(rooms)...)
	case rooms.Has(socket.Room(id)):
		// That is how the library begins to connect a socket.
		m = &member{b: b, id: id}
		b.cluster.Add(m, append(b.early[id], names(rooms)...)...)
		delete(b.early, id)
	default:
		b.early[id] = append(b.early[id], names(rooms)...)
	}
	b.mu.Unlock()
	if m == nil {
		b.Adapter.AddAll(id, rooms)
		return
	}
	m.reflect()
}

// Del implements [socket.Adapter].
func (b *bridge) Del(id socket.SocketId, room socket.Room) {
	m := b.member(id)
	if m == nil {
		b.mu.Lock()
		if rooms, ok := b.early[id]; ok {
			b.early[id] = slices.DeleteFunc(rooms, func(name string) bool { return name == string(room) })
		}
		b.mu.Unlock()
		b.Adapter.Del(id, room)
		return
	}
	b.history.settle()
	b.cluster.Del(m, string(room))
	m.reflect()
}

// DelAll implements [socket.Adapter].
func (b *bridge) DelAll(id socket.SocketId) {
	b.mu.Lock()
	delete(b.early, id)
	m := b.member(id)
	b.mu.Unlock()
	if m == nil {
		b.Adapter.DelAll(id)
		return
	}
	b.cluster.DelAll(m)
	m.ended()
	m.reflect()
}

// reflect brings the library's maps up to date for one socket.
func (b *bridge) reflect(id socket.SocketId) {
	want := b.cluster.SocketRooms(string(id))
	if want == nil {
		b.Adapter.DelAll(id)
		return
	}
	wanted := setOf(want)
	if has := b.Adapter.SocketRooms(id); has != nil {
		for _, room := range has.Keys() {
			if !wanted.Has(room) {
				b.Adapter.Del(id, room)
			}
			wanted.Delete(room)
		}
	}
	b.Adapter.AddAll(id, wanted)
}

// SocketRooms implements [socket.Adapter]. The caller owns the result.
func (b *bridge) SocketRooms(id socket.SocketId) *types.Set[socket.Room] {
	if rooms := b.cluster.SocketRooms(string(id)); rooms != nil {
		return setOf(rooms)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if rooms, ok := b.early[id]; ok {
		return setOf(rooms)
	}
	return nil
}

// Sockets implements [socket.Adapter]: those of this server, as it is with the
// library's own adapters.
func (b *bridge) Sockets(rooms *types.Set[socket.Room]) *types.Set[socket.SocketId] {
	ids := types.NewSet[socket.SocketId]()
	for _, m := range b.cluster.Members(adapter.Options{Rooms: names(rooms)}) {
		if m := m.(*member); m.socket() != nil {
			ids.Add(m.id)
		}
	}
	return ids
}

func names(rooms *types.Set[socket.Room]) []string {
	if rooms == nil {
		return nil
	}
	return plain(rooms.Keys())
}

func plain(rooms []socket.Room) []string {
	out := make([]string, len(rooms))
	for i, room := range rooms {
		out[i] = string(room)
	}
	return out
}

func setOf(rooms []string) *types.Set[socket.Room] {
	set := types.NewSet[socket.Room]()
	for _, room := range rooms {
		set.Add(socket.Room(room))
	}
	return set
}
