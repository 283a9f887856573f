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
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

func openStreams(t testing.TB, rdb redis.UniversalClient, count int) *Streams {
	t.Helper()
	streams, err := OpenStreams(t.Context(), rdb, Options{Logger: quiet()}, count)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := streams.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return streams
}

// joinStreams returns a node for each namespace, of one process.
func joinStreams(t testing.TB, streams *Streams, namespaces []string) (nodes []*node) {
	t.Helper()
	for _, ns := range namespaces {
		n := &node{t: t, stream: streams.Of(ns)}
		log, err := streams.Join(t.Context(), SequencerOptions{Namespace: ns, Deliver: n.deliver, Gap: n.gap})
		if err != nil {
			t.Fatal(err)
		}
		n.log = log.(*Sequencer)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := n.log.Close(ctx); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		nodes = append(nodes, n)
	}
	return nodes
}

// Each namespace has one order on all nodes, and its history, in the stream that has its name.
func TestSeveralStreams(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	namespaces := []string{"/", "/chat", "/news", "/admin", "/ünïcode"}
	rdb := server.Client()
	a, b := openStreams(t, rdb, 4), openStreams(t, server.Client(), 4)
	as, bs := joinStreams(t, a, namespaces), joinStreams(t, b, namespaces)
	const each = 100
	for i := range each {
		for n, ns := range namespaces {
			for _, node := range []*node{as[n], bs[n]} {
				if _, err := node.log.Append(entry(fmt.Sprint(ns, i, node.stream.UID()), "r")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for n, ns := range namespaces {
		for _, node := range []*node{as[n], bs[n]} {
			eventually(t, "all is handed out", func() bool { return node.deliveredCount() == 2*each })
			checkOrder(t, node.delivered())
		}
		want := offsets(as[n].delivered())
		if !slices.Equal(offsets(bs[n].delivered()), want) {
			t.Errorf("namespace %s has two orders", ns)
		}
		page, err := bs[n].log.Read(t.Context(), ns, recovery.Query{After: want[0], Rooms: []string{"r"}})
		if got := offsets(page.Entries); err != nil || !slices.Equal(got, want[1:]) {
			t.Errorf("read %d entries of namespace %s, %v", len(got), ns, err)
		}
		if got := rdb.XLen(t.Context(), StreamName("socket.io", ns, 4)).Val(); got < 2*each {
			t.Errorf("%d entries in the stream of %s", got, ns)
		}
	}
	if err := errors.Join(a.Err(), b.Err()); err != nil {
		t.Error(err)
	}
	server.Pause()
	eventually(t, "the outage is seen", func() bool { return a.Err() != nil && b.Err() != nil })
	server.Resume()
	eventually(t, "its end too", func() bool { return a.Err() == nil && b.Err() == nil })
}

func TestOneOfSeveralStreams(t *testing.T) {
	streams := openStreams(t, redistest.Start(t).Client(), 1)
	if streams.Of("/") != streams.Of("/chat") || streams.Of("/").opts.Name != "socket.io" {
		t.Error("one stream is not one")
	}
}

func TestStreamsThatCannotBe(t *testing.T) {
	server := redistest.Start(t)
	for _, count := range []int{-1, 0, maxStreams + 1} {
		if _, err := OpenStreams(t.Context(), server.Client(), Options{}, count); err == nil {
			t.Errorf("%d streams", count)
		}
	}
	small := redis.NewClient(&redis.Options{Addr: server.Addr, PoolSize: 8})
	defer small.Close()
	if _, err := OpenStreams(t.Context(), small, Options{}, 4); err == nil || !strings.Contains(err.Error(), "PoolSize") {
		t.Errorf("more streams than connections: %v", err)
	}
	addr := server.Addr
	server.Kill()
	gone := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	defer gone.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := OpenStreams(ctx, gone, Options{Logger: quiet()}, 2); err == nil {
		t.Error("opened without Redis")
	}
}

// On a Redis Cluster the streams are on different nodes of it.
func TestSeveralStreamsOnACluster(t *testing.T) {
	t.Parallel()
	addrs := redistest.StartCluster(t)
	namespaces := []string{"/", "/news", "/admin", "/ünïcode"}
	large := func() redis.UniversalClient {
		rdb, err := Dial("redis://" + addrs[0] + "?pool_size=20&addr=" + addrs[1] + "&addr=" + addrs[2])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	a, b := openStreams(t, large(), 4), openStreams(t, large(), 4)
	as, bs := joinStreams(t, a, namespaces), joinStreams(t, b, namespaces)
	for n := range namespaces {
		as[n].publish(entry("1", "r"))
		bs[n].publish(entry("2", "r"))
		for _, node := range []*node{as[n], bs[n]} {
			eventually(t, "both are handed out", func() bool { return slices.Equal(ids(node.delivered()), []string{"1", "2"}) })
		}
	}
}
