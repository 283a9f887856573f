package memory

import (
	"context"
	"fmt"
	"sort"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/internal/merge"
)

// cursor walks over a run.
type cursor struct{ items []*item }

func (c *cursor) Offset() recovery.Offset { return c.items[0].entry.Offset }

func (c *cursor) Advance() bool {
	c.items = c.items[1:]
	return len(c.items) > 0
}

func (r *run) after(o recovery.Offset) []*item {
	live := r.live()
	i := sort.Search(len(live), func(i int) bool { return live[i].entry.Offset.After(o) })
	return live[i:]
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
		if items := r.after(q.After); len(items) > 0 {
			runs.Add(&cursor{items})
			most += len(items)
		}
	}
	add(&s.everyone)
	for _, room := range q.Rooms {
		if r := s.rooms[room]; r != nil {
			add(r)
		}
	}
	page := recovery.Page{Next: q.After}
	for bytes := 0; len(runs) > 0; {
		it := runs.First().items[0]
		if it.entry.Offset.After(through) {
			break
		}
		bytes += it.size
		if n := len(page.Entries); n > 0 && (n == limit || bytes > maxBytes) {
			page.More = true
			return page, nil
		}
		if page.Entries == nil {
			// At once: thousands of clients that come back together read such pages.
			page.Entries = make([]recovery.Entry, 0, min(most, limit))
		}
		page.Entries = append(page.Entries, it.entry)
		page.Next = it.entry.Offset
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
