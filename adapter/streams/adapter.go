// Package streams joins servers to a cluster over Redis, together with servers of
// Node that use @socket.io/redis-streams-adapter 0.3 and with its emitters.
//
// Broadcasts and the commands that move or disconnect sockets go through the
// stream that the cluster shares (see package redislog), and take effect when
// they are read from there, on the server that sent them too: so all servers
// see them in the same order. Requests and answers are messages on Pub/Sub
// channels, as are volatile broadcasts, which are delivered at once.
//
// Servers count each other as Node does: by who has subscribed to the channel of
// a namespace. There are no heartbeats in this version of the protocol; those of
// older ones are ignored.
package streams

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/adapter"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/recovery/redis/wire"
	"github.com/twine-realtime/twine/twine/parser"
)

// Options describe the adapters of a server. The zero value is useful.
type Options struct {
	// ChannelPrefix begins the names of all channels. Zero: "socket.io", as
	// servers of Node have it.
	ChannelPrefix string
	// RequestTimeout is how long other servers are waited for, unless the
	// caller's context ends first. Zero: 5 s.
	RequestTimeout time.Duration
	// AckTimeout is how long clients of this server may take to answer a
	// broadcast of another one that did not say. Zero: 1 minute.
	AckTimeout time.Duration
	Logger     *slog.Logger // nil: slog.Default
}

// Source has the stream of each namespace: [*redislog.Stream] the same for all,
// [*redislog.Streams] one of several.
type Source interface {
	Of(namespace string) *redislog.Stream
	Client() redis.UniversalClient
}

