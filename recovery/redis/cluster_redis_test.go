//go:build redis

package redislog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/recoverytest"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

func dial(t testing.TB, addrs ...string) redis.UniversalClient {
	t.Helper()
	rdb, err := Dial("redis://" + addrs[0] + "?addr=" + strings.Join(addrs[1:], "&addr="))
	if len(addrs) == 1 {
		rdb, err = Dial("redis://" + addrs[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	addrs := redistest.StartCluster(t)
	t.Run("Sessions", func(t *testing.T) {
		rdb := dial(t, addrs...)
		stores := 0
		recoverytest.Sessions(t, func(_ testing.TB, now func() time.Time) recoverytest.SessionsUnderTest {
			stores++
			return recoverytest.SessionsUnderTest{Sessions: NewSessions(rdb, SessionsOptions{
				Prefix: fmt.Sprint("test", stores, ":"), Hold: recoverytest.Hold, Now: now})}
		})
	})
	t.Run("Stream", func(t *testing.T) {
		a, b := newNode(t, dial(t, addrs...), Options{}), newNode(t, dial(t, addrs...), Options{})
		start := a.log.Handed()
		l := startLoad(a, b)
		l.more(t, 500)
		l.stop()
		l.whole(t, a, b)
		late := newNode(t, dial(t, addrs...), Options{})
		got, err := readAll(late.log, recovery.Query{After: start, Rooms: []string{"r"}})
		if err != nil || !slices.Equal(offsets(got), offsets(a.delivered())) {
			t.Errorf("read %d entries of %d, %v", len(got), len(a.delivered()), err)
		}
		if err := dial(t, addrs...).(*redis.ClusterClient).ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error {
			return c.FlushAll(ctx).Err()
		}); err != nil {
			t.Fatal(err)
		}
		for _, n := range []*node{a, b} {
			eventually(t, "the hole is noticed", func() bool { return n.gapCount() == 1 })
		}
		a.publish(entry("after", "r"))
	})
}

// An entry is accepted when a replica has it.
func TestReplicas(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	host, port, _ := strings.Cut(server.Addr, ":")
	replica := redistest.Start(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	rdb := dial(t, server.Addr)
	eventually(t, "the replica is there", func() bool {
		return strings.Contains(rdb.Info(t.Context(), "replication").Val(), "state=online")
	})
	a := newNode(t, rdb, Options{Replicas: 1, CommitTimeout: 3 * time.Second})
	a.publish(entry("1", "r"))
	if n := replica.Client().XLen(t.Context(), "socket.io").Val(); n != 2 {
		t.Errorf("the replica has %d entries", n)
	}
	replica.Kill()
	if _, _, err := a.log.Publish(t.Context(), entry("2", "r")); !errors.Is(err, recovery.ErrNotDurable) {
		t.Errorf("without the replica: %v", err)
	}
	replica.Run()
	a.publish(entry("2", "r"))
	if got := ids(a.delivered()); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("handed out %v", got)
	}
}
