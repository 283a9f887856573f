//go:build redis

package redislog

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/recovery/redis/wire"
)

func failoverNode(t *testing.T, f *redistest.Failover, opts Options) *node {
	t.Helper()
	rdb, err := Dial(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return newNode(t, rdb, opts)
}

// The primary is killed, or does not answer any more, while nodes publish. All that is accepted is in the stream of the
// one that takes over, and publishing goes on soon after that has a replica.
func TestFailover(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, f *redistest.Failover, n *node){
		"killed": func(_ *testing.T, f *redistest.Failover, _ *node) { f.Servers[0].Kill() },
		"hangs":  func(_ *testing.T, f *redistest.Failover, _ *node) { f.Servers[0].Pause() },
		// What is lost has not been handed out either: its publishers send it again.
		"killed with what the replica does not have": func(t *testing.T, f *redistest.Failover, n *node) {
			f.Servers[1].Pause()
			if err := f.Servers[0].Client().Do(t.Context(), "CLIENT", "KILL", "TYPE", "replica").Err(); err != nil {
				t.Fatal(err)
			}
			length := func() int64 { return f.Servers[0].Client().XLen(t.Context(), wire.DefaultStream).Val() }
			before := length()
			eventually(t, "the primary has more", func() bool { return length() > before })
			count := n.deliveredCount()
			f.Servers[0].Kill()
			if got := n.deliveredCount(); got > count {
				t.Errorf("%d entries were handed out that the replica does not have", got-count)
			}
			f.Servers[1].Resume()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it is mostly the Sentinel's waiting
			f := redistest.StartFailover(t)
			archive := newArchive()
			opts := Options{Replicas: 1, Archive: archive, CommitTimeout: 2 * time.Second}
			a, b := failoverNode(t, f, opts), failoverNode(t, f, opts)
			start := a.log.Handed()
			l := startLoad(a, b)
			l.more(t, 500)
			began := time.Now()
			end(t, f, b)
			f.AwaitNewPrimary()
			t.Logf("the replica has taken over after %v", time.Since(began))
			// With the old one, which still hangs, there is nobody to replicate to.
			f.Servers[0].Kill()
			f.RunReplica()
			rdb := f.Servers[0].Client()
			eventually(t, "the new replica is there", func() bool {
				return strings.Contains(rdb.Info(t.Context(), "replication").Val(), "master_link_status:up")
			})
			linked := time.Now()
			t.Logf("the new replica is there after %v", time.Since(began))
			l.more(t, 1)
			t.Logf("publishing goes on after %v", time.Since(began))
			if took := time.Since(linked); took > 15*time.Second {
				t.Errorf("publishing goes on %v after that", took)
			}
			l.more(t, 500)
			l.stop()
			checkFailover(t, l, a, b, start)
		})
	}
}

// The primary is told to become a replica: it goes on to answer, with READONLY.
func TestSwitchover(t *testing.T) {
	t.Parallel()
	f := redistest.StartFailover(t)
	opts := Options{Replicas: 1, Archive: newArchive()}
	a, b := failoverNode(t, f, opts), failoverNode(t, f, opts)
	start := a.log.Handed()
	l := startLoad(a, b)
	l.more(t, 500)
	began := time.Now()
	f.Switch()
	t.Logf("the replica has taken over after %v", time.Since(began))
	rdb := f.Servers[0].Client()
	eventually(t, "the old primary is a replica", func() bool {
		return strings.Contains(rdb.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	t.Logf("the old primary is its replica after %v", time.Since(began))
	linked := time.Now()
	l.more(t, 20)
	t.Logf("publishing goes on after %v", time.Since(began))
	if took := time.Since(linked); took > 15*time.Second {
		t.Errorf("publishing goes on %v after that", took)
	}
	l.more(t, 500)
	l.stop()
	checkFailover(t, l, a, b, start)
}

// checkFailover checks that a client that was away since start gets all that was accepted, once, at the offsets that the
// publishers were told, and that no node handed anything out against the order.
func checkFailover(t *testing.T, l *load, a, b *node, start recovery.Offset) {
	t.Helper()
	end := a.publish(entry("end", "r"))
	for _, n := range []*node{a, b} {
		eventually(t, "all is handed out", func() bool { return !n.log.Handed().Before(end) })
		got := offsets(n.delivered())
		if !slices.IsSortedFunc(got, recovery.Offset.Compare) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Error("handed out against the order")
		}
		t.Logf("%d entries, %d holes", len(got), n.gapCount())
	}
	got, err := readAll(a.log, recovery.Query{After: start, Rooms: []string{"r"}})
	if err != nil {
		t.Fatal(err)
	}
	checkOrder(t, got)
	at := make(map[string]recovery.Offset)
	for i := range got {
		at[got[i].ID] = got[i].Offset
	}
	l.accepted.Range(func(id, offset any) bool {
		if at[id.(string)] != offset.(recovery.Offset) {
			t.Errorf("%v was accepted at %v and read at %v", id, offset, at[id.(string)])
		}
		return true
	})
}
