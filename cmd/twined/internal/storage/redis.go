package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/adapter/streams"
	"github.com/twine-realtime/twine/cmd/twined/internal/config"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/dynamodb"
	redislog "github.com/twine-realtime/twine/recovery/redis"
)

// shortestStream is how much of the history Redis keeps at the least when DynamoDB keeps the rest. It has to be much longer
// than a write to that can take.
const shortestStream = 2 * time.Minute

// commitTimeout is how long a write of messages is tried. After settleDelay, which has to be longer by more than clocks differ,
// DynamoDB is taken to have all that it will ever get: that is how long clients wait after Redis has lost its memory.
const (
	commitTimeout = 5 * time.Second
	settleDelay   = 8 * time.Second
)

// clockSkew is how far the clocks of nodes and of Redis may be apart before a page that was reloaded can miss a message.
const clockSkew = 2 * time.Second

// openCluster joins the cluster whose nodes share a Redis.
func (s *Storage) openCluster(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	redis.SetLogger(quiet{log})
	rdb, err := redislog.Dial(cfg.RedisURL)
	if err != nil {
		return fmt.Errorf("--redis-url: %w", err)
	}
	s.onClose(func(context.Context) error { return rdb.Close() })
	opts := redislog.Options{
		Window: cfg.RecoveryWindow, IDWindow: cfg.RecoveryWindow, Durability: s.Recovery.Durability,
		Replicas: cfg.RedisReplicas, CommitTimeout: commitTimeout, Logger: log,
	}
	var table *dynamodb.Store
	if cfg.DynamoDBTable != "" {
		if table, err = s.dialTable(ctx, cfg, dynamodb.Options{Shared: true, CommitDelay: settleDelay, ClockSkew: clockSkew, Logger: log}); err != nil {
			return err
		}
		archive := watch(table.Log())
		s.onClose(archive.stop)
		s.unready = append(s.unready, archive.unready)
		opts.Archive = archive
		opts.Window = max(cfg.HotWindow, shortestStream)
		opts.Late = func(err error) bool { return errors.Is(err, dynamodb.ErrLate) }
	}
	var stream *redislog.Stream
	err = persist(ctx, log, "Redis", func(ctx context.Context) (final bool, err error) {
		if stream, err = redislog.Open(ctx, rdb, opts); err != nil {
			return refused(err), err
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("--redis-url: %w", err)
	}
	s.onClose(stream.Close)
	s.unready = append(s.unready, func() string {
		if stream.Err() != nil {
			return "Redis is out of reach"
		}
		return ""
	})
	if s.Peers, err = redislog.NewPeers(ctx, rdb, redislog.PeersOptions{Info: cfg.AdvertiseURL, Logger: log}); err != nil {
		return fmt.Errorf("--redis-url: %w", err)
	}
	s.onClose(s.Peers.Close)
	s.Recovery.Shared, s.Recovery.Peers, s.Recovery.ClockSkew = stream, s.Peers, clockSkew
	// Sessions are where the history is that they point into.
	if table != nil {
		s.Recovery.Sessions = table.Sessions()
	} else {
		s.Recovery.Sessions = redislog.NewSessions(rdb, redislog.SessionsOptions{})
	}
	s.Adapter = streams.New(stream, streams.Options{Logger: log})
	return nil
}

// refused reports whether Redis answered, with something that trying again does not change.
func refused(err error) bool {
	return redis.HasErrorPrefix(err, "NOAUTH") || redis.HasErrorPrefix(err, "WRONGPASS") || redis.HasErrorPrefix(err, "NOPERM") ||
		redis.HasErrorPrefix(err, "WRONGTYPE") || redis.HasErrorPrefix(err, "ERR unknown")
}

// persist calls f until it succeeds, fails for good, or ctx ends.
func persist(ctx context.Context, log *slog.Logger, service string, f func(ctx context.Context) (final bool, err error)) error {
	for attempt := 0; ; attempt++ {
		final, err := f(ctx)
		if err == nil || final {
			return err
		}
		if attempt == 0 {
			log.Warn("waiting for "+service, "error", err)
		}
		pause := time.NewTimer(min(time.Duration(attempt+1)*200*time.Millisecond, 2*time.Second))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

// watchedArchive notes whether the durable tier takes what it is given.
type watchedArchive struct {
	redislog.Archive
	failing atomic.Bool // the last attempt failed, and nothing has shown since then that it would not

	ctx     context.Context // of probes
	cancel  context.CancelFunc
	probing chan struct{} // has room for the one probe that is under way
}

func watch(archive redislog.Archive) *watchedArchive {
	a := &watchedArchive{Archive: archive, probing: make(chan struct{}, 1)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// stop ends the probe that is under way, and lets none begin.
func (a *watchedArchive) stop(context.Context) error {
	a.cancel()
	a.probing <- struct{}{}
	return nil
}

func (a *watchedArchive) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	err := a.Archive.Append(ctx, ns, entries)
	a.failing.Store(err != nil && !errors.Is(err, dynamodb.ErrLate) && !errors.Is(err, dynamodb.ErrTooLarge))
	return err
}

// probeTimeout bounds how long an answer is waited for that shows that the durable tier is back.
const probeTimeout = 2 * time.Second

// unready also looks whether what failed is well again: while it says that it is not, no message may come to show it.
func (a *watchedArchive) unready() string {
	if !a.failing.Load() {
		return ""
	}
	select {
	case a.probing <- struct{}{}:
		go a.probe()
	default:
	}
	return "DynamoDB takes no messages"
}

func (a *watchedArchive) probe() {
	defer func() { <-a.probing }()
	ctx, cancel := context.WithTimeout(a.ctx, probeTimeout)
	defer cancel()
	if _, err := a.Last(ctx, "/"); err == nil {
		a.failing.Store(false)
	}
}

// quiet takes what the Redis client says by itself: failed attempts, which those who made the calls report too.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(_ context.Context, format string, args ...any) {
	q.log.Debug("redis client: " + fmt.Sprintf(format, args...))
}
