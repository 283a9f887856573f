package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
)

var ctx = context.Background()

// fixture is a sequencer over two memory logs, the deeper of which can fail.
type fixture struct {
	*recovery.Sequencer
	durable *faultyLog
	hot     *memory.Log
	got     *inbox
	loses   bool // the test expects Close to say that entries are lost
}

func memoryLog() *memory.Log { return memory.NewLog(memory.LogOptions{}) }

func newFixture(t *testing.T, change func(*recovery.SequencerOptions)) *fixture {
	t.Helper()
	f := &fixture{durable: &faultyLog{Log: memoryLog()}, hot: memoryLog(), got: new(inbox)}
	opts := recovery.SequencerOptions{
		Namespace: "/", Durable: f.durable, Hot: f.hot, Deliver: f.got.deliver,
		RetryDelay: time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&opts)
	}
	s, err := recovery.NewSequencer(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	f.Sequencer = s
	t.Cleanup(func() {
		f.durable.set(func(l *faultyLog) { l.before, l.after, l.query = nil, nil, nil })
		if err := s.Close(ctx); err != nil && !f.loses {
			t.Error(err)
		}
	})
	return f
}

func message(n int) recovery.Entry {
	return recovery.Entry{Rooms: []string{"r"}, Data: fmt.Appendf(nil, `["m",%d]`, n), ID: fmt.Sprint("m", n)}
}

func texts(entries []recovery.Entry) (list []string) {
	for _, e := range entries {
		list = append(list, string(e.Data))
	}
	return list
}

func readAll(t *testing.T, r recovery.Reader, q recovery.Query) []recovery.Entry {
	t.Helper()
	var entries []recovery.Entry
	for {
		page, err := r.Read(ctx, "/", q)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, page.Entries...)
		if q.After = page.Next; !page.More {
			return entries
		}
	}
}

// checkSame checks that what was delivered is what both logs have, in order.
func (f *fixture) checkSame(t *testing.T) {
	t.Helper()
	got := f.got.all()
	if !slices.IsSortedFunc(got, func(a, b recovery.Entry) int { return a.Offset.Compare(b.Offset) }) {
		t.Error("delivered out of order")
	}
	for name, log := range map[string]recovery.Log{"durable": f.durable.Log, "hot": f.hot} {
		start, _ := log.Start(ctx, "/")
		stored := readAll(t, log, recovery.Query{After: start, Rooms: []string{"r"}})
		if !slices.Equal(texts(got), texts(stored)) {
			t.Errorf("delivered %v, the %s log has %v", texts(got), name, texts(stored))
		}
	}
}

func TestPublishersKeepTheirOrder(t *testing.T) {
	for _, mode := range []recovery.Durability{recovery.Sync, recovery.Async} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			f := newFixture(t, func(o *recovery.SequencerOptions) { o.Durability = mode; o.MaxBatch = 7 })
			const publishers, each = 8, 200
			var running sync.WaitGroup
			for p := range publishers {
				running.Go(func() {
					var last recovery.Offset
					for i := range each {
						o, dup, err := f.Publish(ctx, message(p*each+i))
						if err != nil || dup || !o.After(last) {
							t.Errorf("%v after %v, dup %v: %v", o, last, dup, err)
						}
						last = o
					}
				})
			}
			running.Wait()
			if err := f.Close(ctx); err != nil {
				t.Fatal(err)
			}
			got := f.got.all()
			if len(got) != publishers*each {
				t.Fatalf("%d delivered", len(got))
			}
			f.checkSame(t)
			next := make([]int, publishers)
			for _, e := range got {
				var n int
				_, _ = fmt.Sscanf(e.ID, "m%d", &n)
				if p := n / each; n%each != next[p] {
					t.Fatalf("%s comes after %d of its publisher", e.ID, next[p])
				} else {
					next[p]++
				}
			}
		})
	}
}

