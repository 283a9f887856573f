package disk_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// Entries expire a slot past the window at the latest, without anybody asking,
// and sessions too; a namespace in which nothing expired loses nothing.
func TestExpiry(t *testing.T) {
	now := &clock{now: time.Now()}
	// A slot is a 24th of this, which makes maintenance frequent, in real time.
	const window = 240 * time.Millisecond
	store := openStore(t, filepath.Join(t.TempDir(), "history.db"), disk.Options{Window: window, Hold: window, Now: now.Now, Logger: quiet})
	defer store.Close()
	log := store.Log()
	quietStart, _ := log.Start(ctx, "/quiet")
	if err := store.Sessions().Create(ctx, recovery.State{PID: "p", TwineID: "t"}, "t"); err != nil {
		t.Fatal(err)
	}
	var all []recovery.Offset
	for i := range 100 {
		now.advance(window / 50)
		o := recovery.OffsetAt(now.Now())
		if last, _ := log.Last(ctx, "/"); !o.After(last) {
			o = last.Next()
		}
		if err := log.Append(ctx, "/", []recovery.Entry{{Offset: o, Rooms: []string{"r"}, ID: fmt.Sprint(i), Data: []byte(`["x"]`)}}); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	waitFor(t, "old entries go", func() bool {
		start, err := log.Start(ctx, "/")
		return err == nil && start.Time().After(now.Now().Add(-window*11/10))
	})
	// All of the window is there.
	start, _ := log.Start(ctx, "/")
	if start.Time().After(now.Now().Add(-window)) {
		t.Errorf("the log starts at %v, %v ago", start, now.Now().Sub(start.Time()))
	}
	entries, err := read(log, recovery.Query{After: start, Rooms: []string{"r"}})
	if err != nil || len(entries) < 49 {
		t.Errorf("%d entries: %v", len(entries), err)
	}
	if _, err := read(log, recovery.Query{After: all[2], Rooms: []string{"r"}}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("read from before the window: %v", err)
	}
	found, err := log.Lookup(ctx, "/", []string{"0", "60", "99"})
	if err != nil || len(found) != 2 {
		t.Errorf("found %v: %v", found, err)
	}
	if _, err := log.Read(ctx, "/quiet", recovery.Query{After: quietStart}); err != nil {
		t.Errorf("the quiet namespace: %v", err)
	}
	waitFor(t, "the session goes", func() bool {
		_, _, err := store.Sessions().Claim(ctx, "p", "t2")
		return errors.Is(err, recovery.ErrUnknownSession)
	})
	if err := store.Check(ctx); err != nil {
		t.Error(err)
	}
	// When all has expired, the end is still known.
	now.advance(2 * window)
	waitFor(t, "all entries go", func() bool { start, _ := log.Start(ctx, "/"); return start == all[99] })
	if last, err := log.Last(ctx, "/"); err != nil || last != all[99] {
		t.Errorf("last is %v: %v", last, err)
	}
	if err := log.Append(ctx, "/", []recovery.Entry{{Offset: all[99].Next(), Data: []byte(`["x"]`)}}); err != nil {
		t.Error(err)
	}
	if err := store.Check(ctx); err != nil {
		t.Error(err)
	}
}

// A clock that is wrong for a moment must not make entries stay forever.
func TestClockInTheFutureForAMoment(t *testing.T) {
	now := &clock{now: time.Now()}
	const window = 240 * time.Millisecond
	store := openStore(t, filepath.Join(t.TempDir(), "history.db"), disk.Options{Window: window, Now: now.Now, Logger: quiet})
	defer store.Close()
	future := recovery.OffsetAt(now.Now().Add(10 * 365 * 24 * time.Hour))
	if err := store.Log().Append(ctx, "/", []recovery.Entry{{Offset: future, Data: []byte(`["x"]`)}}); err != nil {
		t.Fatal(err)
	}
	now.advance(2 * window)
	waitFor(t, "the entry goes", func() bool { start, _ := store.Log().Start(ctx, "/"); return start == future })
}

// What a bound on the file refuses is refused clearly, and expiry makes room.
func TestMaxBytes(t *testing.T) {
	now := &clock{now: time.Now()}
	const window = 240 * time.Millisecond
	store := openStore(t, filepath.Join(t.TempDir(), "history.db"), disk.Options{Window: window, MaxBytes: 18 << 20, Now: now.Now, Logger: quiet})
	defer store.Close()
	last, _ := store.Log().Last(ctx, "/")
	data := make([]byte, 1<<20)
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = store.Log().Append(ctx, "/", []recovery.Entry{{Offset: last.Next(), Data: data}})
		if err == nil {
			last = last.Next()
		}
	}
	if !errors.Is(err, recovery.ErrFull) || n < 3 {
		t.Fatalf("append %d: %v", n, err)
	}
	if got, err := store.Log().Last(ctx, "/"); err != nil || got != last {
		t.Errorf("last is %v, not %v: %v", got, last, err)
	}
	now.advance(2 * window)
	waitFor(t, "there is room again", func() bool {
		o := last.Next()
		err := store.Log().Append(ctx, "/", []recovery.Entry{{Offset: o, Data: data}})
		if err == nil {
			last = o
		} else if !errors.Is(err, recovery.ErrFull) {
			t.Fatal(err)
		}
		return err == nil
	})
	if err := store.Check(ctx); err != nil {
		t.Error(err)
	}
}
