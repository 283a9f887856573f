//go:build redis

package redislog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

// Two nodes publish at the same time, and both hand out the same, in the same
// order: that of the stream.
func TestOneOrderEverywhere(t *testing.T) {
	server := redistest.Start(t)
	a, b := newNode(t, server.Client(), Options{}), newNode(t, server.Client(), Options{})
	const each, publishers = 200, 4
	var running sync.WaitGroup
	for _, n := range []*node{a, b} {
		for p := range publishers {
			running.Go(func() {
				for i := range each {
					offset := n.publish(entry(fmt.Sprintf("%s-%d-%d", n.stream.UID(), p, i), "r"))
					if n.log.Handed().Before(offset) {
						t.Errorf("%v is accepted and was not handed out", offset)
					}
				}
			})
		}
	}
	running.Wait()
	const all = 2 * publishers * each
	for _, n := range []*node{a, b} {
		eventually(t, "all is handed out", func() bool { return len(n.delivered()) >= all })
	}
	got := a.delivered()
	checkOrder(t, got)
	if len(got) != all || !slices.Equal(offsets(got), offsets(b.delivered())) {
		t.Errorf("%d and %d entries, not the same", len(got), len(b.delivered()))
	}
	if a.gapCount()+b.gapCount() > 0 {
		t.Error("gaps without a cause")
	}
}

func TestFieldsSurvive(t *testing.T) {
	server := redistest.Start(t)
	a, b := newNode(t, server.Client(), Options{}), newNode(t, server.Client(), Options{})
	e := recovery.Entry{Rooms: []string{"r", "ü"}, Except: []string{"x"}, ID: "id",
		Data: []byte(`["e",{"_placeholder":true,"num":0},"<&>"]`), Attachments: [][]byte{{0, 1, 255}}}
	e.Offset = a.publish(e)
	eventually(t, "it is handed out", func() bool { return len(b.delivered()) == 1 })
	if got := b.delivered()[0]; fmt.Sprint(got) != fmt.Sprint(e) {
		t.Errorf("got %v, want %v", got, e)
	}
}