func TestAppendKeepsItsOrderWithoutWaiting(t *testing.T) {
	f := newFixture(t, nil)
	var all []recovery.Pending
	for i := range 500 {
		p, err := f.Append(message(i))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	var last recovery.Offset
	for i, p := range all {
		o, _, err := p.Wait(ctx)
		if err != nil || !o.After(last) {
			t.Fatalf("%d: %v after %v: %v", i, o, last, err)
		}
		last = o
	}
	f.checkSame(t)
}

func TestNothingIsDeliveredAheadOfTheDurableLog(t *testing.T) {
	f := newFixture(t, nil)
	release := make(chan struct{})
	f.durable.set(func(l *faultyLog) {
		l.after = func([]recovery.Entry) error { <-release; return nil }
	})
	p, err := f.Append(message(1))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the durable log has the entry", func() bool {
		last, _ := f.durable.Log.Last(ctx, "/")
		return last.After(f.Handed())
	})
	if n := len(f.got.all()); n != 0 {
		t.Errorf("%d delivered before the commit returned", n)
	}
	close(release)
	if _, _, err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(f.got.all()); n != 1 {
		t.Errorf("%d delivered when the publisher is answered", n)
	}
}

func TestFailedCommitFailsItsBatchOnly(t *testing.T) {
	f := newFixture(t, nil)
	f.durable.set(func(l *faultyLog) {
		l.before = func([]recovery.Entry) error { return fmt.Errorf("disk: %w", recovery.ErrFull) }
	})
	if _, _, err := f.Publish(ctx, message(1)); !errors.Is(err, recovery.ErrNotDurable) || !errors.Is(err, recovery.ErrFull) {
		t.Fatalf("publish to a full disk: %v", err)
	}
	if n := len(f.got.all()); n != 0 {
		t.Errorf("%d delivered", n)
	}
	f.durable.set(func(l *faultyLog) { l.before = nil })
	// Service goes on, and the refused message may be published again.
	for i := range 3 {
		if _, dup, err := f.Publish(ctx, message(i)); err != nil || dup {
			t.Fatalf("message %d: dup %v, %v", i, dup, err)
		}
	}
	f.checkSame(t)
}

func TestFailedOffsetsAreNotUsedAgain(t *testing.T) {
	now := time.UnixMilli(time.Now().UnixMilli() + 1000)
	f := newFixture(t, func(o *recovery.SequencerOptions) { o.Now = func() time.Time { return now } })
	var failed recovery.Offset
	f.durable.set(func(l *faultyLog) {
		l.before = func(entries []recovery.Entry) error { failed = entries[0].Offset; return errInjected }
	})
	_, _, _ = f.Publish(ctx, message(1))
	f.durable.set(func(l *faultyLog) { l.before = nil })
	o, _, err := f.Publish(ctx, message(2))
	if err != nil || !o.After(failed) {
		t.Errorf("%v after %v failed: %v", o, failed, err)
	}
}

// A commit may take place although it is reported as failed. What is in the log
// has to be handed out, or a reader of the log and a socket would differ; and a
// retry must not bring it twice.
func TestFailedCommitThatTookPlace(t *testing.T) {
	f := newFixture(t, nil)
	f.durable.set(func(l *faultyLog) {
		l.after = func([]recovery.Entry) error { return errInjected }
	})
	first, dup, err := f.Publish(ctx, message(1))
	if err != nil || dup {
		t.Fatalf("the log has it: %v", err)
	}
	again, dup, err := f.Publish(ctx, message(1))
	if err != nil || !dup || again != first {
		t.Errorf("again: %v, dup %v, %v; want %v", again, dup, err, first)
	}
	f.checkSame(t)
}

func TestCommitInDoubt(t *testing.T) {
	for _, tookPlace := range []bool{true, false} {
		t.Run(fmt.Sprint(tookPlace), func(t *testing.T) {
			f := newFixture(t, nil)
			f.durable.set(func(l *faultyLog) {
				fail := func([]recovery.Entry) error {
					l.set(func(l *faultyLog) { l.query = func() error { return errInjected } })
					return errInjected
				}
				if tookPlace {
					l.after = fail
				} else {
					l.before = fail
				}
			})
			if _, _, err := f.Publish(ctx, message(1)); !errors.Is(err, recovery.ErrNotDurable) {
				t.Fatalf("a commit in doubt: %v", err)
			}
			f.durable.set(func(l *faultyLog) { l.before, l.after = nil, nil })
			if _, _, err := f.Publish(ctx, message(2)); !errors.Is(err, recovery.ErrNotDurable) {
				t.Errorf("published past a commit in doubt: %v", err)
			}
			if n := len(f.got.all()); n != 0 {
				t.Errorf("%d delivered while in doubt", n)
			}
			f.durable.set(func(l *faultyLog) { l.query = nil })
			if tookPlace {
				// Without anybody publishing.
				waitFor(t, "the entry in doubt is handed out", func() bool { return len(f.got.all()) == 1 })
			}
			waitFor(t, "publishing works again", func() bool {
				_, _, err := f.Publish(ctx, message(3))
				return err == nil
			})
			if _, dup, err := f.Publish(ctx, message(1)); err != nil || dup != tookPlace {
				t.Errorf("again: dup %v, %v", dup, err)
			}
			f.checkSame(t)
		})
	}
}

