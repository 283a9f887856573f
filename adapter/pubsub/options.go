package pubsub

import (
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/adapter"
)

// Options describe the adapters of a server. The zero value has the defaults of servers of Node.
type Options struct {
	// Key begins the names of all channels. It must be the same on all servers and emitters. Zero: "socket.io".
	Key string
	// RequestsTimeout bounds how long other servers are waited for, unless the caller's context ends first, and each call
	// of Redis. Zero: 5 s.
	RequestsTimeout time.Duration
	// PublishOnSpecificResponseChannel sends answers to the server that asked alone, instead of to all. Servers of Node
	// understand that since version 8.2 of their adapter. Servers of Twine do it among themselves anyway.
	PublishOnSpecificResponseChannel bool
	// AckTimeout is how long clients of this server may take to answer a broadcast of another server that did not say.
	// Zero: 1 minute.
	AckTimeout time.Duration
	// Logger gets what an operator should know, such as that Redis is away. Nil: slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Key == "" {
		o.Key = "socket.io"
	}
	if o.RequestsTimeout <= 0 {
		o.RequestsTimeout = 5 * time.Second
	}
	if o.AckTimeout <= 0 {
		o.AckTimeout = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// maxAckTimeout bounds how long another server can make this one wait for its clients.
const maxAckTimeout = 24 * time.Hour

var (
	// ErrUnreachable means that Redis did not take a message, or did not take the ones before it. What the call does on
	// this server is done; the other servers may not have heard of it.
	ErrUnreachable = errors.New("pubsub: other servers are not reached")
	// ErrMissing means that not all servers answered in time. What came until then is returned with it.
	ErrMissing = errors.New("pubsub: not all servers answered")

	errRing   = errors.New("pubsub: a redis.Ring cannot be used: its nodes do not pass messages on to each other")
	errClosed = errors.New("pubsub: the adapter is closed")
)

// New returns the constructor of the adapters of one server's namespaces, which share a connection that listens. Each
// server needs its own, because servers are counted by these connections. rdb must outlive the server, which does not
// close it.
func New(rdb redis.UniversalClient, opts Options) adapter.Constructor {
	if _, ok := rdb.(*redis.Ring); ok {
		return func(adapter.Host) (adapter.Adapter, error) { return nil, errRing }
	}
	h := newHub(rdb, opts.withDefaults())
	return func(host adapter.Host) (adapter.Adapter, error) { return newAdapter(host, h), nil }
}
