package recovery_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/twine-realtime/twine/recovery"
)

func asyncFixture(t *testing.T, change func(*recovery.SequencerOptions)) *fixture {
	return newFixture(t, func(o *recovery.SequencerOptions) {
		o.Durability = recovery.Async
		if change != nil {
			change(o)
		}
	})
}

func TestAsyncDeliversWhileTheDurableLogFails(t *testing.T) {
	f := asyncFixture(t, nil)
	var tries atomic.Int32
	f.durable.set(func(l *faultyLog) {
		l.before = func([]recovery.Entry) error { tries.Add(1); return errInjected }
	})
	start := f.Handed()
	for i := range 20 {
		e := message(i)
		e.ID = ""
		if _, _, err := f.Publish(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.got.all()); n != 20 {
		t.Errorf("%d delivered", n)
	}
	waitFor(t, "the commit is tried again", func() bool { return tries.Load() > 2 })
	// Replay covers what only the hot log has.
	if got := readAll(t, recovery.Tiers(f.hot, f.durable), recovery.Query{After: start, Rooms: []string{"r"}}); len(got) != 20 {
		t.Errorf("%d replayed", len(got))
	}
	f.durable.set(func(l *faultyLog) { l.before = nil })
	waitFor(t, "the durable log catches up", func() bool {
		last, err := f.durable.Last(ctx, "/")
		return err == nil && last == f.Handed()
	})
	f.checkSame(t)
}

func TestAsyncCommitThatTookPlaceIsNotRepeated(t *testing.T) {
	f := asyncFixture(t, nil)
	f.durable.set(func(l *faultyLog) { l.after = func([]recovery.Entry) error { return errInjected } })
	for i := range 5 {
		if _, _, err := f.Publish(ctx, message(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	f.checkSame(t)
}

func TestAsyncBacklogIsBounded(t *testing.T) {
	f := asyncFixture(t, func(o *recovery.SequencerOptions) { o.MaxQueued = 10 })
	f.durable.set(func(l *faultyLog) { l.before = func([]recovery.Entry) error { return errInjected } })
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		_, _, err = f.Publish(ctx, message(n))
	}
	if !errors.Is(err, recovery.ErrFull) || !errors.Is(err, recovery.ErrNotDurable) || n != 11 {
		t.Fatalf("%d published: %v", n, err)
	}
	f.durable.set(func(l *faultyLog) { l.before = nil })
	waitFor(t, "there is room again", func() bool {
		_, _, err := f.Publish(ctx, message(200))
		return err == nil
	})
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	f.checkSame(t)
}

func TestAsyncSameID(t *testing.T) {
	f := asyncFixture(t, nil)
	release := make(chan struct{})
	f.durable.set(func(l *faultyLog) { l.before = func([]recovery.Entry) error { <-release; return nil } })
	first, dup, err := f.Publish(ctx, message(1))
	if err != nil || dup {
		t.Fatal(err)
	}
	// Handed out, not committed: neither log lookup nor in-flight publish alone would know.
	again, dup, err := f.Publish(ctx, message(1))
	if err != nil || !dup || again != first {
		t.Errorf("%v dup %v: %v", again, dup, err)
	}
	close(release)
	waitFor(t, "it is committed", func() bool {
		last, _ := f.durable.Last(ctx, "/")
		return last == first
	})
	if again, dup, err = f.Publish(ctx, message(1)); err != nil || !dup || again != first {
		t.Errorf("%v dup %v: %v", again, dup, err)
	}
	if n := len(f.got.all()); n != 1 {
		t.Errorf("delivered %d times", n)
	}
}

func TestAsyncCloseSaysWhatIsLost(t *testing.T) {
	f := asyncFixture(t, nil)
	f.loses = true
	f.durable.set(func(l *faultyLog) { l.before = func([]recovery.Entry) error { return errInjected } })
	if _, _, err := f.Publish(ctx, message(1)); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := f.Close(gone); !errors.Is(err, recovery.ErrNotDurable) {
		t.Errorf("closed with an entry that is not durable: %v", err)
	}
}
