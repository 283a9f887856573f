package redislog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/wire"
	"github.com/twine-realtime/twine/twine/parser"
)

// SequencerOptions describe a Sequencer.
type SequencerOptions = recovery.SharedOptions

// Sequencer is a namespace's part of the stream: it appends entries, hands them
// out, and reads them again. It does what a recovery.Sequencer does for a node
// that stands alone. Its methods may be called concurrently.
type Sequencer struct {
	stream *Stream
	opts   SequencerOptions

	fence  sync.Mutex // held while entries are handed out
	handed recovery.Offset

	waiting int  // entries under way; guarded by Stream.mu
	closed  bool // guarded by Stream.mu
}

var (
	_ recovery.SharedLog       = (*Stream)(nil)
	_ recovery.SharedSequencer = (*Sequencer)(nil)
)

// Join is NewSequencer. It makes the Stream a recovery.SharedLog.
func (s *Stream) Join(ctx context.Context, opts recovery.SharedOptions) (recovery.SharedSequencer, error) {
	q, err := s.NewSequencer(ctx, opts)
	if err != nil {
		return nil, err
	}
	return q, nil
}

// NewSequencer begins to hand out a namespace's entries, from now on. A namespace
// has one Sequencer at a time.
func (s *Stream) NewSequencer(ctx context.Context, opts SequencerOptions) (*Sequencer, error) {
	if opts.Namespace == "" || opts.Deliver == nil || opts.Gap == nil {
		return nil, errors.New("recovery: a sequencer needs a Namespace, a Deliver and a Gap function")
	}
	if err := s.catchUpWithArchive(ctx, opts.Namespace); err != nil {
		return nil, fmt.Errorf("failed to open the log of namespace %q: %w", opts.Namespace, err)
	}
	s.dispatch.Lock()
	defer s.dispatch.Unlock()
	sub := s.subscriber(opts.Namespace)
	if sub.log != nil {
		return nil, fmt.Errorf("recovery: namespace %q has a sequencer", opts.Namespace)
	}
	q := &Sequencer{stream: s, opts: opts, handed: s.position()}
	if opts.Hot != nil {
		if err := opts.Hot.Begin(ctx, opts.Namespace, q.handed); err != nil {
			s.drop(opts.Namespace)
			return nil, fmt.Errorf("failed to open the log of namespace %q: %w", opts.Namespace, err)
		}
	}
	sub.log = q
	return q, nil
}

// catchUpWithArchive makes sure that new offsets are after those that a namespace
// has in the archive: the clock of a new Redis may be behind.
func (s *Stream) catchUpWithArchive(ctx context.Context, ns string) error {
	if s.opts.Archive == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.CommitTimeout)
	defer cancel()
	last, err := s.opts.Archive.Last(ctx, ns)
	if err != nil {
		return err
	}
	e, err := s.begin(ctx, last, recovery.Offset{})
	if err != nil || !e.last.Before(last) {
		return err
	}
	if e, err = s.begin(ctx, last, e.start); err != nil {
		return err
	}
	return s.await(ctx, e.start)
}

// Publish appends an entry to the stream and waits until it is accepted: the
// stream has it, this node has handed it out and, unless the stream is Async,
// the Archive has it. Its offset is the result; that of e is ignored. It takes
// ownership of what e refers to.
//
// If the ID of e is known, nothing is appended: the result is the offset that the
// first one got, and dup is true.
//
// Errors: recovery.ErrNotDurable when it is not certain that the entry is
// accepted, or ctx ended before it was; it may be in the stream, so publish it
// again only with the same ID. recovery.ErrFull and recovery.ErrClosed, and those
// that match wire.ErrMalformed: nothing was appended.
func (q *Sequencer) Publish(ctx context.Context, e recovery.Entry) (offset recovery.Offset, dup bool, err error) {
	p, err := q.pending(e)
	if err != nil {
		return recovery.Offset{}, false, err
	}
	for {
		room, err := q.stream.enqueue(p)
		if err != nil {
			return recovery.Offset{}, false, err
		}
		if room == nil {
			return p.Wait(ctx)
		}
		select {
		case <-room:
		case <-ctx.Done():
			return recovery.Offset{}, false, fmt.Errorf("waiting for room in the queue: %w: %w", recovery.ErrFull, ctx.Err())
		}
	}
}

// Append is Publish without waiting: it fails with recovery.ErrFull where Publish
// would wait for room, and the outcome is the result's. Entries appended by one
// goroutine keep their order.
func (q *Sequencer) Append(e recovery.Entry) (recovery.Pending, error) {
	p, err := q.pending(e)
	if err != nil {
		return nil, err
	}
	room, err := q.stream.enqueue(p)
	switch {
	case room != nil:
		return nil, fmt.Errorf("queue of stream %q: %w", q.stream.opts.Name, recovery.ErrFull)
	case err != nil:
		return nil, err
	}
	return p, nil
}

