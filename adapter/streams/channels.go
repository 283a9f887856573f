package streams

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery/redis/wire"
)

// hub is the subscriptions of all of a server's adapters, which share one
// connection. It exists as long as there is an adapter.
type hub struct {
	rdb  redis.UniversalClient
	opts Options

	mu       sync.Mutex
	adapters map[string]*Adapter // by channel
	pubsub   *redis.PubSub
	work     *queue // calls of pubsub, which block
	ended    chan struct{}
}

// join subscribes to the channels of an adapter. The result is closed when that
// is done.
func (h *hub) join(a *Adapter) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pubsub == nil {
		h.adapters = make(map[string]*Adapter)
		h.pubsub = h.rdb.Subscribe(context.Background())
		h.work = new(queue)
		h.ended = make(chan struct{})
		go h.receive(h.pubsub, h.ended)
	}
	h.adapters[a.public], h.adapters[a.private] = a, a
	done, pubsub := make(chan struct{}), h.pubsub
	h.work.put(func() {
		ctx, cancel := context.WithTimeout(a.base, h.opts.RequestTimeout)
		defer cancel()
		// An error is that of this attempt: the client subscribes again by itself.
		if err := pubsub.Subscribe(ctx, a.public, a.private); err != nil && a.base.Err() == nil {
			h.opts.Logger.Warn("streams: failed to subscribe; trying again", "namespace", a.host.Name(), "error", err)
		}
		close(done)
	})
	return done
}

// leave ends the subscriptions of an adapter and, with the last one, the hub.
func (h *hub) leave(a *Adapter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.adapters[a.private] != a {
		return
	}
	delete(h.adapters, a.public)
	delete(h.adapters, a.private)
	pubsub := h.pubsub
	if len(h.adapters) > 0 {
		h.work.put(func() {
			ctx, cancel := context.WithTimeout(context.Background(), h.opts.RequestTimeout)
			defer cancel()
			_ = pubsub.Unsubscribe(ctx, a.public, a.private) // a cut connection has ended it too
		})
		return
	}
	h.pubsub = nil
	h.work.close()
	_ = pubsub.Close()
	ended := h.ended
	h.mu.Unlock()
	<-ended
	h.mu.Lock()
}

// receive is the goroutine that takes what arrives to the adapters, in its order.
func (h *hub) receive(pubsub *redis.PubSub, ended chan struct{}) {
	defer close(ended)
	for received := range pubsub.Channel(redis.WithChannelSize(1024)) {
		h.mu.Lock()
		a := h.adapters[received.Channel]
		h.mu.Unlock()
		if a == nil {
			continue
		}
		m, err := wire.Unpack([]byte(received.Payload))
		if err != nil {
			h.opts.Logger.Warn("streams: malformed message", "channel", received.Channel, "error", err)
			continue
		}
		if m.UID != a.uid && m.Namespace == a.host.Name() {
			a.onMessage(m)
		}
	}
}

// count returns how many subscribers a channel has, on all nodes of Redis.
func (h *hub) count(ctx context.Context, channel string) (int, error) {
	cluster, ok := h.rdb.(*redis.ClusterClient)
	if !ok {
		counts, err := h.rdb.PubSubNumSub(ctx, channel).Result()
		return int(counts[channel]), err
	}
	var mu sync.Mutex
	sum := 0
	err := cluster.ForEachShard(ctx, func(ctx context.Context, shard *redis.Client) error {
		counts, err := shard.PubSubNumSub(ctx, channel).Result()
		mu.Lock()
		defer mu.Unlock()
		sum += int(counts[channel])
		return err
	})
	return sum, err
}

// queue runs functions one after the other, on a goroutine that ends when there
// is nothing to do. The zero value is ready for use.
type queue struct {
	mu      sync.Mutex
	waiting []func()
	running bool
	closed  bool
}

// queueLimit bounds what waits in a queue or outbox.
const queueLimit = 65536

// put reports false if the queue is full or closed.
func (q *queue) put(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting) >= queueLimit {
		return false
	}
	q.waiting = append(q.waiting, f)
	if !q.running {
		q.running = true
		go q.run()
	}
	return true
}

func (q *queue) run() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 || q.closed {
			q.running = false
			q.waiting = nil
			q.mu.Unlock()
			return
		}
		f := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		f()
	}
}

// close drops what waits. What runs goes on to its end.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
