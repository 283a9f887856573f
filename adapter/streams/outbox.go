package streams

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery/redis/wire"
)

// outbox publishes messages in the order in which they came, as many at once as
// there are.
type outbox struct {
	rdb  redis.UniversalClient
	opts Options

	mu      sync.Mutex
	waiting []letter
	running bool
	closed  bool
	idle    chan struct{} // closed when running ends, if somebody waits for it

	base   context.Context
	cancel context.CancelFunc
}

type letter struct {
	channel string
	payload []byte
}

func newOutbox(rdb redis.UniversalClient, opts Options) *outbox {
	o := &outbox{rdb: rdb, opts: opts}
	o.base, o.cancel = context.WithCancel(context.Background())
	return o
}

// publish does not wait. Messages may get lost, as all on Pub/Sub.
func (o *outbox) publish(channel string, m *wire.Message) {
	payload, err := m.Pack()
	if err != nil {
		o.opts.Logger.Warn("streams: message can't be sent", "channel", channel, "error", err)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(o.waiting) >= queueLimit {
		return
	}
	o.waiting = append(o.waiting, letter{channel, payload})
	if !o.running {
		o.running = true
		go o.run()
	}
}

func (o *outbox) run() {
	for {
		o.mu.Lock()
		batch := o.waiting
		o.waiting = nil
		if len(batch) == 0 {
			o.running = false
			if o.idle != nil {
				close(o.idle)
			}
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		ctx, cancel := context.WithTimeout(o.base, o.opts.RequestTimeout)
		_, err := o.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, l := range batch {
				p.Publish(ctx, l.channel, l.payload)
			}
			return nil
		})
		cancel()
		if err != nil && o.base.Err() == nil {
			o.opts.Logger.Warn("streams: messages to other servers may be lost", "messages", len(batch), "error", err)
		}
	}
}

// close drops what waits, and waits for what is under way.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.waiting = nil
	running := o.running
	if running {
		o.idle = make(chan struct{})
	}
	o.mu.Unlock()
	o.cancel()
	if running {
		<-o.idle
	}
}
