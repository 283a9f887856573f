package dynamodb

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/twine-realtime/twine/recovery"
)

// What BatchWriteItem takes. The bytes are fewer than its 16 MB: requests are
// JSON, in which binary values are a third longer.
const (
	maxBatchItems = 25
	maxBatchBytes = 8 << 20
)

// batcher writes items in batches that callers share. A batch that is full goes
// out when there is a writer; one that is not waits for those under way, or for
// MaxWait, so that batches fill up under load and nothing waits without.
type batcher struct {
	store *Store

	mu      sync.Mutex
	queue   []*queued
	bytes   int           // of the queue
	room    chan struct{} // closed when the queue gets shorter; nil: nobody waits
	flying  int           // batches being written
	closed  bool
	wake    chan struct{}
	running sync.WaitGroup
}

// queued is an item that waits.
type queued struct {
	item  item
	key   string
	size  int
	since time.Time
	job   *job
}

// job is what one caller of write has to have written.
type job struct {
	ctx context.Context

	mu     sync.Mutex
	left   int
	err    error
	reason error // of the newest attempt that failed and is made again
	ended  bool
	done   chan struct{}
}

func (j *job) failed(reason error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reason = reason
}

func (j *job) abandon() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(errors.New("waiting for items to be written"), j.reason, j.ctx.Err())
}

func (j *job) finish(items int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.left -= items
	if err != nil && j.err == nil {
		j.err = err
	}
	if !j.ended && (j.left == 0 || j.err != nil) {
		j.ended = true
		close(j.done)
	}
}

// over says whether nobody waits for the job's items any more.
func (j *job) over() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ended || j.ctx.Err() != nil
}

func newBatcher(s *Store) *batcher {
	b := &batcher{store: s, wake: make(chan struct{}, 1)}
	b.running.Go(b.run)
	return b
}

// write puts items into the table, replacing those of the same keys. It returns
// when all have been written; after an error some may have been, and may yet be.
func (b *batcher) write(ctx context.Context, items []item) error {
	if len(items) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.store.opts.Timeout)
	defer cancel()
	j := &job{ctx: ctx, left: len(items), done: make(chan struct{})}
	for _, it := range items {
		if err := b.put(ctx, &queued{item: it, key: keyString(it), size: itemSize(it), since: time.Now(), job: j}); err != nil {
			return err
		}
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return j.abandon()
	}
}

func (b *batcher) put(ctx context.Context, q *queued) error {
	for {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return recovery.ErrClosed
		}
		opts := &b.store.opts
		if len(b.queue) == 0 || len(b.queue) < opts.MaxQueued && b.bytes+q.size <= opts.MaxQueuedBytes {
			b.queue = append(b.queue, q)
			b.bytes += q.size
			b.mu.Unlock()
			b.signal()
			return nil
		}
		if b.room == nil {
			b.room = make(chan struct{})
		}
		room := b.room
		b.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return errors.Join(errors.New("waiting for room in the queue"), recovery.ErrFull, ctx.Err())
		}
	}
}

func (b *batcher) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// close writes what is queued and ends the batcher.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.signal()
	b.running.Wait()
}

// run is the goroutine that makes up batches.
func (b *batcher) run() {
	for {
		batch, wait, done := b.next()
		switch {
		case done:
			return
		case len(batch) > 0:
			b.running.Go(func() {
				b.send(batch)
				b.mu.Lock()
				b.flying--
				b.mu.Unlock()
				b.signal()
			})
		case wait > 0:
			timer := time.NewTimer(wait)
			select {
			case <-b.wake:
			case <-timer.C:
			}
			timer.Stop()
		default:
			<-b.wake
		}
	}
}