// The same key is appended once, whoever publishes it, and whether at the same
// time or later.
func TestIdempotency(t *testing.T) {
	server := redistest.Start(t)
	a, b := newNode(t, server.Client(), Options{}), newNode(t, server.Client(), Options{})
	var mu sync.Mutex
	var first recovery.Offset
	fresh := 0
	var running sync.WaitGroup
	for i := range 20 {
		n := []*node{a, b}[i%2]
		running.Go(func() {
			offset, dup, err := n.log.Publish(t.Context(), entry("key", "r"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil || !first.IsZero() && offset != first {
				t.Errorf("%v instead of %v: %v", offset, first, err)
			}
			if first = offset; !dup {
				fresh++
			}
		})
	}
	running.Wait()
	if fresh != 1 {
		t.Errorf("%d of the publishers were the first", fresh)
	}
	b.publish(entry("last", "r"))
	for _, n := range []*node{a, b} {
		eventually(t, "the last one is handed out", func() bool { return slices.Contains(ids(n.delivered()), "last") })
		if got := ids(n.delivered()); !slices.Equal(got, []string{"key", "last"}) {
			t.Errorf("handed out %v", got)
		}
	}
}

func TestReads(t *testing.T) {
	server := redistest.Start(t)
	a := newNode(t, server.Client(), Options{})
	start := a.log.Handed()
	var all []recovery.Offset
	for i := range 1500 {
		if _, err := a.log.Append(entry(fmt.Sprint(i), []string{"x", "y", ""}[i%3])); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all is handed out", func() bool { return len(a.delivered()) == 1500 })
	all = offsets(a.delivered())
	late := newNode(t, server.Client(), Options{}) // has nothing in memory
	for name, n := range map[string]*node{"hot": a, "stream": late} {
		got, err := readAll(n.log, recovery.Query{After: start, Rooms: []string{"x"}, Limit: 64})
		if err != nil || len(got) != 1000 {
			t.Errorf("%s: %d entries, %v", name, len(got), err)
		}
		checkOrder(t, got)
		got, err = readAll(n.log, recovery.Query{After: all[2], Through: all[8], Rooms: []string{"y", "x"}})
		if err != nil || !slices.Equal(offsets(got), all[3:9]) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if got, err = readAll(n.log, recovery.Query{After: all[1499]}); err != nil || len(got) != 0 {
			t.Errorf("%s: after the last: %v, %v", name, got, err)
		}
		var gap *recovery.GapError
		if _, err := readAll(n.log, recovery.Query{After: recovery.Offset{MS: 1}}); !errors.As(err, &gap) || gap.To != start {
			t.Errorf("%s: before the start: %v", name, err)
		}
		if _, err := readAll(n.log, recovery.Query{After: recovery.MaxOffset}); !errors.Is(err, recovery.ErrFuture) {
			t.Errorf("%s: after the end: %v", name, err)
		}
	}
	bytes, err := readAll(late.log, recovery.Query{After: start, Rooms: []string{"x", "y"}, MaxBytes: 1})
	if err != nil || len(bytes) != 1500 {
		t.Errorf("pages of one: %d entries, %v", len(bytes), err)
	}
}

// A client that was ahead, on another node, is waited for.
func TestReadOfAPositionNotReachedYet(t *testing.T) {
	server := redistest.Start(t)
	a, b := newNode(t, server.Client(), Options{}), newNode(t, server.Client(), Options{})
	b.stream.dispatch.Lock() // b lags
	unlock := sync.OnceFunc(b.stream.dispatch.Unlock)
	defer unlock()
	ahead := a.publish(entry("1", "r"))
	done := make(chan error, 1)
	go func() {
		got, err := readAll(b.log, recovery.Query{After: ahead, Rooms: []string{"r"}})
		if len(got) > 0 {
			err = fmt.Errorf("read %v", ids(got))
		}
		if b.log.Handed().Before(ahead) {
			err = errors.Join(err, errors.New("the fence would be before the position"))
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Several namespaces share the stream, and all move with it.
func TestNamespacesMoveTogether(t *testing.T) {
	server := redistest.Start(t)
	a := newNode(t, server.Client(), Options{})
	moved := make(chan recovery.Offset, 100)
	other, err := a.stream.NewSequencer(t.Context(), SequencerOptions{Namespace: "/other",
		Deliver: func(entries []recovery.Entry) { t.Errorf("handed out %v", entries) },
		Gap:     func(*recovery.GapError) { t.Error("a gap") },
		Moved:   func(to recovery.Offset) { moved <- to }})
	if err != nil {
		t.Fatal(err)
	}
	offset := a.publish(entry("1", ""))
	for to := range moved {
		if to == offset {
			break
		}
	}
	eventually(t, "the namespace moves", func() bool { return other.Handed() == offset })
	if err := other.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, _, err := other.Publish(t.Context(), entry("2", "")); !errors.Is(err, recovery.ErrClosed) {
		t.Error(err)
	}
}

// What is older than the window goes, except the newest; the start is that of the
// newest entry that went.
func TestTrim(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	a := newNode(t, rdb, Options{Window: 300 * time.Millisecond})
	var all []recovery.Offset
	for i := range 10 {
		all = append(all, a.publish(entry(fmt.Sprint(i), "r")))
	}
	eventually(t, "old entries go", func() bool { return rdb.XLen(t.Context(), "socket.io").Val() == 1 })
	late := newNode(t, rdb, Options{Window: 300 * time.Millisecond})
	if got, err := readAll(late.log, recovery.Query{After: all[8], Rooms: []string{"r"}}); err != nil || len(got) != 1 {
		t.Errorf("after the newest that went: %v, %v", got, err)
	}
	var gap *recovery.GapError
	if _, err := readAll(late.log, recovery.Query{After: all[7], Rooms: []string{"r"}}); !errors.As(err, &gap) || gap.To != all[8] {
		t.Errorf("before it: %v", err)
	}
	a.publish(entry("late", "r"))
	eventually(t, "it is handed out", func() bool { return len(late.delivered()) == 1 })
	if a.gapCount()+late.gapCount() > 0 {
		t.Error("what was handed out before it was trimmed is not missing")
	}
}

func TestClosing(t *testing.T) {
	server := redistest.Start(t)
	stream, err := Open(t.Context(), server.Client(), Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	log, err := stream.NewSequencer(t.Context(), SequencerOptions{Namespace: "/", Deliver: func([]recovery.Entry) {}, Gap: func(*recovery.GapError) {}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		if _, err := log.Append(entry(fmt.Sprint(i), "")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(log.Close(t.Context()), stream.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if n := server.Client().XLen(t.Context(), "socket.io").Val(); n != 501 {
		t.Errorf("%d entries", n)
	}
	if _, err := stream.Send("/", 4, nil, nil); !errors.Is(err, recovery.ErrClosed) {
		t.Error(err)
	}
}

func TestCloseWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	stream, err := Open(t.Context(), server.Client(), Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	p, err := stream.Send("/", 4, []byte("{}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := stream.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closed: %v", err)
	}
	if _, err := p.Wait(t.Context()); !errors.Is(err, recovery.ErrNotDurable) {
		t.Errorf("sent: %v", err)
	}
}
