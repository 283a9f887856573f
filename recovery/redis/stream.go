package redislog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/wire"
)

// Stream is one node's connection to the stream that its cluster shares. A
// process needs one. Its methods may be called concurrently.
//
// Lock order: dispatch, then the fence of a Sequencer, then mu.
type Stream struct {
	rdb  redis.UniversalClient
	opts Options
	uid  string

	// dispatch is held while what was read is handed out, and while a namespace
	// begins to take part.
	dispatch   sync.Mutex
	namespaces map[string]*subscriber

	mu      sync.Mutex
	pos     recovery.Offset // everything up to here was handed out, or skipped
	skipped hole            // the last one
	written recovery.Offset // newest that this node appended
	moved   chan struct{}   // closed when pos changes; nil: nobody waits
	unread  []*pending      // appended, not yet handed out; by offset
	queue   []*pending
	waiting int // entries counted against MaxQueued
	bytes   int
	room    chan struct{} // closed when waiting goes down; nil: nobody waits
	closed  bool
	failing error // of the last read; nil: it succeeded

	begun    atomic.Int64  // when the history began, ms
	reply    rawReply      // owned by the reading goroutine
	records  []record      // memory for the next ones; owned by the reading goroutine
	follows  int64         // when the history began that pos is in; owned by the reading goroutine
	wake     chan struct{} // the queue has something, or closed was set
	archives chan []*pending
	batches  uint64 // owned by the writing goroutine
	refused  string // why the last append failed; owned by the writing goroutine

	base   context.Context // ends when Close gives up, or has drained
	cancel context.CancelFunc
	done   chan struct{} // closed when all goroutines have ended
}

// hole is a stretch (from, to] that was not read.
type hole struct{ from, to recovery.Offset }

// subscriber is a namespace of this node. Guarded by dispatch.
type subscriber struct {
	run      []recovery.Entry // those that have been read and are handed out together
	log      *Sequencer
	messages func(*Message)
}

// Message is an entry of the stream that is not, or not on this node, part of a
// namespace's history: a command, an unlogged broadcast.
type Message struct {
	Offset    recovery.Offset
	UID       string // the sender's; Stream.UID if it is this node
	Namespace string
	Type      wire.Type
	Data      string
	Broadcast *wire.Broadcast // if Type is wire.BroadcastPacket
}

// Open joins the stream, and makes it if need be. What others append from now
// on is handed out. Close it to stop its goroutines; the client is not closed.
func Open(ctx context.Context, rdb redis.UniversalClient, opts Options) (*Stream, error) {
	s := &Stream{
		rdb: rdb, opts: opts.withDefaults(), uid: NewUID(),
		namespaces: make(map[string]*subscriber),
		wake:       make(chan struct{}, 1),
		done:       make(chan struct{}),
	}
	if s.opts.Archive != nil {
		// There is room for all that may wait, so that no Archive stops the stream.
		s.archives = make(chan []*pending, s.opts.MaxQueued)
	} else {
		s.archives = make(chan []*pending)
	}
	e, err := s.begin(ctx, recovery.Offset{}, recovery.Offset{})
	if err != nil {
		return nil, fmt.Errorf("failed to open stream %q: %w", s.opts.Name, err)
	}
	s.pos, s.follows = e.last, e.begun
	s.base, s.cancel = context.WithCancel(context.Background())
	var running, writing sync.WaitGroup
	writing.Go(s.write)
	for range archiveWriters {
		running.Go(s.archive)
	}
	running.Go(s.read)
	running.Go(s.trim)
	go func() {
		writing.Wait()
		close(s.archives)
		running.Wait()
		s.abandon()
		close(s.done)
	}()
	return s, nil
}

// NewUID returns a name that no other server has: 16 hexadecimal digits.
func NewUID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// UID is the name under which this node appends.
func (s *Stream) UID() string { return s.uid }

// Of returns the stream itself: it is that of every namespace. [Streams] has more.
func (s *Stream) Of(string) *Stream { return s }

// Client returns the client that the stream was opened with.
func (s *Stream) Client() redis.UniversalClient { return s.rdb }

// All keys of a stream have the hash tag of its name, which is the whole of it.
func (s *Stream) key(suffix string) string { return "{" + s.opts.Name + "}" + suffix }

func (s *Stream) keys() []string { return []string{s.opts.Name, s.key(":history")} }

func (s *Stream) idKey(ns, id string) string {
	return s.key(":id:" + strconv.Itoa(len(ns)) + ":" + ns + id)
}

// extent is where the history in the stream starts and ends.
type extent struct {
	start, last recovery.Offset
	begun       int64
	found       []bool // which of the entries that were asked for are there
}

// errLost means that the stream is gone, or was never there.
var errLost = errors.New("the stream is gone")

