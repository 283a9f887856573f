//go:build redis

package redislog

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

// A Redis that lost its newest entries, and whose clock is behind that of the one before, gives an offset that this node is
// past already. What gets it would never be handed out, and clients would skip it: it is not accepted.
func TestOffsetsThatGoBack(t *testing.T) {
	server := redistest.Start(t, "--dbfilename", "old.rdb")
	rdb := server.Client()
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	var got []recovery.Entry
	stream, err := Open(t.Context(), rdb, Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStream(stream)
	release := sync.OnceFunc(func() { close(leave) })
	defer release()
	log, err := stream.NewSequencer(t.Context(), SequencerOptions{Namespace: "/",
		Deliver: func(entries []recovery.Entry) {
			once.Do(func() { close(entered); <-leave })
			mu.Lock()
			defer mu.Unlock()
			got = append(got, entries...)
		},
		Gap: func(*recovery.GapError) {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := rdb.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	// The clock of this one is an hour ahead.
	future := recovery.Offset{MS: uint64(time.Now().Add(time.Hour).UnixMilli())}
	if err := rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: "socket.io", ID: future.String(), Values: []any{"nsp", "/other"}}).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is there", func() bool { return stream.position() == future })
	if _, err := log.Append(entry("1", "r")); err != nil {
		t.Fatal(err)
	}
	<-entered // with what was read, so that the reader does not notice what comes now
	eventually(t, "the node knows the offset", func() bool { return stream.newest().After(future) })
	server.Kill()
	server.Run()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if offset, dup, err := log.Publish(ctx, entry("2", "r")); !errors.Is(err, recovery.ErrNotDurable) || ctx.Err() != nil {
		t.Errorf("accepted at %v, %v, %v; the node was at %v", offset, dup, err, future)
	}
	release()
	var second recovery.Offset
	eventually(t, "it is accepted", func() bool {
		var dup bool
		second, dup, err = log.Publish(ctx, entry("2", "r"))
		if dup {
			t.Errorf("a duplicate of what was not accepted, at %v", second)
		}
		return err == nil
	})
	if !second.After(future) {
		t.Errorf("accepted at %v, after %v was read", second, future)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"1", "2"}; !slices.Equal(ids(got), want) {
		t.Errorf("handed out %v, want %v", ids(got), want)
	}
}
