package redislog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/wire"
)

var _ recovery.Reader = (*Sequencer)(nil)

const (
	// scanCount is how many entries of the stream, of all namespaces and rooms,
	// are looked at in one call.
	scanCount = 512
	// scanCalls is how many calls one Read makes at most. A page may be short
	// because of it, and says that there is more.
	scanCalls = 16
)

// Read returns one page of the namespace's history, as a recovery.Log does: from
// the hot log if that has it, else from the stream, else from the archive. A
// position that this node has not reached yet, because the client was connected
// to another one, is waited for, so that the fence of a socket which joins
// afterwards is not before it.
func (q *Sequencer) Read(ctx context.Context, ns string, query recovery.Query) (recovery.Page, error) {
	if ns != q.opts.Namespace {
		return recovery.Page{}, fmt.Errorf("recovery: read of namespace %q in the log of %q", ns, q.opts.Namespace)
	}
	handed := q.Handed()
	if query.After.After(handed) {
		e, err := q.stream.extent(ctx)
		if err != nil {
			return recovery.Page{}, err
		}
		if query.After.After(e.last) {
			return recovery.Page{}, fmt.Errorf("%w: %v in namespace %q", recovery.ErrFuture, query.After, ns)
		}
		if err := q.stream.await(ctx, query.After); err != nil {
			return recovery.Page{}, err
		}
		handed = q.Handed()
	}
	if q.opts.Hot != nil {
		if page, ok := q.readHot(ctx, query, handed); ok {
			return page, nil
		}
	}
	page, err := q.stream.scan(ctx, ns, query)
	var gap *recovery.GapError
	if errors.As(err, &gap) && q.stream.opts.Archive != nil {
		return q.readArchive(ctx, query, gap.To)
	}
	return page, err
}

// readHot reads from the hot log. What it has is complete up to handed, whether
// or not its newest entry is that.
func (q *Sequencer) readHot(ctx context.Context, query recovery.Query, handed recovery.Offset) (recovery.Page, bool) {
	end := handed
	if through, _, _ := query.Bounds(); through.Before(end) {
		end = through
	}
	start, err1 := q.opts.Hot.Start(ctx, q.opts.Namespace)
	last, err2 := q.opts.Hot.Last(ctx, q.opts.Namespace)
	if err1 != nil || err2 != nil || query.After.Before(start) {
		return recovery.Page{}, false
	}
	if query.After.After(last) || !query.After.Before(end) {
		return recovery.Page{Next: later(query.After, end)}, true
	}
	query.Through = end
	page, err := q.opts.Hot.Read(ctx, q.opts.Namespace, query)
	if err != nil {
		return recovery.Page{}, false
	}
	if !page.More {
		page.Next = end
	}
	return page, true
}

func later(a, b recovery.Offset) recovery.Offset {
	if a.Before(b) {
		return b
	}
	return a
}

// readArchive reads what is not in the stream any more, up to where that starts.
func (q *Sequencer) readArchive(ctx context.Context, query recovery.Query, start recovery.Offset) (recovery.Page, error) {
	through, _, _ := query.Bounds()
	end := start
	if through.Before(end) {
		end = through
	}
	query.Through = end
	page, err := q.stream.opts.Archive.Read(ctx, q.opts.Namespace, query)
	switch {
	case errors.Is(err, recovery.ErrFuture):
		page = recovery.Page{}
	case err != nil:
		return recovery.Page{}, err
	case page.More || page.Next.After(query.After) && page.Next.Before(end):
		page.More = true
		return page, nil
	}
	// There is nothing after the position, or the page goes to the end: what was
	// accepted before the stream starts is in the archive.
	page.Next, page.More = end, end.Before(through)
	return page, nil
}

// Start is the offset after which the history is complete.
func (q *Sequencer) Start(ctx context.Context, ns string) (recovery.Offset, error) {
	if q.stream.opts.Archive != nil {
		return q.stream.opts.Archive.Start(ctx, ns)
	}
	e, err := q.stream.extent(ctx)
	return e.start, err
}

