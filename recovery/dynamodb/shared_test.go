//go:build dynamodb

package dynamodb_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/dynamodb"
	"github.com/twine-realtime/twine/recovery/memory"
)

// assigner gives out offsets as Redis does, above those of any writer.
type assigner struct {
	mu   sync.Mutex
	last recovery.Offset
}

func (a *assigner) next() recovery.Offset {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := recovery.OffsetAt(time.Now()); now.After(a.last) {
		a.last = now
	} else {
		a.last = a.last.Next()
	}
	return a.last
}

func sharedOptions(table string) dynamodb.Options {
	opts := quick(table)
	opts.Shared, opts.ClockSkew, opts.CommitDelay = true, time.Millisecond, 200*time.Millisecond
	return opts
}

// until polls for a condition.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// Three nodes append to one namespace, slowly and with faults, so that much
// arrives out of order and some too late, while readers follow. No reader passes
// an entry that is accepted, before or after.
func TestSharedReadersMissNothing(t *testing.T) {
	const writers, perWriter, readers = 12, 60, 3
	p := newProxy(t, server(t))
	api := client(p.address())
	opts := sharedOptions(newTable(t, api))
	opts.CommitDelay = 40 * time.Millisecond
	var nodes []*dynamodb.Store
	for range 3 {
		nodes = append(nodes, openStore(t, api, opts))
	}
	start, err := nodes[0].Log().Start(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the log begins", func() bool { return recovery.OffsetAt(time.Now()).After(start) })
	p.set(func(c *call) *answer {
		if c.op == "BatchWriteItem" || c.op == "UpdateItem" {
			switch rand.IntN(12) {
			case 0:
				<-time.After(rand.N(120 * time.Millisecond))
			case 1:
				return c.partly(func(int) bool { return rand.IntN(2) == 0 })
			case 2:
				c.forward()
				return nil
			case 3:
				return fail(400, "ThrottlingException")
			}
		}
		return c.forward()
	})
	var offsets assigner
	var mu sync.Mutex
	var late atomic.Int64
	accepted := make(map[recovery.Offset]bool)
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			log := nodes[w%3].Log()
			for i := range perWriter {
				var batch []recovery.Entry
				for range 1 + i%3 {
					batch = append(batch, recovery.Entry{
						Offset: offsets.next(), Rooms: rooms[:1+i%3], Data: fmt.Appendf(nil, "[%q]", strings.Repeat("x", i%4*500)),
					})
				}
				slices.Reverse(batch)
				switch err := log.Append(ctx, "/", batch); {
				case errors.Is(err, dynamodb.ErrLate):
					late.Add(1)
				case err != nil:
					t.Error(err)
				default:
					mu.Lock()
					for _, e := range batch {
						accepted[e.Offset] = true
					}
					mu.Unlock()
				}
			}
		})
	}
	type cursor struct {
		at   recovery.Offset
		seen map[recovery.Offset]bool
	}
	cursors := make([]cursor, readers)
	var stop atomic.Bool
	for r := range readers {
		reading.Go(func() {
			c := cursor{start, make(map[recovery.Offset]bool)}
			for !stop.Load() {
				page, err := nodes[r].Log().Read(ctx, "/", recovery.Query{
					After: c.at, Through: recovery.OffsetAt(time.Now()), Rooms: rooms, Limit: 1 + rand.IntN(40),
				})
				if errors.Is(err, dynamodb.ErrUnsettled) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range page.Entries {
					if !e.Offset.After(c.at) || e.Offset.After(page.Next) {
						t.Errorf("page (%v, %v] has %v", c.at, page.Next, e.Offset)
					}
					c.at, c.seen[e.Offset] = e.Offset, true
				}
				c.at = page.Next
			}
			cursors[r] = c
		})
	}
	writing.Wait()
	end := offsets.next()
	stop.Store(true)
	reading.Wait()
	p.set(nil)
	for _, c := range cursors {
		passed := 0
		for o := range accepted {
			if !o.After(c.at) {
				if passed++; !c.seen[o] {
					t.Errorf("%v was accepted, and a reader that is at %v has not seen it", o, c.at)
				}
			}
		}
		t.Logf("a reader passed %d of %d accepted entries and saw %d", passed, len(accepted), len(c.seen))
	}
	t.Logf("%d appends were late", late.Load())
	// A reader that comes later sees all that was accepted.
	log := nodes[1].Log()
	until(t, "everything is settled", func() bool { return recovery.OffsetAt(time.Now().Add(-opts.CommitDelay)).After(end) })
	got := make(map[recovery.Offset]bool)
	for _, e := range readAll(t, log, recovery.Query{After: start, Through: end, Rooms: rooms}) {
		got[e.Offset] = true
	}
	for o := range accepted {
		if !got[o] {
			t.Errorf("%v is lost", o)
		}
	}
	if len(accepted) == 0 || late.Load() == 0 {
		t.Error("the test did not test")
	}
}

