package adapter

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
)

// Lock order: memberShard.mu, then roomShard.mu in ascending order of their index, then index.allMu.
//
// Who changes the rooms of a member holds the lock of its memberShard for the whole change and that of one roomShard at
// a time. Who broadcasts holds the locks of all roomShards concerned, and no memberShard.

const shardCount = 64 // the bits of a shardSet

// index knows who is in which room. Rooms and members are spread over shards, so that joins and broadcasts to different
// rooms rarely wait for each other. A room exists exactly as long as it has members.
type index struct {
	seed    maphash.Seed
	members [shardCount]memberShard
	rooms   [shardCount]roomShard

	allMu sync.Mutex
	all   []*entry // everyone in the namespace
}

type memberShard struct {
	mu      sync.Mutex
	entries map[string]*entry // by member id
}

type roomShard struct {
	mu    sync.Mutex
	rooms map[string]*room
}

// entry is a member and the rooms it is in.
type entry struct {
	member Member
	rooms  []*room // guarded by memberShard.mu
	pos    int     // in index.all, guarded by index.allMu
}

func (x *index) init() { x.seed = maphash.MakeSeed() }

func (x *index) shardOf(name string) int {
	return int(maphash.String(x.seed, name) % shardCount)
}

func (x *index) add(m Member, rooms []string) {
	id := m.ID()
	shard := &x.members[x.shardOf(id)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if old := shard.entries[id]; old != nil {
		x.drop(old)
	}
	if shard.entries == nil {
		shard.entries = make(map[string]*entry)
	}
	e := &entry{member: m, rooms: make([]*room, 0, len(rooms))}
	shard.entries[id] = e
	for _, name := range rooms {
		x.join(e, name)
	}
	x.allMu.Lock()
	e.pos = len(x.all)
	x.all = append(x.all, e)
	x.allMu.Unlock()
}

// withEntry calls f with the entry of m, its memberShard locked. It reports false if m is not a member.
func (x *index) withEntry(m Member, f func(shard *memberShard, e *entry)) bool {
	id := m.ID()
	shard := &x.members[x.shardOf(id)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	e := shard.entries[id]
	if e == nil || e.member != m {
		return false
	}
	f(shard, e)
	return true
}

func (x *index) addAll(m Member, rooms []string) bool {
	return x.withEntry(m, func(_ *memberShard, e *entry) {
		for _, name := range rooms {
			x.join(e, name)
		}
	})
}

func (x *index) del(m Member, rooms []string) {
	x.withEntry(m, func(_ *memberShard, e *entry) {
		for _, name := range rooms {
			if i := slices.IndexFunc(e.rooms, func(r *room) bool { return r.name == name }); i >= 0 {
				x.leave(e, e.rooms[i])
				e.rooms = slices.Delete(e.rooms, i, i+1)
			}
		}
	})
}

func (x *index) delAll(m Member) {
	x.withEntry(m, func(shard *memberShard, e *entry) {
		delete(shard.entries, m.ID())
		x.drop(e)
	})
}

// drop takes e out of everything but its memberShard, which is locked.
func (x *index) drop(e *entry) {
	for _, r := range e.rooms {
		x.leave(e, r)
	}
	e.rooms = nil

	x.allMu.Lock()
	defer x.allMu.Unlock()
	last := len(x.all) - 1
	moved := x.all[last]
	x.all[e.pos] = moved
	moved.pos = e.pos
	x.all[last] = nil
	x.all = shrunk(x.all[:last])
}

func (x *index) join(e *entry, name string) {
	shard := &x.rooms[x.shardOf(name)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	r := shard.rooms[name]
	switch {
	case r == nil:
		r = newRoom(name)
		if shard.rooms == nil {
			shard.rooms = make(map[string]*room)
		}
		shard.rooms[name] = r
	case r.has(e):
		return
	}
	r.add(e)
	e.rooms = append(e.rooms, r)
}

func (x *index) leave(e *entry, r *room) {
	shard := &x.rooms[x.shardOf(r.name)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	r.remove(e)
	if len(r.members) == 0 {
		delete(shard.rooms, r.name)
	}
}

func (x *index) member(id string) Member {
	shard := &x.members[x.shardOf(id)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if e := shard.entries[id]; e != nil {
		return e.member
	}
	return nil
}

func (x *index) roomsOf(id string) []string {
	shard := &x.members[x.shardOf(id)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	e := shard.entries[id]
	if e == nil {
		return nil
	}
	names := make([]string, len(e.rooms))
	for i, r := range e.rooms {
		names[i] = r.name
	}
	return names
}

func (x *index) sizes() map[string]int {
	sizes := make(map[string]int)
	for i := range x.rooms {
		shard := &x.rooms[i]
		shard.mu.Lock()
		for name, r := range shard.rooms {
			sizes[name] = len(r.members)
		}
		shard.mu.Unlock()
	}
	return sizes
}

// shardSet is a set of roomShards, one bit each.
type shardSet uint64

func (x *index) lock(set shardSet) {
	for rest := uint64(set); rest != 0; rest &= rest - 1 {
		x.rooms[bits.TrailingZeros64(rest)].mu.Lock()
	}
}

func (x *index) unlock(set shardSet) {
	for rest := uint64(set); rest != 0; rest &= rest - 1 {
		x.rooms[bits.TrailingZeros64(rest)].mu.Unlock()
	}
}

// each calls f for every selected member once, while the rooms concerned are locked, and returns how many there were.
// So calls with a room in common run one after the other, and so do a call for everyone and any other call. If f is
// nil, each only counts, and may stop at 1.
func (x *index) each(o *Options, f func(Member)) int {
	if len(o.Rooms) == 0 {
		const everything = ^shardSet(0)
		x.lock(everything)
		defer x.unlock(everything)
		x.allMu.Lock()
		defer x.allMu.Unlock()
		var exceptBuf [8]*room
		return visit(x.all, nil, x.find(o.Except, exceptBuf[:0]), f)
	}

	if len(o.Rooms) == 1 && len(o.Except) == 0 {
		shard := &x.rooms[x.shardOf(o.Rooms[0])]
		shard.mu.Lock()
		defer shard.mu.Unlock()
		if r := shard.rooms[o.Rooms[0]]; r != nil {
			return visit(r.members, nil, nil, f)
		}
		return 0
	}

	var set shardSet
	for _, name := range o.Rooms {
		set |= 1 << x.shardOf(name)
	}
	for _, name := range o.Except {
		set |= 1 << x.shardOf(name)
	}
	x.lock(set)
	defer x.unlock(set)

	var roomsBuf, exceptBuf [8]*room
	rooms := x.find(o.Rooms, roomsBuf[:0])
	except := x.find(o.Except, exceptBuf[:0])
	n := 0
	for i, r := range rooms {
		if n += visit(r.members, rooms[:i], except, f); n > 0 && f == nil {
			break
		}
	}
	return n
}

// find appends those of the rooms that exist, each once, to dst. Their shards are locked.
func (x *index) find(names []string, dst []*room) []*room {
	for _, name := range names {
		if r := x.rooms[x.shardOf(name)].rooms[name]; r != nil && !slices.Contains(dst, r) {
			dst = append(dst, r)
		}
	}
	return dst
}

// visit calls f for the members that are in none of the rooms done and except. It looks members up in rooms instead of
// collecting them in a set, so that a broadcast allocates nothing for its receivers.
func visit(members []*entry, done, except []*room, f func(Member)) int {
	n := 0
	for _, e := range members {
		if inAny(e, done) || inAny(e, except) {
			continue
		}
		n++
		if f == nil {
			break
		}
		f(e.member)
	}
	return n
}

func inAny(e *entry, rooms []*room) bool {
	for _, r := range rooms {
		if r.has(e) {
			return true
		}
	}
	return false
}
