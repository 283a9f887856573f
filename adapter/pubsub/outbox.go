package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// One pipeline carries so many messages, or so many bytes, at the most.
const (
	maxBatch      = 512
	maxBatchBytes = 1 << 20
)

// maxWaitingVolatile is how many messages may wait before volatile ones are dropped.
const maxWaitingVolatile = 1024

// outbox publishes the messages of a server in the order in which they came, as many at once as there are.
type outbox struct {
	rdb  redis.UniversalClient
	opts Options

	mu      sync.Mutex
	waiting []letter
	bytes   int
	running bool
	closed  bool
	down    bool // the last attempt failed
	lost    int  // messages since then
	idle    sync.WaitGroup

	base   context.Context
	cancel context.CancelFunc
}

type letter struct {
	channel string
	payload []byte
	done    chan<- error // if not nil, has room for what became of it
}

func newOutbox(rdb redis.UniversalClient, opts Options) *outbox {
	o := &outbox{rdb: rdb, opts: opts}
	o.base, o.cancel = context.WithCancel(context.Background())
	return o
}

// post does not wait. Its error says that the message is not, or probably not, going to be published.
func (o *outbox) post(l letter, volatile bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return errClosed
	case volatile && len(o.waiting) >= maxWaitingVolatile:
		return nil
	case len(o.waiting) >= maxWaiting || o.bytes+len(l.payload) > maxWaitingBytes && len(o.waiting) > 0:
		o.failed(1, "too many messages wait to be published")
		return fmt.Errorf("%w: too many messages wait to be published", ErrUnreachable)
	}
	o.waiting = append(o.waiting, l)
	o.bytes += len(l.payload)
	if !o.running {
		o.running = true
		o.idle.Go(o.run)
	}
	if o.down && !volatile && l.done == nil {
		return fmt.Errorf("%w: Redis has not taken a message since it failed to", ErrUnreachable)
	}
	return nil
}

// send waits until Redis has the message.
func (o *outbox) send(ctx context.Context, channel string, payload []byte) error {
	done, err := o.start(channel, payload)
	if err != nil {
		return err
	}
	return finish(ctx, done)
}

// start is the first half of send.
func (o *outbox) start(channel string, payload []byte) (<-chan error, error) {
	done := make(chan error, 1)
	return done, o.post(letter{channel, payload, done}, false)
}

// finish is the second half of send.
func finish(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: publish: %w", ErrUnreachable, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: publish: %w", ErrUnreachable, ctx.Err())
	}
}

func (o *outbox) run() {
	for {
		batch := o.take()
		if batch == nil {
			return
		}
		ctx, cancel := context.WithTimeout(o.base, o.opts.RequestsTimeout)
		lost, err := o.publish(ctx, batch)
		cancel()
		o.mu.Lock()
		if err != nil {
			o.failed(lost, err)
		} else if o.down {
			o.opts.Logger.Info("pubsub: messages to other servers are published again", slog.Int("lost", o.lost))
			o.down, o.lost = false, 0
		}
		o.mu.Unlock()
	}
}

// take returns what is to be published next, or nil at the end.
func (o *outbox) take() []letter {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, bytes := 0, 0
	for n < len(o.waiting) && n < maxBatch && (n == 0 || bytes+len(o.waiting[n].payload) <= maxBatchBytes) {
		bytes += len(o.waiting[n].payload)
		n++
	}
	if n == 0 {
		o.running, o.waiting = false, nil
		return nil
	}
	batch := o.waiting[:n:n]
	o.waiting = o.waiting[n:]
	o.bytes -= bytes
	return batch
}

// publish returns how many messages of the batch Redis may not have.
func (o *outbox) publish(ctx context.Context, batch []letter) (lost int, err error) {
	var commands []redis.Cmder
	client, err := o.client(ctx)
	if err == nil {
		commands, err = client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, l := range batch {
				p.Publish(ctx, l.channel, l.payload)
			}
			return nil
		})
	}
	for i, l := range batch {
		failure := err
		if i < len(commands) {
			failure = commands[i].Err()
		}
		if failure != nil {
			lost++
		}
		if l.done != nil {
			l.done <- failure
		}
	}
	if cluster, ok := o.rdb.(*redis.ClusterClient); ok && err != nil {
		cluster.ReloadState(ctx) // the node may be another one by now
	}
	return lost, err
}

type pipeliner interface {
	Pipelined(ctx context.Context, fn func(redis.Pipeliner) error) ([]redis.Cmder, error)
}

// client returns who publishes. Each node of a Redis Cluster reaches all subscribers, but messages that take different
// ways may overtake each other: so all take the same.
func (o *outbox) client(ctx context.Context) (pipeliner, error) {
	if cluster, ok := o.rdb.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, o.opts.Key)
	}
	return o.rdb, nil
}

// failed notes that messages are lost. It needs mu.
func (o *outbox) failed(lost int, why any) {
	if !o.down && o.base.Err() == nil {
		o.opts.Logger.Warn("pubsub: messages to other servers are lost", slog.Any("error", why))
	}
	o.down = true
	o.lost += lost
}

// close publishes what waits, if Redis takes it in time, and drops the rest.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	impatience := time.AfterFunc(o.opts.RequestsTimeout, func() {
		o.mu.Lock()
		waiting := o.waiting
		o.waiting, o.bytes = nil, 0
		o.mu.Unlock()
		for _, l := range waiting {
			if l.done != nil {
				l.done <- errClosed
			}
		}
		o.cancel()
	})
	o.idle.Wait()
	impatience.Stop()
	o.cancel()
}