func TestSameIDInFlight(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint(fails), func(t *testing.T) {
			f := newFixture(t, nil)
			entered, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			f.durable.set(func(l *faultyLog) {
				l.before = func([]recovery.Entry) error {
					once.Do(func() { close(entered) })
					<-release
					if fails {
						return errInjected
					}
					return nil
				}
			})
			first, err := f.Append(message(1))
			if err != nil {
				t.Fatal(err)
			}
			<-entered
			second, err := f.Append(message(1))
			if err != nil {
				t.Fatal(err)
			}
			close(release)
			o1, dup1, err1 := first.Wait(ctx)
			o2, dup2, err2 := second.Wait(ctx)
			if fails {
				if !errors.Is(err1, recovery.ErrNotDurable) || !errors.Is(err2, recovery.ErrNotDurable) {
					t.Errorf("%v, %v", err1, err2)
				}
				return
			}
			if err1 != nil || err2 != nil || o1 != o2 || dup1 || !dup2 {
				t.Errorf("%v %v %v, %v %v %v", o1, dup1, err1, o2, dup2, err2)
			}
			f.checkSame(t)
		})
	}
}

func TestUnknownIDIsNotPublishedBlindly(t *testing.T) {
	f := newFixture(t, nil)
	f.durable.set(func(l *faultyLog) { l.query = func() error { return errInjected } })
	if _, _, err := f.Publish(ctx, message(1)); !errors.Is(err, recovery.ErrNotDurable) {
		t.Errorf("an ID that could not be looked up: %v", err)
	}
	e := message(2)
	e.ID = ""
	if _, _, err := f.Publish(ctx, e); err != nil {
		t.Errorf("without an ID: %v", err)
	}
	f.checkSame(t)
}

func TestFullQueueMakesPublishersWait(t *testing.T) {
	f := newFixture(t, func(o *recovery.SequencerOptions) { o.MaxQueued, o.MaxBatch = 2, 1 })
	entered, release := make(chan struct{}, 10), make(chan struct{})
	f.durable.set(func(l *faultyLog) {
		l.before = func([]recovery.Entry) error { entered <- struct{}{}; <-release; return nil }
	})
	for n := range 3 {
		if _, err := f.Append(message(n)); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			<-entered // being committed, and out of the queue
		}
	}
	if _, err := f.Append(message(3)); !errors.Is(err, recovery.ErrFull) {
		t.Fatalf("append to a full queue: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, _, err := f.Publish(short, message(4)); !errors.Is(err, recovery.ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("publish to a full queue: %v", err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, _, err := f.Publish(ctx, message(5))
		waiting <- err
	}()
	close(release)
	if err := <-waiting; err != nil {
		t.Errorf("a publisher that waited for room: %v", err)
	}
	waitFor(t, "all is delivered", func() bool { return len(f.got.all()) == 4 })
	f.checkSame(t)
}

func TestPublisherThatGivesUpLosesNothing(t *testing.T) {
	f := newFixture(t, nil)
	release := make(chan struct{})
	f.durable.set(func(l *faultyLog) { l.before = func([]recovery.Entry) error { <-release; return nil } })
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, _, err := f.Publish(short, message(1)); !errors.Is(err, recovery.ErrNotDurable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("gave up: %v", err)
	}
	close(release)
	if _, dup, err := f.Publish(ctx, message(1)); err != nil || !dup {
		t.Errorf("again: dup %v, %v", dup, err)
	}
	f.checkSame(t)
}

