package zishang520

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/adapter/streams"
	redislog "github.com/twine-realtime/twine/recovery/redis"
)

// Options describe the adapters of a server. The zero value is useful.
type Options struct {
	// ChannelPrefix begins the names of all channels. Zero: "socket.io", as for
	// the other servers.
	ChannelPrefix string
	// Timeout is how long other servers are waited for, unless the call says
	// otherwise. Zero: 5 s.
	Timeout time.Duration
	Logger  *slog.Logger // nil: slog.Default
}

// New returns what [socket.ServerOptions.SetAdapter] takes, so that a server of
// the library joins the cluster that shares the stream. The stream, which is not
// closed, has to be open until the server is closed, and to have the options that
// it has on the other servers. With nil the server stands alone.
//
// Set it with the options of the server: a server that is given another adapter
// later does not close the ones it had.
func New(stream *redislog.Stream, opts Options) socket.AdapterConstructor {
	if opts.Timeout <= 0 {
		opts.Timeout = 5 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	c := &builder{stream: stream, adapters: adapter.Memory, opts: opts}
	if stream != nil {
		c.adapters = streams.New(stream, streams.Options{ChannelPrefix: opts.ChannelPrefix, RequestTimeout: opts.Timeout, Logger: opts.Logger})
	}
	return c
}

type builder struct {
	stream   *redislog.Stream
	adapters adapter.Constructor
	opts     Options
}

// New implements [socket.AdapterConstructor]. The library leaves no way to fail.
func (c *builder) New(nsp socket.Namespace) socket.Adapter {
	b := &bridge{Adapter: socket.MakeAdapter(), opts: c.opts, early: make(map[socket.SocketId][]string)}
	b.Prototype(b)
	b.Construct(nsp)
	b.base, b.cancel = context.WithCancel(context.Background())
	log := c.opts.Logger.With("namespace", nsp.Name())
	var err error
	if b.cluster, err = c.adapters(host{b}); err != nil {
		log.Error("zishang520: no adapter: this namespace reaches this server only", "error", err)
		b.cluster = adapter.NewInProcess(host{b})
	}
	if c.stream != nil {
		if err := b.join(c.stream); err != nil {
			log.Error("zishang520: broadcasts of this server are no part of the history", "error", err)
		}
	}
	return b
}

// bridge is the adapter of one namespace of one server of the library. Who is in
// which room, our adapter knows. The maps of the embedded one follow, for the
// application to look at.
//
// Lock order: mu, then those of our adapter, then those of members and queues.
type bridge struct {
	socket.Adapter
	cluster adapter.Adapter
	opts    Options
	events  queue    // of other servers
	history *history // nil: there is none

	base   context.Context
	cancel context.CancelFunc

	mu sync.Mutex
	// early are the rooms that sockets joined before they had passed the
	// middleware: the cluster does not see those sockets yet.
	early map[socket.SocketId][]string
}

var _ socket.Adapter = (*bridge)(nil)

// Close implements [socket.Adapter].
func (b *bridge) Close() {
	b.history.close()
	b.cancel()
	b.events.close()
	if err := b.cluster.Close(); err != nil {
		b.opts.Logger.Warn("zishang520: close", "namespace", b.Nsp().Name(), "error", err)
	}
	b.Adapter.Close()
}
