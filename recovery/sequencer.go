package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Durability says when a publisher is told that its message is accepted.
type Durability int

const (
	// Sync: once the durable log has it. An accepted message outlives a crash.
	Sync Durability = iota
	// Async: once it was handed out. A crash may lose what the durable log has
	// not taken over yet, which is bounded by MaxQueued and MaxQueuedBytes.
	Async
)

// SequencerOptions describe a Sequencer. Namespace and Deliver are required.
type SequencerOptions struct {
	Namespace string

	// Durable is the deepest log, the one an accepted message is in. Nil: the
	// messages are no more durable than Hot. The Sequencer must be the only one
	// to append to the namespace. It does not close the log.
	Durable Log

	// Hot gets every entry right before it is handed out; nil: none. The
	// Sequencer does not close it.
	Hot HotLog

	// Deliver hands entries out to local sockets. It is called with ascending
	// entries, from one goroutine at a time, and never for an entry twice. It
	// must not block, nor call the Sequencer. The slice and what it refers to
	// may be kept and must not be modified.
	Deliver func(entries []Entry)

	Durability Durability

	// What may wait: entries that are queued and, with Async, those the durable
	// log has not got. Past it Publish waits (Sync) or fails with ErrFull
	// (Async). Zero: 65,536 entries, 64 MiB in terms of Entry.Size.
	MaxQueued, MaxQueuedBytes int

	// What goes to the durable log at once. Zero: 1,024 entries, 4 MiB.
	MaxBatch, MaxBatchBytes int

	// CommitTimeout is how long one call of the durable log may take. Zero: 10 s.
	CommitTimeout time.Duration

	// RetryDelay is the pause before the durable log is asked again after a
	// failure that is to be retried. Zero: 250 ms.
	RetryDelay time.Duration

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default
}

