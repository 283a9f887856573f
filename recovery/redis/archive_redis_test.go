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

// archive is an Archive in memory, which all nodes of a test share.
type archive struct {
	mu      sync.Mutex
	start   recovery.Offset
	entries map[recovery.Offset]recovery.Entry
	fail    error

	settled   recovery.Offset // reads go no further
	unsettled error           // and fail so behind it; nil: all is settled
}

func newArchive() *archive {
	return &archive{start: recovery.Offset{MS: 2}, entries: make(map[recovery.Offset]recovery.Entry)}
}

func (a *archive) failWith(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail = err
}

func (a *archive) settle(to recovery.Offset, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled, a.unsettled = to, err
}

func (a *archive) Append(ctx context.Context, _ string, entries []recovery.Entry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return a.fail
	}
	for _, e := range entries {
		a.entries[e.Offset] = e
	}
	return nil
}

func (a *archive) Lookup(_ context.Context, _ string, ids []string) (map[string]recovery.Offset, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := make(map[string]recovery.Offset)
	for _, e := range a.entries {
		if slices.Contains(ids, e.ID) {
			found[e.ID] = e.Offset
		}
	}
	return found, nil
}

func (a *archive) sorted() []recovery.Entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []recovery.Entry
	for _, e := range a.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(x, y recovery.Entry) int { return x.Offset.Compare(y.Offset) })
	return list
}

func (a *archive) Read(_ context.Context, ns string, q recovery.Query) (recovery.Page, error) {
	through, limit, _ := q.Bounds()
	if q.After.Before(a.start) {
		return recovery.Page{}, &recovery.GapError{Namespace: ns, From: q.After, To: a.start}
	}
	page := recovery.Page{Next: q.After}
	a.mu.Lock()
	settled, unsettled := a.settled, a.unsettled
	a.mu.Unlock()
	if unsettled != nil {
		if !q.After.Before(settled) {
			return page, unsettled
		}
		through = settled
	}
	for _, e := range a.sorted() {
		if !e.Offset.After(q.After) || e.Offset.After(through) {
			continue
		}
		if len(page.Entries) == limit {
			page.More = true
			return page, nil
		}
		page.Entries = append(page.Entries, e)
		page.Next = e.Offset
	}
	return page, nil
}

func (a *archive) Start(context.Context, string) (recovery.Offset, error) { return a.start, nil }

func (a *archive) Last(context.Context, string) (recovery.Offset, error) {
	if list := a.sorted(); len(list) > 0 {
		return list[len(list)-1].Offset, nil
	}
	return a.start, nil
}

// What the archive refuses is not accepted; published again it is delivered once.
func TestArchiveRefuses(t *testing.T) {
	server := redistest.Start(t)
	store := newArchive()
	a := newNode(t, server.Client(), Options{Archive: store})
	cause := errors.New("no")
	store.failWith(cause)
	if _, _, err := a.log.Publish(t.Context(), entry("1", "r")); !errors.Is(err, recovery.ErrNotDurable) || !errors.Is(err, cause) {
		t.Errorf("published: %v", err)
	}
	store.failWith(nil)
	offset, dup, err := a.log.Publish(t.Context(), entry("1", "r"))
	if err != nil || !dup {
		t.Errorf("again: %v, %v", dup, err)
	}
	if got := store.sorted(); len(got) != 1 || got[0].Offset != offset || got[0].ID != "1" {
		t.Errorf("archived %v", got)
	}
	if got := ids(a.delivered()); !slices.Equal(got, []string{"1"}) {
		t.Errorf("handed out %v", got)
	}
	// Another payload under the same key does not replace it.
	other := entry("1", "elsewhere")
	if again, dup, err := a.log.Publish(t.Context(), other); err != nil || !dup || again != offset {
		t.Errorf("another: %v, %v, %v", again, dup, err)
	}
	if got := store.sorted(); len(got) != 1 || !slices.Equal(got[0].Rooms, []string{"r"}) {
		t.Errorf("archived %v", got)
	}
}

