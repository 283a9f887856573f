//go:build redis

package redislog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
)

const patience = time.Minute

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// node is a node of a cluster with one namespace, which notes what is handed out.
type node struct {
	t      testing.TB
	stream *Stream
	log    *Sequencer

	mu   sync.Mutex
	got  []recovery.Entry
	gaps []recovery.GapError
	at   []int // how many entries had been handed out before each gap
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newNode(t testing.TB, rdb redis.UniversalClient, opts Options) *node {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet()
	}
	stream, err := Open(t.Context(), rdb, opts)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, stream: stream}
	t.Cleanup(n.stop)
	n.log, err = stream.NewSequencer(t.Context(), SequencerOptions{Namespace: "/", Hot: memory.NewLog(memory.LogOptions{}),
		Deliver: n.deliver, Gap: n.gap})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := errors.Join(n.log.Close(ctx), n.stream.Close(ctx)); err != nil {
		n.t.Errorf("close: %v", err)
	}
}

func (n *node) deliver(entries []recovery.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, entries...)
}

func (n *node) gap(gap *recovery.GapError) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gaps = append(n.gaps, *gap)
	n.at = append(n.at, len(n.got))
}

func (n *node) delivered() []recovery.Entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got)
}

func (n *node) deliveredCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.got)
}

func (n *node) gapCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.gaps)
}

func entry(id, room string) recovery.Entry {
	e := recovery.Entry{ID: id, Data: fmt.Appendf(nil, `["e",%q]`, id)}
	if room != "" {
		e.Rooms = []string{room}
	}
	return e
}

// publish publishes until it is accepted, as a publisher with a key does.
func (n *node) publish(e recovery.Entry) recovery.Offset {
	n.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		offset, _, err := n.log.Publish(ctx, e)
		cancel()
		if err == nil {
			return offset
		}
		if time.Now().After(deadline) {
			n.t.Errorf("publish %s: %v", e.ID, err)
			return recovery.Offset{}
		}
	}
}

func offsets(entries []recovery.Entry) []recovery.Offset {
	list := make([]recovery.Offset, len(entries))
	for i := range entries {
		list[i] = entries[i].Offset
	}
	return list
}

func ids(entries []recovery.Entry) []string {
	list := make([]string, len(entries))
	for i := range entries {
		list[i] = entries[i].ID
	}
	return list
}

func readAll(r recovery.Reader, q recovery.Query) (entries []recovery.Entry, err error) {
	for {
		page, err := r.Read(context.Background(), "/", q)
		if err != nil {
			return entries, err
		}
		if page.More && !page.Next.After(q.After) {
			return entries, fmt.Errorf("no progress after %v", q.After)
		}
		entries = append(entries, page.Entries...)
		q.After = page.Next
		if !page.More {
			return entries, nil
		}
	}
}

func checkOrder(t testing.TB, entries []recovery.Entry) {
	t.Helper()
	seen := make(map[string]bool)
	for i := range entries {
		if i > 0 && !entries[i].Offset.After(entries[i-1].Offset) {
			t.Fatalf("%v was handed out after %v", entries[i].Offset, entries[i-1].Offset)
		}
		if seen[entries[i].ID] {
			t.Fatalf("%s was handed out twice", entries[i].ID)
		}
		seen[entries[i].ID] = true
	}
}
