//go:build redis

package twine_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/adapter/streams"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine"
)

func init() {
	logging.Disable() // servers are killed here
	moreStores["redis"] = func(t testing.TB) *twine.Recovery { return onRedis(t, redistest.Start(t)) }
	adapterOf = func(r *twine.Recovery) adapter.Constructor {
		if r == nil || r.Shared == nil {
			return nil
		}
		return streams.New(r.Shared.(*redislog.Stream), streams.Options{})
	}
}

// onRedis returns the options of one more server of the cluster that shares a Redis.
func onRedis(t testing.TB, server *redistest.Server) *twine.Recovery {
	t.Helper()
	rdb, err := redislog.Dial("redis://" + server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return onClient(t, rdb, redislog.Options{Window: time.Hour})
}

func onClient(t testing.TB, rdb redis.UniversalClient, opts redislog.Options) *twine.Recovery {
	t.Helper()
	t.Cleanup(func() { _ = rdb.Close() })
	stream, err := redislog.Open(t.Context(), rdb, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = stream.Close(ctx)
	})
	peers, err := redislog.NewPeers(t.Context(), rdb, redislog.PeersOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = peers.Close(ctx)
	})
	return &twine.Recovery{Shared: stream, Peers: peers, Sessions: redislog.NewSessions(rdb, redislog.SessionsOptions{})}
}