// next takes a batch out of the queue. Without one, it says how long to wait for
// it at most, zero for as long as it takes.
func (b *batcher) next() (batch []*queued, wait time.Duration, done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	opts := &b.store.opts
	if len(b.queue) == 0 {
		return nil, 0, b.closed && b.flying == 0
	}
	if b.flying >= opts.Writers {
		return nil, 0, false
	}
	if len(b.queue) < maxBatchItems && b.bytes < maxBatchBytes && b.flying > 0 && !b.closed {
		if wait = opts.MaxWait - time.Since(b.queue[0].since); wait > 0 {
			return nil, wait, false
		}
	}
	keys := make(map[string]bool, maxBatchItems)
	rest, bytes := b.queue[:0], 0
	for i, q := range b.queue {
		switch {
		case q.job.over():
			b.bytes -= q.size
		case len(batch) == maxBatchItems || bytes+q.size > maxBatchBytes && len(batch) > 0:
			rest = append(rest, b.queue[i:]...)
			clear(b.queue[len(rest):])
			b.queue = rest
			return b.taken(batch, bytes), 0, false
		case keys[q.key]: // a call must not have a key twice
			rest = append(rest, q)
		default:
			keys[q.key] = true
			batch = append(batch, q)
			bytes += q.size
		}
	}
	clear(b.queue[len(rest):])
	b.queue = rest
	return b.taken(batch, bytes), 0, len(batch) == 0 && len(rest) == 0 && b.closed && b.flying == 0
}

func (b *batcher) taken(batch []*queued, bytes int) []*queued {
	b.bytes -= bytes
	if len(batch) > 0 {
		b.flying++
	}
	if b.room != nil {
		close(b.room)
		b.room = nil
	}
	return batch
}

// send writes one batch, again and again what of it was not processed.
func (b *batcher) send(batch []*queued) {
	s := b.store
	for attempt := 0; ; attempt++ {
		live := batch[:0]
		for _, q := range batch {
			if !q.job.over() {
				live = append(live, q)
			}
		}
		if batch = live; len(batch) == 0 {
			return
		}
		rest, err := b.attempt(batch)
		written := make(map[*job]int)
		left := make(map[string]bool, len(rest))
		for _, it := range rest {
			left[keyString(it)] = true
		}
		live = batch[:0]
		for _, q := range batch {
			if err != nil || left[q.key] {
				live = append(live, q)
			} else {
				written[q.job]++
			}
		}
		for j, n := range written {
			j.finish(n, nil)
		}
		if batch = live; len(batch) == 0 {
			return
		}
		if err != nil && !retryable(err) {
			b.refused(batch, err)
			return
		}
		for _, q := range batch {
			q.job.failed(cmp.Or(err, errUnprocessed))
		}
		s.retries.Add(1)
		s.pause(s.base, attempt)
	}
}

var errUnprocessed = errors.New("DynamoDB left items unprocessed")

// attempt writes a batch once and returns what was not processed.
func (b *batcher) attempt(batch []*queued) ([]item, error) {
	s := b.store
	requests := make([]types.WriteRequest, len(batch))
	for i, q := range batch {
		requests[i] = types.WriteRequest{PutRequest: &types.PutRequest{Item: q.item}}
	}
	ctx, cancel := context.WithTimeout(s.base, s.opts.CallTimeout)
	defer cancel()
	out, err := s.api.BatchWriteItem(ctx, &ddb.BatchWriteItemInput{
		RequestItems: map[string][]types.WriteRequest{s.opts.Table: requests},
	}, once)
	if err != nil {
		return nil, explain("write a batch", err)
	}
	var rest []item
	for _, r := range out.UnprocessedItems[s.opts.Table] {
		if r.PutRequest != nil {
			rest = append(rest, r.PutRequest.Item)
		}
	}
	s.batches.Add(1)
	s.items.Add(int64(len(batch) - len(rest)))
	return rest, nil
}

// refused fails a batch that DynamoDB will not take. If several callers share
// it, the others must not suffer for what one of them wants written: each gets a
// batch of its own.
func (b *batcher) refused(batch []*queued, err error) {
	jobs := make(map[*job][]*queued)
	for _, q := range batch {
		jobs[q.job] = append(jobs[q.job], q)
	}
	for j, own := range jobs {
		if len(jobs) == 1 {
			j.finish(len(own), err)
		} else {
			b.send(own)
		}
	}
}
