package adapter

import "slices"

// A room with more members than this has a map to find one of them. Most rooms are tiny, every socket's own for one,
// and a short search costs less than a map.
const searchLimit = 16

// room is a set of members that is fast to walk through. It is guarded by the lock of its shard.
type room struct {
	name      string
	members   []*entry
	positions map[*entry]int // in members, nil while the room is small
	first     [1]*entry      // where members starts, so that a room of one needs no array of its own
}

func newRoom(name string) *room {
	r := &room{name: name}
	r.members = r.first[:0]
	return r
}

func (r *room) position(e *entry) int {
	if r.positions == nil {
		return slices.Index(r.members, e)
	}
	if i, ok := r.positions[e]; ok {
		return i
	}
	return -1
}

func (r *room) has(e *entry) bool { return r.position(e) >= 0 }

// add adds e, which must not be in the room.
func (r *room) add(e *entry) {
	r.members = append(r.members, e)
	switch n := len(r.members); {
	case r.positions != nil:
		r.positions[e] = n - 1
	case n > searchLimit:
		r.positions = make(map[*entry]int, 2*n)
		for i, member := range r.members {
			r.positions[member] = i
		}
	}
	if len(r.members) == 2 {
		r.first[0] = nil // members has moved to an array of its own
	}
}

func (r *room) remove(e *entry) {
	i := r.position(e)
	if i < 0 {
		return
	}
	last := len(r.members) - 1
	moved := r.members[last]
	r.members[i] = moved
	r.members[last] = nil
	r.members = shrunk(r.members[:last])
	if r.positions == nil {
		return
	}
	if last <= searchLimit/2 {
		r.positions = nil
		return
	}
	delete(r.positions, e)
	if moved != e {
		r.positions[moved] = i
	}
}

// shrunk gives memory back once three quarters of it are unused.
func shrunk(members []*entry) []*entry {
	if c := cap(members); c < 64 || len(members) > c/4 {
		return members
	}
	return append(make([]*entry, 0, 2*len(members)), members...)
}