func (q *Sequencer) pending(e recovery.Entry) (*pending, error) {
	b := wire.Broadcast{Options: wire.Options{Rooms: e.Rooms, Except: e.Except}}
	b.Packet = parser.Packet{Type: parser.Event, Data: e.Data, Attachments: e.Attachments}
	data, err := b.StreamData()
	if err != nil {
		return nil, err
	}
	p := &pending{stream: q.stream, ns: q.opts.Namespace, kind: wire.BroadcastPacket, data: data, id: e.ID, log: q,
		size: e.Size() + len(data)}
	if q.stream.opts.Archive != nil {
		p.entry = &e
	}
	p.archived = q.stream.opts.Archive == nil
	return p, nil
}

// Fence runs f while nothing is being handed out, and tells it the newest offset
// that was. A socket that f adds to its rooms gets everything after the fence
// from Deliver, and nothing up to it. f must not wait for anything that waits for
// a Publish.
func (q *Sequencer) Fence(f func(fence recovery.Offset)) {
	q.fence.Lock()
	defer q.fence.Unlock()
	f(q.handed)
}

// Handed is how far this node is: everything up to there was handed out.
func (q *Sequencer) Handed() recovery.Offset {
	q.fence.Lock()
	defer q.fence.Unlock()
	return q.handed
}

// Close refuses further entries and waits for those that are under way, or for
// ctx. Then Deliver is not called any more. The Stream stays open.
func (q *Sequencer) Close(ctx context.Context) error {
	s := q.stream
	s.mu.Lock()
	q.closed = true
	s.mu.Unlock()
	err := s.drain(ctx, func() int { return q.waiting })
	s.dispatch.Lock()
	defer s.dispatch.Unlock()
	if sub := s.namespaces[q.opts.Namespace]; sub != nil && sub.log == q {
		sub.log = nil
		s.drop(q.opts.Namespace)
	}
	return err
}

// handOut hands out entries of the namespace, whose Data are parts of a reply. It
// needs Stream.dispatch.
func (q *Sequencer) handOut(entries []recovery.Entry) {
	last := entries[len(entries)-1].Offset
	if err := q.keep(entries); err != nil {
		err = errors.Join(err, q.opts.Hot.Begin(context.Background(), q.opts.Namespace, last))
		q.stream.opts.Logger.Warn("recovery: the hot log missed entries", "namespace", q.opts.Namespace, "error", err)
	}
	q.fence.Lock()
	defer q.fence.Unlock()
	q.opts.Deliver(entries)
	q.handed = last
}

// adopter is a HotLog that copies what it keeps, such as memory.Log.
type adopter interface {
	// Adopt is Append. When it returns nil, the Data of the entries are the log's own
	// copies; otherwise they are as they were.
	Adopt(ctx context.Context, ns string, entries []recovery.Entry) error
}

// keep puts entries into the hot log, if there is one, and gives them Data that stay.
func (q *Sequencer) keep(entries []recovery.Entry) error {
	ctx := context.Background() // it is in memory
	var failure error
	if hot, ok := q.opts.Hot.(adopter); ok {
		if failure = hot.Adopt(ctx, q.opts.Namespace, entries); failure == nil {
			return nil
		}
	}
	for i := range entries {
		entries[i].Data = bytes.Clone(entries[i].Data)
	}
	if failure != nil || q.opts.Hot == nil {
		return failure
	}
	return q.opts.Hot.Append(ctx, q.opts.Namespace, entries)
}

// moveTo notes that there is nothing more up to an offset. It needs Stream.dispatch.
func (q *Sequencer) moveTo(to recovery.Offset) {
	q.fence.Lock()
	defer q.fence.Unlock()
	q.handed = to
	if q.opts.Moved != nil {
		q.opts.Moved(to)
	}
}

// skip goes on behind a hole. It needs Stream.dispatch.
func (q *Sequencer) skip(to recovery.Offset) {
	q.fence.Lock()
	defer q.fence.Unlock()
	q.opts.Gap(&recovery.GapError{Namespace: q.opts.Namespace, From: q.handed, To: to})
	if q.opts.Hot != nil {
		if err := q.opts.Hot.Begin(context.Background(), q.opts.Namespace, to); err != nil {
			q.stream.opts.Logger.Warn("recovery: the hot log can't begin anew", "namespace", q.opts.Namespace, "error", err)
		}
	}
	q.handed = to
	if q.opts.Moved != nil {
		q.opts.Moved(to)
	}
}
