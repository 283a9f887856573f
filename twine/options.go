package twine

import (
	"log/slog"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
)

// Options configures a [Server]. The zero value has the defaults of the reference implementation.
type Options struct {
	// Engine configures the transports: heartbeats, sizes, cookies, CORS and so on.
	Engine engineio.Options

	// ConnectTimeout is how long a connection may stay without having joined any namespace before it is closed.
	// Zero means 45 s.
	ConnectTimeout time.Duration

	// Adapter makes each namespace's adapter. Nil means [adapter.Memory]: this server stands alone.
	Adapter adapter.Constructor

	// Codec is the format of packets on the wire. Clients must use the same. Nil means [parser.JSON].
	Codec parser.Codec

	// CleanupEmptyChildNamespaces removes a namespace that was created for a pattern or function, see
	// [Server.OfPattern], once its last socket has left.
	CleanupEmptyChildNamespaces bool

	// Recovery turns on connection state recovery. Nil means off.
	Recovery *Recovery

	// MaxPendingEvents bounds how many events of one socket wait for its handlers. A full inbox holds the client's
	// connection back. Zero means 1,024.
	MaxPendingEvents int

	// MaxNamespaces bounds how many namespaces one connection may be part of or be joining at a time. Zero means 1,000.
	MaxNamespaces int

	// DisconnectGrace is how long the context of a socket that has disconnected stays alive for handlers that are still
	// running or have yet to run for events that the client sent before. So the common "emit, then disconnect" is not
	// lost to a cancelled context. Zero means 5 s; negative means none.
	DisconnectGrace time.Duration

	// Logger receives what an operator should know, such as panics of handlers. Nil means slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.ConnectTimeout == 0 {
		opts.ConnectTimeout = 45 * time.Second
	}
	if opts.Adapter == nil {
		opts.Adapter = adapter.Memory
	}
	if opts.Codec == nil {
		opts.Codec = parser.JSON
	}
	opts.Recovery = opts.Recovery.withDefaults()
	if opts.MaxPendingEvents <= 0 {
		opts.MaxPendingEvents = 1024
	}
	if opts.MaxNamespaces <= 0 {
		opts.MaxNamespaces = 1000
	}
	if opts.DisconnectGrace == 0 {
		opts.DisconnectGrace = 5 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Engine.Logger == nil {
		opts.Engine.Logger = opts.Logger
	}
	return opts
}

// inboxTimeout is how long a client's connection is held back by a full inbox before it is closed. A client that is
// held back cannot answer pings either, so this is no shorter life than it would have otherwise.
func (o *Options) inboxTimeout() time.Duration {
	if t := o.Engine.PingTimeout; t > 0 {
		return t
	}
	return 20 * time.Second
}
