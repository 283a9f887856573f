package dynamodb

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/twine-realtime/twine/recovery"
)

// Store is a table. Its Log and its Sessions are views of it; it is closed with
// Close, or when both views have been closed. Its methods may be called
// concurrently.
type Store struct {
	api  API
	opts Options

	base   context.Context // ends with Close
	cancel context.CancelFunc
	batch  *batcher
	ids    chan struct{} // held while an idempotency key is written
	reads  chan struct{} // held while a query runs

	batches, items, retries atomic.Int64

	mu      sync.Mutex
	closing bool
	running sync.WaitGroup // what was spawned

	closeOnce sync.Once
	open      atomic.Int32 // views that have not been closed

	log      *Log
	sessions *Sessions
}

// Stats counts what a Store has done since it was opened.
type Stats struct {
	Batches int64 // BatchWriteItem calls that succeeded
	Items   int64 // items they wrote
	Retries int64 // attempts of any call that had to be repeated, in whole or in part
}

// Open makes a Store over an existing table, and checks that its keys are those
// that CreateTable makes. The errors match ErrNoTable and ErrTable.
//
// The client stays the caller's. Close the Store to end its goroutines.
func Open(ctx context.Context, client API, opts Options) (*Store, error) {
	s := &Store{api: client, opts: opts.withDefaults()}
	if err := s.checkTable(ctx); err != nil {
		return nil, err
	}
	s.start()
	return s, nil
}

func (s *Store) start() {
	s.base, s.cancel = context.WithCancel(context.Background())
	s.batch = newBatcher(s)
	s.ids = make(chan struct{}, s.opts.Writers)
	s.reads = make(chan struct{}, s.opts.Readers)
	s.log = &Log{store: s, spaces: make(map[string]*space)}
	s.sessions = newSessions(s)
	s.open.Store(2)
}

// Log returns the store's log.
func (s *Store) Log() *Log { return s.log }

// Sessions returns the store's sessions.
func (s *Store) Sessions() *Sessions { return s.sessions }

// Stats returns what has been done until now.
func (s *Store) Stats() Stats {
	return Stats{Batches: s.batches.Load(), Items: s.items.Load(), Retries: s.retries.Load()}
}

// Close writes what is queued, for as long as its callers wait for it, and ends
// the store's goroutines. Both views are closed with it.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.log.closed.Store(true)
		s.sessions.closed.Store(true)
		s.batch.close()
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		s.running.Wait()
		s.cancel()
	})
	return nil
}

// spawn runs f in a goroutine that Close waits for; false: it is too late.
func (s *Store) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.running.Go(f)
	return true
}

// closeView closes the store with its last view.
func (s *Store) closeView(closed *atomic.Bool) error {
	if closed.Swap(true) || s.open.Add(-1) > 0 {
		return nil
	}
	return s.Close()
}

// each runs f for all numbers below n, as many at once as there is room for in
// gate, and returns the first error.
func each(ctx context.Context, gate chan struct{}, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for i := range n {
		select {
		case gate <- struct{}{}:
		case <-ctx.Done():
			running.Wait()
			return context.Cause(ctx)
		}
		running.Go(func() {
			defer func() { <-gate }()
			if err := f(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

var (
	_ recovery.Log      = (*Log)(nil)
	_ recovery.Sessions = (*Sessions)(nil)
)
