// Package disk keeps history and sessions in one bbolt file on the local disk:
// the deepest tier of a node that needs no other service.
//
// Everything that is written at about the same time, entries of all namespaces
// and sessions alike, shares one transaction and one fsync (group commit). An
// entry is acknowledged after that fsync. Because bbolt never overwrites what
// the last valid transaction refers to, a crash at any instant leaves exactly
// the acknowledged transactions, and perhaps the one that was under way.
//
// Entries live in segments, which are buckets that are begun anew after a while
// and after so many bytes; expiry drops whole segments. Each entry is stored
// once, with a checksum. What a commit has to write is the entries alone, at the
// end of their segment: the index of that segment, by room and by idempotency
// key, is kept in memory, is written in one go when the segment is closed, and
// is read back from the entries when the file is opened. Keeping it in the file
// would add a page for each room that is written to, to each fsync.
package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/twine-realtime/twine/recovery"
)

// Options of a Store. The zero value is useful.
type Options struct {
	// Window is how long entries are kept; they expire up to a tenth of it
	// later. Zero: 24 h.
	Window time.Duration
	// Hold is how long a session that is not stored again is held. Zero:
	// recovery.DefaultHold.
	Hold time.Duration
	// MaxBytes bounds the file; past it, appending fails with recovery.ErrFull.
	// The file does not shrink, but what expires makes room in it. Zero: no
	// bound but the disk's.
	MaxBytes int64
	// SegmentBytes is the size past which a segment is closed; dropping one
	// holds up writing for a time that depends on it. Zero: 64 MiB.
	SegmentBytes int64
	// Quarantine moves a file that cannot be opened out of the way, to
	// "<path>.corrupt-<time>", and begins a new one, whose history begins now.
	// Without it, Open fails with a *CorruptError and touches nothing.
	Quarantine bool
	// LockTimeout is how long Open waits for another process to let the file
	// go. Zero: 1 s.
	LockTimeout time.Duration

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default
}

func (o Options) withDefaults() Options {
	if o.Window <= 0 {
		o.Window = 24 * time.Hour
	}
	if o.Hold <= 0 {
		o.Hold = recovery.DefaultHold
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// slot is the time after which a segment is begun anew.
func (o *Options) slot() time.Duration { return max(o.Window/24, time.Millisecond) }

const (
	maintainEvery = time.Minute // expiry is looked at so often, or every slot if that is less
	maxQueuedOps  = 4096
	maxGroupOps   = 1024
	maxGroupBytes = 16 << 20

	// Sessions wait a little for others: their clients do not wait for them, and
	// each transaction costs an fsync. Entries do not wait for many sessions.
	sessionLinger        = 2 * time.Millisecond
	maxGroupSessions     = 512
	maxSessionsByEntries = 128
)

// Store is an open file. Its Log and its Sessions are views of it; it is closed
// with Close, or when both views have been closed. Its methods may be called
// concurrently.
type Store struct {
	path string
	opts Options
	db   *bbolt.DB

	sending sync.RWMutex // held for reading while an op is put into the queue
	entries chan *op     // what concerns the log
	states  chan *op     // what concerns sessions
	closing bool         // guarded by sending

	mu    sync.RWMutex
	state state // as of the last commit

	stop      chan struct{}
	running   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
	open      atomic.Int32 // views that have not been closed

	log      *Log
	sessions *Sessions
}

// state is what the store knows by heart of its file. Changes of a transaction
// are made to a copy of the touched parts and take effect once it is committed.
type state struct {
	born     recovery.Offset
	spaces   map[string]space
	segments []segment         // the last one may be the one being written
	active   *index            // of the segment being written; nil: there is none
	filters  map[uint64]filter // of the others, by number; none: it has no IDs
	verified map[uint64]bool   // of the others, those whose index has been checked
	broken   error
}

// Log returns the store's log.
func (s *Store) Log() *Log { return s.log }

// Sessions returns the store's sessions.
func (s *Store) Sessions() *Sessions { return s.sessions }

// Path is where the file is.
func (s *Store) Path() string { return s.path }

// Close commits what is queued and closes the file. It waits for readers.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.stop)
		s.sending.Lock()
		s.closing = true
		close(s.entries)
		close(s.states)
		s.sending.Unlock()
		s.running.Wait()
		s.mu.RLock()
		broken := s.state.broken
		s.mu.RUnlock()
		if broken == nil {
			// With its free list in the file, the next Open need not look at
			// every page. Without, it merely takes longer.
			s.db.NoFreelistSync = false
			if err := s.db.Update(func(*bbolt.Tx) error { return nil }); err != nil {
				s.opts.Logger.Info("recovery: the next start will take longer", "path", s.path, "error", err)
			}
		}
		s.closeErr = s.db.Close()
	})
	return s.closeErr
}

