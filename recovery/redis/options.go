package redislog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/wire"
)

// Archive is the tier below the stream: it keeps entries for longer. It is
// shared by all nodes. A recovery.Log is one if it takes what several nodes
// append: the entries of one call have ascending offsets, but not those of
// concurrent calls, and an entry may be appended twice.
type Archive interface {
	recovery.Reader
	// Read is that of recovery.Reader. An archive that does not know yet whether
	// it has everything returns a shorter page or, if that would be empty, an
	// error that matches neither recovery.ErrGap nor recovery.ErrFuture.

	// Append returns when the entries are durable.
	Append(ctx context.Context, ns string, entries []recovery.Entry) error
	// Lookup finds entries by their ID, as recovery.Log does.
	Lookup(ctx context.Context, ns string, ids []string) (map[string]recovery.Offset, error)
}

// Options describe a Stream. The zero value is useful.
type Options struct {
	// Name is the stream's key. Zero: "socket.io", as servers of Node have it.
	Name string

	// Window is how long entries stay in the stream. With an Archive it has to
	// be much longer than an Append to that can take. Servers of Node trim the
	// stream too, by its length. Zero: 2 minutes.
	Window time.Duration

	// IDWindow is how long idempotency keys are known. Zero: 24 hours.
	IDWindow time.Duration

	// Archive, if not nil, has every accepted entry. It is not closed.
	Archive Archive

	// Late says whether an error of Archive.Append means that the entries will
	// never be taken at their offsets, because readers have gone past them. Then
	// their ids are forgotten, so that their publishers can try again. Nil: no
	// error does.
	Late func(err error) bool

	// Durability says whether acceptance waits for the Archive. With
	// recovery.Async it is retried until it has the entry, or the stream is closed.
	Durability recovery.Durability

	// Replicas is how many replicas of Redis have to have an entry before it is
	// accepted, and before it is handed out. There
	// should be more of them than that: after a failover nothing is accepted until
	// so many have the history of the new primary, and a server that comes back
	// reads all of it from its disk and then from the primary.
	Replicas int

	// What may wait: entries that are queued, or not yet accepted for other
	// reasons. Past it Publish waits and Append fails with recovery.ErrFull.
	// Zero: 65,536 entries, 64 MiB in terms of Entry.Size.
	MaxQueued, MaxQueuedBytes int

	// What one script appends, during which Redis does nothing else. Zero: 256
	// entries, 1 MiB.
	MaxBatch, MaxBatchBytes int

	// CallTimeout bounds each call of Redis. The client's own timeouts do so as
	// well, and have to be longer than half a second. Zero: 2 s.
	CallTimeout time.Duration

	// CommitTimeout is how long a batch is retried, and how long one call of the
	// Archive may take. Zero: 10 s.
	CommitTimeout time.Duration

	Logger *slog.Logger // nil: slog.Default
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = wire.DefaultStream
	}
	setDefault(&o.Window, 2*time.Minute)
	setDefault(&o.IDWindow, 24*time.Hour)
	setDefault(&o.MaxQueued, 65536)
	setDefault(&o.MaxQueuedBytes, 64<<20)
	setDefault(&o.MaxBatch, 256)
	setDefault(&o.MaxBatchBytes, 1<<20)
	setDefault(&o.CallTimeout, 2*time.Second)
	setDefault(&o.CommitTimeout, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Dial returns a client with the timeouts that this package wants. It does not
// connect yet. The URL is "redis://user:password@host:port/db", "rediss://" for
// TLS. With more addresses, "?addr=host:port&addr=…", they are those of a Redis
// Cluster; with "?master_name=…" too, those of Sentinels. More parameters are
// those of package redis.
func Dial(address string) (redis.UniversalClient, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w", errors.Unwrap(err)) // without the URL, which may have a password
	}
	switch query := u.Query(); {
	case query.Has("master_name"):
		opts, err := redis.ParseFailoverURL(address)
		if err != nil {
			return nil, err
		}
		opts.ContextTimeoutEnabled, opts.MaxRetries = true, 1
		return redis.NewFailoverClient(opts), nil
	case query.Has("addr"):
		opts, err := redis.ParseClusterURL(address)
		if err != nil {
			return nil, err
		}
		opts.ContextTimeoutEnabled, opts.MaxRetries = true, 1
		return redis.NewClusterClient(opts), nil
	}
	opts, err := redis.ParseURL(address)
	if err != nil {
		return nil, err
	}
	opts.ContextTimeoutEnabled, opts.MaxRetries = true, 1
	return redis.NewClient(opts), nil
}