func (o SequencerOptions) withDefaults() SequencerOptions {
	setDefault(&o.MaxQueued, 65536)
	setDefault(&o.MaxQueuedBytes, 64<<20)
	setDefault(&o.MaxBatch, 1024)
	setDefault(&o.MaxBatchBytes, 4<<20)
	setDefault(&o.CommitTimeout, 10*time.Second)
	setDefault(&o.RetryDelay, 250*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Sequencer gives the entries of one namespace their offsets, brings them into
// the logs, and hands them out: the one place where the order of a namespace is
// decided. See the package documentation for the steps and why they come in
// this order.
//
// Its methods may be called concurrently.
type Sequencer struct {
	opts SequencerOptions

	mu       sync.Mutex
	queue    []*pending
	waiting  int // entries counted against MaxQueued
	bytes    int
	inFlight map[string]*pending // by ID, until the durable log has the entry
	room     chan struct{}       // closed when waiting goes down; nil: nobody waits
	closed   bool

	wake    chan struct{} // the queue has something, or closed was set
	handing chan batch    // committed (or, with Async, numbered), to be handed out
	backlog *backlog      // Async: handed out, to be committed; nil with Sync

	last Offset // newest assigned; owned by the sequencing goroutine

	fence  sync.Mutex // held while entries are handed out
	handed Offset     // newest handed out; guarded by fence

	base   context.Context // ends when Close gives up
	cancel context.CancelFunc
	done   chan struct{} // closed when all goroutines have ended
	lost   int           // Async: entries given up by Close; valid after done
}

// pending is an entry on its way and, once done is closed, what became of it.
type pending struct {
	entry Entry
	size  int
	done  chan struct{}
	dup   bool
	err   error
}

// batch is what the durable log takes at once, and whom to tell.
type batch struct {
	entries []Entry
	waiters []*pending
}

// handle is the Pending of an entry, or of one that repeats it.
type handle struct {
	p      *pending
	joined bool
}

// NewSequencer starts the sequencer of a namespace, after the newest entry that
// its logs have. Close it to stop its goroutines.
func NewSequencer(ctx context.Context, opts SequencerOptions) (*Sequencer, error) {
	opts = opts.withDefaults()
	if opts.Namespace == "" || opts.Deliver == nil {
		return nil, errors.New("recovery: a sequencer needs a Namespace and a Deliver function")
	}
	s := &Sequencer{
		opts:     opts,
		inFlight: make(map[string]*pending),
		wake:     make(chan struct{}, 1),
		handing:  make(chan batch, 1),
		done:     make(chan struct{}),
	}
	if err := s.resume(ctx); err != nil {
		return nil, fmt.Errorf("failed to resume the log of namespace %q: %w", opts.Namespace, err)
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	if opts.Durability == Async && opts.Durable != nil {
		s.backlog = &backlog{wake: make(chan struct{}, 1)}
	}
	var running sync.WaitGroup
	running.Go(s.sequence)
	running.Go(s.handOut)
	if s.backlog != nil {
		running.Go(s.writeBehind)
	}
	go func() {
		running.Wait()
		s.cancel()
		close(s.done)
	}()
	return s, nil
}

// resume finds out where the log ends. A hot log that follows a durable one is
// told; one that stands alone knows by itself.
func (s *Sequencer) resume(ctx context.Context) error {
	ns := s.opts.Namespace
	if s.opts.Durable == nil && s.opts.Hot == nil {
		s.last = OffsetAt(s.opts.Now())
	}
	if s.opts.Durable != nil {
		last, err := s.opts.Durable.Last(ctx, ns)
		if err != nil {
			return err
		}
		s.last = last
		if s.opts.Hot != nil {
			if err := s.opts.Hot.Begin(ctx, ns, last); err != nil {
				return err
			}
		}
	}
	if s.opts.Hot != nil {
		last, err := s.opts.Hot.Last(ctx, ns)
		if err != nil {
			return err
		}
		s.last = later(s.last, last)
	}
	s.handed = s.last
	return nil
}

// Publish appends an entry to the log and waits until it is accepted, which
// Durability defines. Its offset is the result; that of e is ignored. It takes
// ownership of what e refers to.
//
// If the ID of e is known, in the log or under way, nothing is appended: the
// result is the offset the first one got, and dup is true, or the error the
// first one got.
//
// Errors: ErrNotDurable when the durable log failed or ctx ended before it had
// answered; the entry may yet appear in the log, so publish again only with the
// same ID. ErrFull and ErrClosed: nothing was appended. When ctx ends, the error
// also matches its cause.
func (s *Sequencer) Publish(ctx context.Context, e Entry) (offset Offset, dup bool, err error) {
	p := newPending(e)
	for {
		h, room, err := s.enqueue(p)
		if err != nil {
			return Offset{}, false, err
		}
		if h != nil {
			return h.Wait(ctx)
		}
		select {
		case <-room:
		case <-ctx.Done():
			return Offset{}, false, fmt.Errorf("waiting for room in the queue: %w: %w", ErrFull, ctx.Err())
		}
	}
}

// Append is Publish without waiting: it fails with ErrFull where Publish would
// wait for room, and the outcome is the result's. Entries appended by one
// goroutine keep their order.
func (s *Sequencer) Append(e Entry) (Pending, error) {
	h, room, err := s.enqueue(newPending(e))
	switch {
	case room != nil:
		return nil, fmt.Errorf("queue of namespace %q: %w", s.opts.Namespace, ErrFull)
	case err != nil:
		return nil, err
	}
	return h, nil
}

func newPending(e Entry) *pending {
	return &pending{entry: e, size: e.Size(), done: make(chan struct{})}
}

// enqueue puts p into the queue, or finds the one it repeats. If there is no
// room it returns a channel that is closed when there may be.
func (s *Sequencer) enqueue(p *pending) (*handle, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, fmt.Errorf("sequencer of namespace %q: %w", s.opts.Namespace, ErrClosed)
	}
	if first := s.inFlight[p.entry.ID]; first != nil && p.entry.ID != "" {
		return &handle{p: first, joined: true}, nil, nil
	}
	// An entry that is larger than the whole bound still fits an empty queue.
	if s.waiting > 0 && (s.waiting >= s.opts.MaxQueued || s.bytes+p.size > s.opts.MaxQueuedBytes) {
		if s.backlog != nil {
			return nil, nil, fmt.Errorf("%d entries of namespace %q are not durable yet: %w: %w",
				s.waiting, s.opts.Namespace, ErrFull, ErrNotDurable)
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		return nil, s.room, nil
	}
	if p.entry.ID != "" {
		s.inFlight[p.entry.ID] = p
	}
	s.waiting++
	s.bytes += p.size
	s.queue = append(s.queue, p)
	s.signal()
	return &handle{p: p}, nil, nil
}

func (s *Sequencer) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// freeRoom takes entries out of the account. Call with mu held.
func (s *Sequencer) freeRoom(entries, bytes int) {
	s.waiting -= entries
	s.bytes -= bytes
	if s.room != nil && entries > 0 {
		close(s.room)
		s.room = nil
	}
}

// Done implements Pending.
func (p *handle) Done() <-chan struct{} { return p.p.done }

// Wait implements Pending.
func (p *handle) Wait(ctx context.Context) (offset Offset, dup bool, err error) {
	select {
	case <-p.p.done:
	default:
		select {
		case <-p.p.done:
		case <-ctx.Done():
			return Offset{}, false, fmt.Errorf("waiting for the log: %w: %w", ErrNotDurable, ctx.Err())
		}
	}
	if p.p.err != nil {
		return Offset{}, false, p.p.err
	}
	return p.p.entry.Offset, p.p.dup || p.joined, nil
}

// Fence runs f while nothing is being handed out, and tells it the newest entry
// that was. A socket that f adds to its rooms gets everything after the fence
// from Deliver, and nothing up to it. f must not wait for anything that waits
// for a Publish.
func (s *Sequencer) Fence(f func(fence Offset)) {
	s.fence.Lock()
	defer s.fence.Unlock()
	f(s.handed)
}

// Handed is the newest entry that was handed out; before the first one, where
// the log began.
func (s *Sequencer) Handed() Offset {
	s.fence.Lock()
	defer s.fence.Unlock()
	return s.handed
}

// Close refuses further entries and waits for those that are under way. When
// ctx ends first, what is not in the durable log by then fails with
// ErrNotDurable; with Async, Close then says how much is lost.
func (s *Sequencer) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
	s.mu.Unlock()
	s.signal()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.cancel()
		// The logs honour their contexts; one that hangs keeps its goroutine,
		// not the caller.
		grace := time.NewTimer(time.Second)
		defer grace.Stop()
		select {
		case <-s.done:
		case <-grace.C:
			return fmt.Errorf("closing the sequencer of namespace %q: %w", s.opts.Namespace, ctx.Err())
		}
	}
	if s.lost > 0 {
		return fmt.Errorf("%w: %d entries of namespace %q", ErrNotDurable, s.lost, s.opts.Namespace)
	}
	return nil
}