// closeView closes the store with its last view.
func (s *Store) closeView(closed *atomic.Bool) error {
	if closed.Swap(true) || s.open.Add(-1) > 0 {
		return nil
	}
	return s.Close()
}

// op is something to do in the next transaction.
type op struct {
	run   func(*change) error // refuse(err): nothing was changed, err is the answer
	size  int
	state atomic.Int32
	done  chan struct{}
	err   error
}

const (
	opQueued int32 = iota
	opTaken
	opAbandoned
)

// refusal is the answer of an op that does not disturb the others of its
// transaction.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func refuse(err error) error { return refusal{err} }

// write runs an op of one of the two queues in a transaction of its own or of
// others', and returns when that is durable. If ctx ends before its transaction
// began, nothing is done.
func (s *Store) write(ctx context.Context, queue chan<- *op, size int, run func(*change) error) error {
	o := &op{run: run, size: size, done: make(chan struct{})}
	s.sending.RLock()
	if s.closing {
		s.sending.RUnlock()
		return recovery.ErrClosed
	}
	select {
	case queue <- o:
		s.sending.RUnlock()
	case <-ctx.Done():
		s.sending.RUnlock()
		return ctx.Err()
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		if o.state.CompareAndSwap(opQueued, opAbandoned) {
			return ctx.Err()
		}
		<-o.done
	}
	return o.err
}

// view runs f in a read transaction. Damaged pages, which make bbolt panic or
// fault, become errors that match recovery.ErrCorrupt.
func (s *Store) view(f func(*bbolt.Tx) error) error {
	err := guard(func() error { return s.db.View(f) })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return recovery.ErrClosed
	}
	return err
}

// maintain is the goroutine that looks for what has expired.
func (s *Store) maintain() {
	ticker := time.NewTicker(min(maintainEvery, max(s.opts.slot(), 10*time.Millisecond)))
	defer ticker.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case <-ticker.C:
		case <-s.stop:
			return
		}
		now := s.opts.Now()
		err := s.trim(ctx, func(last recovery.Offset, created time.Time) bool {
			return s.expired(last, created, now)
		})
		if err == nil {
			err = s.expireSessions(ctx, now)
		}
		if err != nil && !errors.Is(err, recovery.ErrClosed) {
			s.opts.Logger.Warn("recovery: cannot make expired entries go", "path", s.path, "error", err)
		}
	}
}

// expired says whether all that a segment holds is older than the window. The
// wall clock of its creation counts too: were it only for offsets, one jump of
// the clock into the future would keep entries forever.
func (s *Store) expired(last recovery.Offset, created, now time.Time) bool {
	return last.Before(recovery.OffsetAt(now.Add(-s.opts.Window))) ||
		created.Add(s.opts.slot()+s.opts.Window).Before(now)
}

// fail remembers that the file is not to be trusted with further writes.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.broken == nil {
		s.state.broken = fmt.Errorf("%w: %s: %w", recovery.ErrBroken, s.path, err)
		s.opts.Logger.Error("recovery: the history file failed; nothing can be published until it is opened again",
			"path", s.path, "error", err)
	}
	return s.state.broken
}