func TestFence(t *testing.T) {
	f := newFixture(t, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 300 {
			if _, _, err := f.Publish(ctx, message(i)); err != nil {
				t.Error(err)
			}
		}
	})
	for range 300 {
		f.Fence(func(fence recovery.Offset) {
			got := f.got.all()
			if len(got) > 0 && got[len(got)-1].Offset != fence {
				t.Errorf("the fence is %v, the last entry handed out %v", fence, got[len(got)-1].Offset)
			}
			start, _ := f.hot.Start(ctx, "/")
			if replay := readAll(t, f.hot, recovery.Query{After: start, Through: fence, Rooms: []string{"r"}}); len(replay) != len(got) && !fence.IsZero() && fence != start {
				t.Errorf("a replay to the fence has %d entries, %d were handed out", len(replay), len(got))
			}
		})
	}
	wg.Wait()
}

func TestClockSetBack(t *testing.T) {
	future := time.Now().Add(time.Hour)
	durable := memoryLog()
	publish := func(now time.Time) recovery.Offset {
		s, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{
			Namespace: "/", Durable: durable, Deliver: func([]recovery.Entry) {},
			Now: func() time.Time { return now },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(ctx)
		a, _, err1 := s.Publish(ctx, recovery.Entry{Data: []byte(`["x"]`)})
		b, _, err2 := s.Publish(ctx, recovery.Entry{Data: []byte(`["x"]`)})
		if err1 != nil || err2 != nil || !b.After(a) {
			t.Fatalf("%v, %v: %v, %v", a, b, err1, err2)
		}
		return b
	}
	first := publish(future)
	if second := publish(time.Now()); !second.After(first) {
		t.Errorf("%v after %v, by a clock that was set back", second, first)
	}
	if third := publish(future.Add(time.Minute)); third.Seq != 1 {
		t.Errorf("the second entry of a new millisecond is %v", third)
	}
}

func TestHotLogBeginsWhereTheDurableOneEnds(t *testing.T) {
	durable := memoryLog()
	future := recovery.OffsetAt(time.Now().Add(time.Hour))
	if err := durable.Append(ctx, "/", []recovery.Entry{{Offset: future, Rooms: []string{"r"}, Data: []byte(`["old"]`)}}); err != nil {
		t.Fatal(err)
	}
	hot := memoryLog()
	s, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{Namespace: "/", Durable: durable, Hot: hot, Deliver: func([]recovery.Entry) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(ctx)
	if start, _ := hot.Start(ctx, "/"); start != future {
		t.Errorf("the hot log starts at %v, the durable one ended at %v", start, future)
	}
	if s.Handed() != future {
		t.Errorf("the fence is %v", s.Handed())
	}
}

// On its own, a hot log does not know what was before it. It must not say that
// there was nothing.
func TestHotLogAlone(t *testing.T) {
	hot, got := memoryLog(), new(inbox)
	s, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{Namespace: "/", Hot: hot, Deliver: got.deliver})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(ctx)
	fence := s.Handed()
	for i := range 3 {
		if _, _, err := s.Publish(ctx, message(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, dup, err := s.Publish(ctx, message(1)); err != nil || !dup {
		t.Errorf("again: dup %v, %v", dup, err)
	}
	if n := len(readAll(t, hot, recovery.Query{After: fence, Rooms: []string{"r"}})); n != 3 || len(got.all()) != 3 {
		t.Errorf("%d replayed, %d delivered", n, len(got.all()))
	}
	if _, err := hot.Read(ctx, "/", recovery.Query{After: recovery.Offset{MS: 1}}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("read from before the log: %v", err)
	}
}

func TestPublishAfterClose(t *testing.T) {
	f := newFixture(t, nil)
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Publish(ctx, message(1)); !errors.Is(err, recovery.ErrClosed) {
		t.Error(err)
	}
	if _, err := f.Append(message(1)); !errors.Is(err, recovery.ErrClosed) {
		t.Error(err)
	}
}

func TestCloseGivesUp(t *testing.T) {
	f := newFixture(t, nil)
	f.durable.set(func(l *faultyLog) {
		l.before = func([]recovery.Entry) error { return errInjected }
		l.query = func() error { return errInjected }
	})
	p, err := f.Append(message(1))
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := f.Close(gone); err != nil {
		t.Error(err)
	}
	if _, _, err := p.Wait(ctx); !errors.Is(err, recovery.ErrNotDurable) {
		t.Error(err)
	}
}
