//go:build redis

package twine_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twine-realtime/twine/adapter/streams"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine"
)

// onStreams starts one more server of a cluster whose namespaces are on several streams of a Redis.
func onStreams(t *testing.T, redis *redistest.Server, count int, namespaces []string) *testServer {
	t.Helper()
	rdb, err := redislog.Dial("redis://" + redis.Addr + "?pool_size=30")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	all, err := redislog.OpenStreams(t.Context(), rdb, redislog.Options{Window: time.Hour}, count)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = all.Close(ctx)
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
	srv := serve(t, &twine.Options{
		Recovery: &twine.Recovery{Shared: all, Peers: peers, Sessions: redislog.NewSessions(rdb, redislog.SessionsOptions{})},
		Adapter:  streams.New(all, streams.Options{}),
	})
	for _, ns := range namespaces {
		srv.Of(ns).OnConnect(func(s *twine.Socket) {
			if !s.Recovered() {
				s.Join("room")
			}
		})
	}
	return srv
}

// Clients of several namespaces, on several streams, come back to another server, one after the other.
func TestRestoreElsewhereFromSeveralStreams(t *testing.T) {
	redis := redistest.Start(t)
	namespaces := []string{"/", "/news", "/admin", "/ünïcode"}
	a, b := onStreams(t, redis, 4, namespaces), onStreams(t, redis, 4, namespaces)
	var clients []*stockClient
	for _, ns := range namespaces {
		c := newStock(t)
		c.ns = ns
		c.connect(a)
		sid := c.view().sid
		eventually(t, "the join", func() bool { return slices.Contains(a.Of(ns).Socket(sid).Rooms(), "room") })
		publishNumbers(t, b.Of(ns).To("room"), 1, 2)
		c.expect("n", "1", "2")
		clients = append(clients, c)
	}
	for _, c := range clients {
		sid := c.view().sid
		c.cut()
		eventually(t, "the socket is gone", func() bool { return a.Of(c.ns).Socket(sid) == nil })
		publishNumbers(t, a.Of(c.ns).To("room"), 3, 30)
		publishNumbers(t, b.Of(c.ns).To("room"), 31, 40)
	}
	for _, c := range clients {
		sid := c.view().sid
		c.connect(b)
		if v := c.view(); !v.recovered || v.sid != sid {
			t.Errorf("not recovered in %s: %+v", c.ns, v)
		}
		publishNumbers(t, a.Of(c.ns).To(sid), 41, 41)
		c.expect("n", numbers(1, 41)...)
	}
	keys, err := redis.Client().Keys(t.Context(), "socket.io*").Result()
	if err != nil || len(keys) != 7 {
		t.Errorf("streams are %v, %v", keys, err)
	}
}