func TestShared(t *testing.T) {
	api := client(server(t).address())
	opts := sharedOptions(newTable(t, api))
	// The nodes' clock jumps over the delay, within which all appends have to be made.
	var ahead atomic.Int64
	opts.CommitDelay = time.Minute
	opts.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	a, b := openStore(t, api, opts).Log(), openStore(t, api, opts).Log()
	start, err := a.Start(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the log begins", func() bool { return recovery.OffsetAt(time.Now()).After(start) })
	var offsets assigner
	var batch []recovery.Entry
	for range 5 {
		o := offsets.next()
		batch = append(batch, recovery.Entry{Offset: o, Rooms: rooms, ID: o.String(), Data: []byte(`["x"]`)})
	}
	// Any order, any node, and again.
	for _, step := range []struct {
		log     recovery.Log
		entries []recovery.Entry
	}{{a, batch[3:]}, {b, batch[:2]}, {a, batch[2:3]}, {b, batch[2:4]}} {
		if err := step.log.Append(ctx, "/", step.entries); err != nil {
			t.Fatal(err)
		}
	}
	for _, log := range []recovery.Log{a, b} {
		if last, err := log.Last(ctx, "/"); err != nil || last != batch[4].Offset {
			t.Errorf("last is %v, want %v: %v", last, batch[4].Offset, err)
		}
		if found, err := log.Lookup(ctx, "/", []string{batch[0].ID, batch[4].ID, "no"}); err != nil || len(found) != 2 || found[batch[4].ID] != batch[4].Offset {
			t.Errorf("looked up %v: %v", found, err)
		}
	}
	// What is not settled is neither there nor a gap.
	through := offsets.next()
	if _, err := b.Read(ctx, "/", recovery.Query{After: batch[4].Offset, Through: through}); !errors.Is(err, dynamodb.ErrUnsettled) {
		t.Errorf("reading what is not settled: %v", err)
	}
	ahead.Store(int64(opts.CommitDelay))
	// A tier above that knows it goes on.
	hot := memory.NewLog(memory.LogOptions{})
	if err := errors.Join(hot.Begin(ctx, "/", batch[1].Offset), hot.Append(ctx, "/", batch[2:])); err != nil {
		t.Fatal(err)
	}
	q := recovery.Query{After: start, Through: batch[4].Offset, Rooms: rooms}
	tiers := recovery.Tiers(hot, b)
	until(t, "the tiers have all", func() bool {
		page, err := tiers.Read(ctx, "/", q)
		return err == nil && (len(page.Entries) == 5 || page.More && !page.Next.Before(batch[1].Offset))
	})
	// Without one, it comes with time.
	var page recovery.Page
	q.Through = through
	until(t, "all is settled", func() bool {
		page, err = b.Read(ctx, "/", q)
		return !errors.Is(err, dynamodb.ErrUnsettled) && page.Next == through
	})
	if err != nil || len(page.Entries) != 5 || page.More {
		t.Errorf("%+v, %v", page, err)
	}
	// And what comes now comes too late.
	late := recovery.Entry{Offset: batch[4].Offset.Next(), Rooms: rooms, ID: "late", Data: []byte(`["x"]`)}
	if err := a.Append(ctx, "/", []recovery.Entry{late}); !errors.Is(err, dynamodb.ErrLate) {
		t.Errorf("a late append: %v", err)
	}
	if found, err := a.Lookup(ctx, "/", []string{"late"}); err != nil || len(found) != 0 {
		t.Errorf("found %v: %v", found, err)
	}
	if _, err := a.Read(ctx, "/", recovery.Query{After: recovery.OffsetAt(time.Now().Add(time.Hour))}); !errors.Is(err, recovery.ErrFuture) {
		t.Errorf("a position an hour ahead: %v", err)
	}
	if _, err := a.Read(ctx, "/", recovery.Query{}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("a position before the table: %v", err)
	}
}