// New returns the constructor of the adapters of a server's namespaces. They use
// the streams and their client, and close neither.
func New(source Source, opts Options) adapter.Constructor {
	if opts.ChannelPrefix == "" {
		opts.ChannelPrefix = wire.DefaultStream
	}
	if opts.RequestTimeout <= 0 {
		opts.RequestTimeout = 5 * time.Second
	}
	if opts.AckTimeout <= 0 {
		opts.AckTimeout = time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	h := &hub{rdb: source.Client(), opts: opts}
	return func(host adapter.Host) (adapter.Adapter, error) {
		return newAdapter(host, source.Of(host.Name()), h, opts), nil
	}
}

// Unlogger is a Host with a history. It delivers what is not part of it to the
// sockets of this server, in a way that does not confuse their positions.
type Unlogger interface {
	Unlogged(p *parser.Packet, o adapter.Options) error
}

// Adapter is one namespace of one server.
type Adapter struct {
	*adapter.InProcess
	host   adapter.Host
	stream *redislog.Stream
	hub    *hub
	opts   Options
	uid    string

	public, private string // channels
	detach          func()
	subscribed      <-chan struct{} // closed once the channels are subscribed to
	events          queue           // of other servers, for the application
	out             *outbox

	base   context.Context
	cancel context.CancelFunc
	closer sync.Once

	mu       sync.Mutex
	requests map[string]*request
}

var _ adapter.Adapter = (*Adapter)(nil)

func newAdapter(host adapter.Host, stream *redislog.Stream, h *hub, opts Options) *Adapter {
	a := &Adapter{InProcess: adapter.NewInProcess(host), host: host, stream: stream, hub: h, opts: opts,
		uid: stream.UID(), requests: make(map[string]*request)}
	a.public = wire.PublicChannel(opts.ChannelPrefix, host.Name())
	a.private = wire.PrivateChannel(opts.ChannelPrefix, host.Name(), a.uid)
	a.base, a.cancel = context.WithCancel(context.Background())
	a.out = newOutbox(stream.Client(), opts)
	a.subscribed = h.join(a)
	a.detach = stream.Attach(host.Name(), a.onStream)
	return a
}

// Close implements [adapter.Adapter].
func (a *Adapter) Close() error {
	a.closer.Do(func() {
		a.detach()
		a.hub.leave(a)
		a.cancel()
		a.out.close()
		a.events.close()
	})
	return nil
}

func toWire(o adapter.Options) wire.Options {
	w := wire.Options{Rooms: o.Rooms, Except: o.Except}
	w.Flags.Volatile = o.Flags.Volatile
	w.Flags.Timeout = float64(o.Flags.Timeout.Milliseconds())
	if o.Flags.NoCompress {
		compress := false
		w.Flags.Compress = &compress
	}
	return w
}

func fromWire(w wire.Options) adapter.Options {
	o := adapter.Options{Rooms: w.Rooms, Except: w.Except}
	o.Flags.Volatile = w.Flags.Volatile
	o.Flags.Timeout = time.Duration(w.Flags.Timeout * float64(time.Millisecond))
	o.Flags.NoCompress = w.Flags.Compress != nil && !*w.Flags.Compress
	return o
}

// Broadcast implements [adapter.Adapter]. It does not wait for Redis. If the
// stream cannot take the packet, it is delivered to the sockets of this server.
func (a *Adapter) Broadcast(ctx context.Context, p *parser.Packet, o adapter.Options) error {
	if o.Flags.Local {
		return a.InProcess.Broadcast(ctx, p, o)
	}
	b := &wire.Broadcast{Packet: *p, Options: toWire(o)}
	if o.Flags.Volatile {
		a.out.publish(a.public, &wire.Message{UID: a.uid, Namespace: a.host.Name(), Type: wire.BroadcastPacket, Broadcast: b})
		return a.deliver(p, o)
	}
	data, err := b.StreamData()
	if err != nil {
		return err
	}
	_, err = a.stream.Send(a.host.Name(), wire.BroadcastPacket, data, func(cause error) {
		a.opts.Logger.Warn("streams: broadcast reaches this server only", "namespace", a.host.Name(), "error", cause)
		a.deliverLogged(p, o)
	})
	return err
}

// deliver hands a packet to the sockets of this server.
func (a *Adapter) deliver(p *parser.Packet, o adapter.Options) error {
	if u, ok := a.host.(Unlogger); ok {
		return u.Unlogged(p, o)
	}
	return a.InProcess.Broadcast(a.base, p, o)
}

// deliverLogged is deliver where nobody could be told of an error.
func (a *Adapter) deliverLogged(p *parser.Packet, o adapter.Options) {
	if err := a.deliver(p, o); err != nil {
		a.opts.Logger.Warn("streams: broadcast can't be delivered", "namespace", a.host.Name(), "error", err)
	}
}

// onStream handles what is read from the stream, of this server too. It runs on
// the stream's goroutine.
func (a *Adapter) onStream(m *redislog.Message) {
	switch m.Type {
	case wire.BroadcastPacket:
		if m.Broadcast.RequestID == "" {
			p := m.Broadcast.Packet
			p.Namespace = a.host.Name()
			a.deliverLogged(&p, fromWire(m.Broadcast.Options))
		}
	case wire.Join, wire.Leave, wire.Disconnect:
		c, err := wire.ParseCommand(m.Data)
		if err != nil {
			a.opts.Logger.Warn("streams: malformed command", "namespace", a.host.Name(), "sender", m.UID, "error", err)
			return
		}
		a.apply(m.Type, c)
	}
}

// apply carries a command out on the sockets of this server. That cannot fail.
func (a *Adapter) apply(kind wire.Type, c *wire.Command) {
	o := fromWire(c.Options)
	switch kind {
	case wire.Join:
		_ = a.InProcess.AddSockets(a.base, o, c.Rooms)
	case wire.Leave:
		_ = a.InProcess.DelSockets(a.base, o, c.Rooms)
	case wire.Disconnect:
		_ = a.InProcess.DisconnectSockets(a.base, o, c.Close)
	}
}

// command sends a command and waits until this server has carried it out, in its
// turn. If that fails it is carried out on this server at least.
func (a *Adapter) command(ctx context.Context, kind wire.Type, o adapter.Options, c *wire.Command) error {
	c.Options = toWire(o)
	if o.Flags.Local {
		a.apply(kind, c)
		return nil
	}
	data, err := c.StreamData()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.opts.RequestTimeout)
	defer cancel()
	p, err := a.stream.Send(a.host.Name(), kind, data, nil)
	if err == nil {
		_, err = p.Wait(ctx)
	}
	if err != nil {
		a.apply(kind, c)
	}
	return err
}

// AddSockets implements [adapter.Adapter].
func (a *Adapter) AddSockets(ctx context.Context, o adapter.Options, rooms []string) error {
	return a.command(ctx, wire.Join, o, &wire.Command{Rooms: rooms})
}

// DelSockets implements [adapter.Adapter].
func (a *Adapter) DelSockets(ctx context.Context, o adapter.Options, rooms []string) error {
	return a.command(ctx, wire.Leave, o, &wire.Command{Rooms: rooms})
}

// DisconnectSockets implements [adapter.Adapter].
func (a *Adapter) DisconnectSockets(ctx context.Context, o adapter.Options, closeTransport bool) error {
	return a.command(ctx, wire.Disconnect, o, &wire.Command{Close: closeTransport})
}

// ErrMissing means that not all servers answered in time. What came until then
// is returned with it.
var ErrMissing = errors.New("not all servers answered")