// What came too late for the archive can be published again.
func TestTooLateForTheArchive(t *testing.T) {
	server := redistest.Start(t)
	store := newArchive()
	late := errors.New("late")
	a := newNode(t, server.Client(), Options{Archive: store, Late: func(err error) bool { return errors.Is(err, late) }})
	store.failWith(late)
	if _, _, err := a.log.Publish(t.Context(), entry("1", "r")); !errors.Is(err, recovery.ErrNotDurable) {
		t.Errorf("published: %v", err)
	}
	first := a.delivered()[0].Offset
	store.failWith(nil)
	offset, dup, err := a.log.Publish(t.Context(), entry("1", "r"))
	if err != nil || dup || !offset.After(first) {
		t.Errorf("again: %v after %v, %v, %v", offset, first, dup, err)
	}
	if got := store.sorted(); len(got) != 1 || got[0].Offset != offset {
		t.Errorf("archived %v", got)
	}
}

// An archive that does not know yet whether it has everything is believed.
func TestUnsettledArchive(t *testing.T) {
	server := redistest.Start(t)
	store := newArchive()
	a := newNode(t, server.Client(), Options{Archive: store})
	start := a.log.Handed()
	var all []recovery.Offset
	for i := range 10 {
		all = append(all, a.publish(entry(fmt.Sprint(i), "r")))
	}
	if err := server.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hole is noticed", func() bool { return a.gapCount() == 1 })
	unsettled := errors.New("unsettled")
	store.settle(all[4], unsettled)
	got, err := readAll(a.log, recovery.Query{After: start, Rooms: []string{"r"}})
	if !slices.Equal(offsets(got), all[:5]) || !errors.Is(err, unsettled) {
		t.Errorf("read %d entries, %v", len(got), err)
	}
	store.settle(recovery.MaxOffset, nil)
	if got, err = readAll(a.log, recovery.Query{After: start, Rooms: []string{"r"}}); err != nil || len(got) != 10 {
		t.Errorf("read %d entries, %v", len(got), err)
	}
}

// With Async the archive gets it later.
func TestArchiveLags(t *testing.T) {
	server := redistest.Start(t)
	store := newArchive()
	a := newNode(t, server.Client(), Options{Archive: store, Durability: recovery.Async, MaxQueued: 10})
	store.failWith(errors.New("no"))
	for i := range 10 {
		a.publish(entry(fmt.Sprint(i), "r"))
	}
	if _, err := a.log.Append(entry("one too many", "r")); !errors.Is(err, recovery.ErrFull) {
		t.Errorf("past the bound: %v", err)
	}
	store.failWith(nil)
	eventually(t, "the archive catches up", func() bool { return len(store.sorted()) == 10 })
}

// What the stream has dropped is read from the archive, and the rest from the
// stream, as if they were one.
func TestReadAcrossTiers(t *testing.T) {
	server := redistest.Start(t)
	opts := Options{Archive: newArchive(), Window: 500 * time.Millisecond}
	a := newNode(t, server.Client(), opts)
	start := a.log.Handed()
	for i := range 300 {
		a.publish(entry(fmt.Sprint(i), "r"))
	}
	eventually(t, "old entries go", func() bool { return server.Client().XLen(t.Context(), "socket.io").Val() < 100 })
	for i := range 100 {
		a.publish(entry(fmt.Sprint("late", i), "r"))
	}
	late := newNode(t, server.Client(), opts)
	got, err := readAll(late.log, recovery.Query{After: start, Rooms: []string{"r"}, Limit: 7})
	if err != nil || len(got) != 400 {
		t.Errorf("%d entries, %v", len(got), err)
	}
	checkOrder(t, got)
	if _, err := readAll(late.log, recovery.Query{After: recovery.Offset{MS: 1}}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("before the archive began: %v", err)
	}
}

// Redis is new and its clock is behind what the archive has.
func TestOffsetsFollowTheArchive(t *testing.T) {
	server := redistest.Start(t)
	store := newArchive()
	future := recovery.OffsetAt(time.Now().Add(time.Hour))
	store.entries[future] = recovery.Entry{Offset: future, ID: "old"}
	a := newNode(t, server.Client(), Options{Archive: store})
	if offset := a.publish(entry("new", "r")); !offset.After(future) {
		t.Errorf("%v came after %v", offset, future)
	}
	if offset, dup, err := a.log.Publish(t.Context(), entry("old", "r")); err != nil || !dup || offset != future {
		t.Errorf("a key that the archive knows: %v, %v, %v", offset, dup, err)
	}
}
