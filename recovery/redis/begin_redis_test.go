//go:build redis

package redislog

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

// What is begun anew within the millisecond in which its predecessor was lost is behind all of it, also of what only other
// nodes have seen.
func TestNewBeginningIsBehindTheOldEnd(t *testing.T) {
	server := redistest.Start(t)
	a := newNode(t, server.Client(), Options{})
	e := extent{start: a.stream.position()}
	for range 100 {
		eventually(t, "Redis is past the last beginning", func() bool {
			return server.Client().Time(t.Context()).Val().UnixMilli() > int64(e.start.MS)
		})
		answer, err := redis.NewScript(`
			local id = redis.call('XADD', KEYS[1], '*', 'nsp', '/other')
			redis.call('DEL', KEYS[1], KEYS[2])
			return id`).Run(t.Context(), server.Client(), a.stream.keys()).Text()
		if err != nil {
			t.Fatal(err)
		}
		old, err := recovery.ParseOffset(answer)
		if err != nil {
			t.Fatal(err)
		}
		e, err = a.stream.begin(t.Context(), recovery.Offset{}, recovery.Offset{})
		if err != nil {
			t.Fatal(err)
		}
		if !e.start.After(old) {
			t.Fatalf("began at %v, after %v", e.start, old)
		}
	}
}

// The history is replaced by one that started before this node's position, as by a Redis with a slower clock, and that has
// an entry of the same offset: it is not the one that this node has read.
func TestAnotherEntryOfTheSameOffset(t *testing.T) {
	server := redistest.Start(t)
	a := newNode(t, server.Client(), Options{})
	at := a.publish(entry("1", "r"))
	start := recovery.Offset{MS: at.MS - 5}
	if _, err := server.Client().TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Del(t.Context(), a.stream.keys()...)
		for _, id := range []recovery.Offset{start, {MS: at.MS - 3}, at} {
			p.XAdd(t.Context(), &redis.XAddArgs{Stream: "socket.io", ID: id.String(), Values: []any{"nsp", "/other"}})
		}
		p.HSet(t.Context(), a.stream.key(":history"), "start", start.String(), "deleted", 0, "begun", 1)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hole is noticed", func() bool { return a.gapCount() == 1 })
	if next := a.publish(entry("2", "r")); !next.After(at) {
		t.Errorf("%v came after %v", next, at)
	}
	if n := a.gapCount(); n != 1 {
		t.Errorf("%d gaps", n)
	}
}