func parseExtent(start, last, begun string) (e extent, err error) {
	var err1, err2, err3 error
	e.start, err1 = recovery.ParseOffset(start)
	e.last, err2 = recovery.ParseOffset(last)
	e.begun, err3 = strconv.ParseInt(begun, 10, 64)
	return e, errors.Join(err1, err2, err3)
}

// begin makes sure that there is a history, and one that did not start at
// replace, if that is not zero. A new one starts after floor.
func (s *Stream) begin(ctx context.Context, floor, replace recovery.Offset) (extent, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	expected := ""
	if !replace.IsZero() {
		expected = replace.String()
	}
	answer, err := beginScript.Run(ctx, s.rdb, s.keys(), floor.String(), expected).StringSlice()
	if err != nil {
		return extent{}, err
	}
	e, err := parseExtent(answer[0], answer[1], answer[2])
	if err == nil {
		s.begun.Store(e.begun)
	}
	return e, err
}

// evalExtent adds to a pipeline the question for the extent, and whether there
// are entries at the given offsets.
func (s *Stream) evalExtent(ctx context.Context, p redis.Cmdable, at ...recovery.Offset) *redis.Cmd {
	args := make([]any, len(at))
	for i := range at {
		args[i] = at[i].String()
	}
	return p.Eval(ctx, extentSource, s.keys(), args...)
}

// toExtent reads the answer. errLost if there is no history.
func toExtent(cmd *redis.Cmd) (extent, error) {
	answer, err := cmd.StringSlice()
	if err != nil {
		return extent{}, err
	}
	if len(answer) < 4 || answer[0] != "ok" {
		return extent{}, errLost
	}
	e, err := parseExtent(answer[1], answer[2], answer[3])
	for _, n := range answer[4:] {
		e.found = append(e.found, n != "0")
	}
	return e, err
}

// Attach hands the messages of a namespace to f: those that are not part of its
// history, or all, if the namespace has no Sequencer. f is called from one
// goroutine, in the order of the stream, those of this node included. It must not
// block. It is not called any more once detach has returned.
func (s *Stream) Attach(ns string, f func(*Message)) (detach func()) {
	s.dispatch.Lock()
	defer s.dispatch.Unlock()
	s.subscriber(ns).messages = f
	return func() {
		s.dispatch.Lock()
		defer s.dispatch.Unlock()
		if sub := s.namespaces[ns]; sub != nil {
			sub.messages = nil
			s.drop(ns)
		}
	}
}

// subscriber returns a namespace, and makes it if need be. It needs dispatch.
func (s *Stream) subscriber(ns string) *subscriber {
	sub := s.namespaces[ns]
	if sub == nil {
		sub = new(subscriber)
		s.namespaces[ns] = sub
	}
	return sub
}

// drop forgets a namespace that nobody is interested in. It needs dispatch.
func (s *Stream) drop(ns string) {
	if sub := s.namespaces[ns]; sub.log == nil && sub.messages == nil {
		delete(s.namespaces, ns)
	}
}

// position is how far this node is.
func (s *Stream) position() recovery.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pos
}

// await waits until everything up to an offset was handed out, or skipped.
func (s *Stream) await(ctx context.Context, offset recovery.Offset) error {
	for {
		s.mu.Lock()
		if !s.pos.Before(offset) {
			s.mu.Unlock()
			return nil
		}
		if s.moved == nil {
			s.moved = make(chan struct{})
		}
		moved := s.moved
		s.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the stream: %w", ctx.Err())
		case <-s.base.Done():
			return recovery.ErrClosed
		}
	}
}

// Err says whether reading fails at the moment; nil: it does not. For readiness.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}

// trim is the goroutine that drops what is too old. All nodes do it; only the
// first finds something.
func (s *Stream) trim() {
	tick := time.NewTicker(min(max(s.opts.Window/120, 250*time.Millisecond), 30*time.Second))
	defer tick.Stop()
	for {
		select {
		case <-s.base.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(s.base, s.opts.CallTimeout)
		err := trimScript.Run(ctx, s.rdb, s.keys(), s.opts.Window.Milliseconds()).Err()
		cancel()
		if err != nil && s.Err() == nil && s.base.Err() == nil {
			s.opts.Logger.Warn("recovery: failed to trim the stream", "stream", s.opts.Name, "error", err)
		}
	}
}

// Close refuses further entries, waits for those that are under way, and ends
// the stream's goroutines. When ctx ends first, what is not accepted by then
// fails with recovery.ErrNotDurable.
func (s *Stream) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.freeRoom(0, 0)
	s.mu.Unlock()
	s.signal()
	err := s.drain(ctx, func() int { return s.waiting })
	s.cancel()
	<-s.done
	return err
}

// drain waits until count, which is called with mu held, is zero.
func (s *Stream) drain(ctx context.Context, count func() int) error {
	for {
		s.mu.Lock()
		if count() == 0 {
			s.mu.Unlock()
			return nil
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-s.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("closing stream %q: %w", s.opts.Name, ctx.Err())
		}
	}
}
