package memory

import (
	"sort"

	"github.com/twine-realtime/twine/recovery"
)

// space is the part of the log that belongs to one namespace. Its runs hold
// what the ring holds of it, in the same order.
type space struct {
	number      uint32
	start, last recovery.Offset
	everyone    run
	rooms       map[string]*run
	// ids says by the hash of an ID where it is. Of those that are not found there,
	// since another one has the same hash, clashes knows the offset.
	ids     map[uint64]place
	clashes map[string]recovery.Offset
}

func newSpace(number uint32, at recovery.Offset) *space {
	s := &space{number: number, start: at, last: at}
	s.clear()
	return s
}

// clear forgets all records.
func (s *space) clear() {
	s.everyone, s.rooms = run{}, make(map[string]*run)
	s.ids, s.clashes = make(map[uint64]place), nil
}

func (s *space) add(l *Log, at place) {
	r := l.ring.at(at)
	everyone := r.rooms(func(room []byte) {
		in := s.rooms[string(room)]
		if in == nil {
			in = new(run)
			s.rooms[string(room)] = in
		}
		in.push(at)
	})
	if everyone {
		s.everyone.push(at)
	}
	id := r.id()
	if len(id) == 0 {
		return
	}
	h := l.hash(string(id))
	if before, ok := s.ids[h]; ok && string(l.ring.at(before).id()) != string(id) {
		if s.clashes == nil {
			s.clashes = make(map[string]recovery.Offset)
		}
		s.clashes[string(id)] = r.offset()
		return
	}
	s.ids[h] = at
}

func (s *space) lookup(l *Log, id string) (recovery.Offset, bool) {
	if id == "" {
		return recovery.Offset{}, false
	}
	if at, ok := s.ids[l.hash(id)]; ok {
		if r := l.ring.at(at); string(r.id()) == id {
			return r.offset(), true
		}
	}
	offset, ok := s.clashes[id]
	return offset, ok
}

// remove takes out the record that is in front of the ring, and so the first in all
// its runs.
func (s *space) remove(l *Log, r record) {
	everyone := r.rooms(func(room []byte) {
		in := s.rooms[string(room)]
		if in.pop(); in.empty() {
			delete(s.rooms, string(room))
		}
	})
	if everyone {
		s.everyone.pop()
	}
	s.start = r.offset()
	id := r.id()
	if len(id) == 0 {
		return
	}
	if h := l.hash(string(id)); s.ids[h] == l.ring.front() {
		delete(s.ids, h)
	}
	if s.clashes[string(id)] == r.offset() {
		delete(s.clashes, string(id))
	}
}

// run is a queue of places.
type run struct {
	places []place
	head   int
}

func (r *run) push(p place) { r.places = append(r.places, p) }

func (r *run) empty() bool { return len(r.places) == 0 }

// pop drops the first place. The slice is moved up once half of it is unused,
// which costs a copied place per record in the mean.
func (r *run) pop() {
	r.head++
	if r.head*2 < len(r.places) {
		return
	}
	n := copy(r.places, r.places[r.head:])
	r.places, r.head = r.places[:n], 0
	if cap(r.places) > 1024 && n < cap(r.places)/4 {
		r.places = append(make([]place, 0, 2*n), r.places...)
	}
}

// after returns the places of the records after an offset.
func (r *run) after(l *Log, o recovery.Offset) []place {
	live := r.places[r.head:]
	i := sort.Search(len(live), func(i int) bool { return l.ring.at(live[i]).offset().After(o) })
	return live[i:]
}