// Last is the newest offset in the stream.
func (q *Sequencer) Last(ctx context.Context, _ string) (recovery.Offset, error) {
	e, err := q.stream.extent(ctx)
	return e.last, err
}

// extent asks where the history in the stream starts and ends.
func (s *Stream) extent(ctx context.Context) (extent, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	e, err := toExtent(s.evalExtent(ctx, s.rdb))
	if err != nil {
		return extent{}, fmt.Errorf("failed to look at stream %q: %w", s.opts.Name, err)
	}
	return e, nil
}

// scan reads a page from the stream.
func (s *Stream) scan(ctx context.Context, ns string, q recovery.Query) (recovery.Page, error) {
	e, err := s.extent(ctx)
	if err != nil {
		return recovery.Page{}, err
	}
	if q.After.After(e.last) {
		return recovery.Page{}, fmt.Errorf("%w: %v in namespace %q", recovery.ErrFuture, q.After, ns)
	}
	through, limit, maxBytes := q.Bounds()
	if e.last.Before(through) {
		through = e.last
	}
	page := recovery.Page{Next: q.After}
	bytes := 0
	for range scanCalls {
		if !page.Next.Before(through) && !q.After.Before(e.start) {
			return page, nil
		}
		records, start, err := s.scanOnce(ctx, page.Next, through)
		if err != nil {
			return recovery.Page{}, err
		}
		if page.Next.Before(start) {
			if page.Next != q.After {
				break // trimmed meanwhile, which is for the next page to say
			}
			return recovery.Page{}, &recovery.GapError{Namespace: ns, From: q.After, To: start}
		}
		for i := range records {
			if entry := records[i].wanted(ns, q.Rooms); entry != nil {
				bytes += entry.Size()
				if n := len(page.Entries); n > 0 && (n == limit || bytes > maxBytes) {
					page.More = true
					return page, nil
				}
				page.Entries = append(page.Entries, *entry)
			}
			page.Next = records[i].offset
		}
		if len(records) < scanCount {
			page.Next = through
			return page, nil
		}
	}
	page.More = true
	return page, nil
}

// scanOnce reads some entries of the stream, and where it starts afterwards.
func (s *Stream) scanOnce(ctx context.Context, after, through recovery.Offset) ([]record, recovery.Offset, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	var entries *redis.RawCmd
	var check *redis.Cmd
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		entries = redis.NewRawCmd(ctx, "xrange", s.opts.Name, "("+after.String(), through.String(), "count", scanCount)
		p.Process(ctx, entries) // it is queued, which does not fail
		check = s.evalExtent(ctx, p)
		return nil
	})
	if err != nil {
		return nil, recovery.Offset{}, fmt.Errorf("failed to read stream %q: %w", s.opts.Name, err)
	}
	e, err := toExtent(check)
	if err != nil {
		return nil, recovery.Offset{}, fmt.Errorf("failed to read stream %q: %w", s.opts.Name, err)
	}
	records, err := rangeReply(entries.Val())
	return records, e.start, err
}

// wanted returns a stream entry as one of a namespace's history, if it is
// addressed to any of the rooms. A malformed one was never handed out, either.
func (r *record) wanted(ns string, rooms []string) *recovery.Entry {
	if string(r.namespace) != ns || r.unlogged {
		return nil
	}
	var b wire.Broadcast
	if ok, err := r.broadcast(&b); !ok || err != nil || !b.Recoverable() {
		return nil
	}
	if named := b.Options.Rooms; len(named) > 0 &&
		!slices.ContainsFunc(named, func(r string) bool { return slices.Contains(rooms, r) }) {
		return nil
	}
	e := r.entry(&b)
	e.Data = bytes.Clone(e.Data) // a page with few entries would keep the whole reply
	return &e
}
