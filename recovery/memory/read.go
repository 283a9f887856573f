package memory

import (
	"context"
	"fmt"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/internal/merge"
)

// cursor walks over a run.
type cursor struct {
	ring   *ring
	places []place
	offset recovery.Offset
}

func (c *cursor) Offset() recovery.Offset { return c.offset }

func (c *cursor) Advance() bool {
	if c.places = c.places[1:]; len(c.places) == 0 {
		return false
	}
	c.offset = c.ring.at(c.places[0]).offset()
	return true
}

// Read implements recovery.Log.
func (l *Log) Read(ctx context.Context, ns string, q recovery.Query) (recovery.Page, error) {
	if err := ctx.Err(); err != nil {
		return recovery.Page{}, err
	}
	through, limit, maxBytes := q.Bounds()

	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return recovery.Page{}, recovery.ErrClosed
	}
	s := l.spaces[ns]
	if s == nil {
		s = &space{start: l.born, last: l.born}
	}
	if q.After.Before(s.start) {
		return recovery.Page{}, &recovery.GapError{Namespace: ns, From: q.After, To: s.start}
	}
	if q.After.After(s.last) {
		return recovery.Page{}, fmt.Errorf("%w: %v in namespace %q", recovery.ErrFuture, q.After, ns)
	}
	var runs merge.Runs[*cursor]
	most := 0 // entries of the page
	add := func(r *run) {
		if places := r.after(l, q.After); len(places) > 0 {
			runs.Add(&cursor{&l.ring, places, l.ring.at(places[0]).offset()})
			most += len(places)
		}
	}
	add(&s.everyone)
	for _, room := range q.Rooms {
		if r := s.rooms[room]; r != nil {
			add(r)
		}
	}
	names := names{known: q.Rooms}
	page := recovery.Page{Next: q.After}
	for bytes := 0; len(runs) > 0; {
		first := runs.First()
		if first.offset.After(through) {
			break
		}
		r := l.ring.at(first.places[0])
		bytes += r.size()
		if n := len(page.Entries); n > 0 && (n == limit || bytes > maxBytes) {
			page.More = true
			return page, nil
		}
		if page.Entries == nil {
			// At once: thousands of clients that come back together read such pages.
			page.Entries = make([]recovery.Entry, 0, min(most, limit))
			names.free = make([]string, 0, min(most, limit))
		}
		page.Entries = append(page.Entries, r.entry(&names))
		page.Next = r.offset()
		runs.Skip(page.Next)
	}
	if through.After(s.last) {
		through = s.last
	}
	if through.After(page.Next) {
		page.Next = through
	}
	return page, nil
}

// entry returns the record as an entry that shares its memory, but for the names.
func (r record) entry(n *names) recovery.Entry {
	f := r.fields()
	e := recovery.Entry{Offset: r.offset(), ID: string(f.next())}
	e.Rooms = n.list(&f)
	e.Except = n.list(&f)
	e.Data = f.next()
	if count := f.count(); count > 0 {
		e.Attachments = make([][]byte, count)
		for i := range e.Attachments {
			e.Attachments[i] = f.next()
		}
	}
	return e
}

// names spares a page's entries memory of their own for names of rooms, which are
// mostly those that were asked for.
type names struct {
	known []string
	free  []string // for lists
}

func (n *names) list(f *fields) []string {
	count := f.count()
	if count == 0 {
		return nil
	}
	if cap(n.free)-len(n.free) < count {
		n.free = make([]string, 0, count)
	}
	start := len(n.free)
	for range count {
		n.free = append(n.free, n.name(f.next()))
	}
	return n.free[start:len(n.free):len(n.free)]
}

func (n *names) name(b []byte) string {
	for _, k := range n.known {
		if k == string(b) {
			return k
		}
	}
	return string(b)
}
