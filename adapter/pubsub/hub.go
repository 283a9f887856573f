package pubsub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// hub is what the adapters of a server share: as long as there is one, the connection that listens and what is to be
// published.
type hub struct {
	rdb          redis.UniversalClient
	opts         Options
	pingInterval time.Duration

	mu   sync.Mutex
	live *line
}

// line is the time from a hub's first adapter to its last.
type line struct {
	listener *listener
	out      *outbox
	adapters int
}

func newHub(rdb redis.UniversalClient, opts Options) *hub {
	return &hub{rdb: rdb, opts: opts, pingInterval: defaultPingInterval}
}

// join begins to subscribe to the channels of an adapter, and gives it its line. It does not wait.
func (h *hub) join(a *Adapter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live == nil {
		h.live = &line{listener: newListener(h.rdb, h.opts, h.pingInterval), out: newOutbox(h.rdb, h.opts)}
	}
	h.live.adapters++
	a.line = h.live
	a.line.listener.add(a)
}

// leave ends the subscriptions of an adapter and, with the last one, the line: then it waits until what was to be
// published is, or cannot be.
func (h *hub) leave(a *Adapter) {
	h.mu.Lock()
	a.line.listener.remove(a)
	a.line.adapters--
	last := a.line.adapters == 0
	if last {
		h.live = nil
	}
	h.mu.Unlock()
	if last {
		a.line.out.close()
		a.line.listener.close()
	}
}

// count returns how many servers there are: how many subscribers a channel has, on all nodes of Redis.
func (h *hub) count(ctx context.Context, channel string) (int, error) {
	cluster, ok := h.rdb.(*redis.ClusterClient)
	if !ok {
		counts, err := h.rdb.PubSubNumSub(ctx, channel).Result()
		return int(counts[channel]), err
	}
	var sum atomic.Int64
	add := func(ctx context.Context, node *redis.Client) error {
		counts, err := node.PubSubNumSub(ctx, channel).Result()
		sum.Add(counts[channel])
		return err
	}
	if err := cluster.ForEachMaster(ctx, add); err != nil {
		return 0, err
	}
	// Servers may listen to replicas too. One that is away has none of them.
	_ = cluster.ForEachSlave(ctx, add)
	return int(sum.Load()), nil
}
