package redislog

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
)

// maxStores is how many sessions are stored with one pipeline.
const maxStores = 256

// storing brings the stores that come while others are under way to Redis
// together: nodes confirm thousands of sessions within a moment. No more wait
// than there are callers.
type storing struct {
	mu      sync.Mutex
	queue   []*store
	busy    bool
	running sync.WaitGroup
}

// store is a call of a script that changes a session, and what goes before it.
type store struct {
	enlist, change call
	outcome        chan error // has room for it
	answer         []string
}

// call is a call of a script. One without a script is none.
type call struct {
	script *redis.Script
	key    string
	args   []any
	cmd    *redis.Cmd
}

// do has a store done and waits for its outcome, or for ctx.
func (s *Sessions) do(ctx context.Context, st *store) error {
	st.outcome = make(chan error, 1)
	q := &s.storing
	q.mu.Lock()
	if s.closed.Load() {
		q.mu.Unlock()
		return recovery.ErrClosed
	}
	q.queue = append(q.queue, st)
	if !q.busy {
		q.busy = true
		q.running.Go(s.storeQueued)
	}
	q.mu.Unlock()
	select {
	case err := <-st.outcome:
		return err
	case <-ctx.Done():
		return fmt.Errorf("failed to reach the sessions: %w", ctx.Err())
	}
}

// storeQueued is a goroutine that ends when nothing is queued.
func (s *Sessions) storeQueued() {
	q := &s.storing
	for {
		q.mu.Lock()
		n := min(len(q.queue), maxStores)
		batch := q.queue[:n:n]
		if q.queue = q.queue[n:]; len(q.queue) == 0 {
			q.queue = nil
		}
		if n == 0 {
			q.busy = false
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		s.storeBatch(batch)
	}
}

func (s *Sessions) storeBatch(batch []*store) {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Timeout)
	defer cancel()
	calls := make([]*call, 0, len(batch))
	for _, st := range batch {
		if st.enlist.script != nil {
			calls = append(calls, &st.enlist)
		}
	}
	s.callAll(ctx, calls)
	calls = calls[:0]
	for _, st := range batch {
		if st.enlist.err() == nil {
			calls = append(calls, &st.change)
		}
	}
	s.callAll(ctx, calls)
	for _, st := range batch {
		err := st.enlist.err()
		if err == nil {
			st.answer, err = st.change.cmd.StringSlice()
		}
		st.outcome <- err
	}
}

func (c *call) err() error {
	if c.cmd == nil {
		return nil
	}
	return c.cmd.Err()
}

// callAll calls scripts, with their source if Redis does not know them. The
// outcome is in each call.
func (s *Sessions) callAll(ctx context.Context, calls []*call) {
	if len(calls) == 0 {
		return
	}
	s.pipeline(ctx, calls, (*redis.Script).EvalSha)
	var unknown []*call
	for _, c := range calls {
		if redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
			unknown = append(unknown, c)
		}
	}
	if len(unknown) > 0 {
		s.pipeline(ctx, unknown, (*redis.Script).Eval)
	}
}

func (s *Sessions) pipeline(ctx context.Context, calls []*call,
	eval func(script *redis.Script, ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd) {
	// The error is that of the first call to fail, and each has its own.
	_, _ = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, c := range calls {
			c.cmd = eval(c.script, ctx, p, []string{c.key}, c.args...)
		}
		return nil
	})
}
