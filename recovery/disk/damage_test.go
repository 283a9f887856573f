package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
)

var ctx = context.Background()

// sample makes a file with some segments, and returns what is in it.
func sample(t testing.TB, path string, entries int) (start recovery.Offset, all []recovery.Entry) {
	t.Helper()
	store := openStore(t, path, small)
	start, err := store.Log().Last(ctx, "/")
	o := start
	for i := range entries {
		o = o.Next()
		e := recovery.Entry{
			Offset: o, Rooms: []string{fmt.Sprint("room", i%5)}, ID: fmt.Sprint("id", i),
			Data: fmt.Appendf(nil, "[%d,%q]", i, strings.Repeat("x", i%400)),
		}
		err = errors.Join(err, store.Log().Append(ctx, "/", []recovery.Entry{e}))
		all = append(all, e)
	}
	err = errors.Join(err, store.Sessions().Create(ctx, recovery.State{PID: "p", Namespace: "/"}, "t"), store.Close())
	if err != nil {
		t.Fatal(err)
	}
	return start, all
}

func read(log recovery.Reader, q recovery.Query) (entries []recovery.Entry, err error) {
	for more := true; more; {
		page, err := log.Read(ctx, "/", q)
		if err != nil {
			return entries, err
		}
		entries = append(entries, page.Entries...)
		q.After, more = page.Next, page.More
	}
	return entries, nil
}

func sameEntries(a, b []recovery.Entry) bool {
	return slices.EqualFunc(a, b, func(a, b recovery.Entry) bool { return fmt.Sprint(a) == fmt.Sprint(b) })
}

// used is how much of a file is not room for later.
func used(t testing.TB, path string) int64 {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(bytes.TrimRight(content, "\x00")))
}

func mustBeCorrupt(t testing.TB, path string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	store, err := disk.Open(path, small)
	var damage *disk.CorruptError
	if !errors.As(err, &damage) || !errors.Is(err, recovery.ErrCorrupt) || damage.Path != path {
		if err == nil {
			_ = store.Close()
		}
		t.Fatalf("opened a damaged file: %v", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("Open changed a damaged file")
	}
	// With Quarantine there is a new log, whose history begins now, and the old
	// file is still there.
	opts := small
	opts.Quarantine = true
	store, err = disk.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	moved, _ := filepath.Glob(path + ".corrupt-*")
	if len(moved) != 1 {
		t.Fatalf("moved to %v", moved)
	}
	if after, _ := os.ReadFile(moved[0]); string(after) != string(before) {
		t.Error("the damaged file was changed")
	}
	if _, err := store.Log().Read(ctx, "/", recovery.Query{After: recovery.OffsetAt(time.Now().Add(-time.Hour))}); !errors.Is(err, recovery.ErrGap) {
		t.Errorf("a position of the damaged file: %v", err)
	}
}

func TestTruncatedFile(t *testing.T) {
	original := filepath.Join(t.TempDir(), "history.db")
	sample(t, original, 300)
	for _, size := range []int64{0, 1, 80, 4096, 4096 + 100, 8192, 12288, 16384, 65536, used(t, original) - 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "history.db")
			copyFile(t, original, path)
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			mustBeCorrupt(t, path)
		})
	}
}

func TestForeignFile(t *testing.T) {
	for name, content := range map[string]string{
		"text":    strings.Repeat("hello\n", 10_000),
		"zeroes":  strings.Repeat("\x00", 1<<16),
		"tiny":    "x",
		"headers": strings.Repeat("\xed\xda\x0c\xed", 1<<14),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "history.db")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			mustBeCorrupt(t, path)
		})
	}
}

// Wherever bytes of a file change, a replay is complete and right, or refused:
// when the file is opened, or as a gap.
func TestDamageIsNeverSilent(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		original := filepath.Join(t.TempDir(), "history.db")
		start, all := sample(t, original, 400)
		damageIsNeverSilent(t, original, start, all)
	})
	t.Run("crashed", func(t *testing.T) {
		path, original := filepath.Join(t.TempDir(), "a.db"), filepath.Join(t.TempDir(), "history.db")
		start, all := sample(t, path, 400)
		store := openStore(t, path, small)
		e := recovery.Entry{Offset: all[len(all)-1].Offset.Next(), Rooms: []string{"room0"}}
		if err := store.Log().Append(ctx, "/", []recovery.Entry{e}); err != nil {
			t.Fatal(err)
		}
		copyFile(t, path, original)
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		damageIsNeverSilent(t, original, start, append(all, e))
	})
}

func damageIsNeverSilent(t *testing.T, original string, start recovery.Offset, all []recovery.Entry) {
	content, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	used := int(used(t, original))
	outcomes := make(map[string]int)
	path := filepath.Join(t.TempDir(), "history.db")
	rapid.Check(t, func(rt *rapid.T) {
		damaged := slices.Clone(content)
		for range rapid.IntRange(1, 3).Draw(rt, "times") {
			at := rapid.IntRange(0, used-1).Draw(rt, "at")
			switch rapid.IntRange(0, 2).Draw(rt, "kind") {
			case 0:
				damaged[at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
			case 1:
				r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
				for i := at; i < min(at+16, used); i++ {
					damaged[i] = byte(r.Uint32())
				}
			case 2:
				clear(damaged[at&^4095 : min(at&^4095+4096, used)])
			}
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			rt.Fatal(err)
		}
		outcome := func() string {
			opts := small
			opts.MaxBytes = int64(len(content)) + 1<<26
			store, err := disk.Open(path, opts)
			if err != nil {
				if !errors.Is(err, recovery.ErrCorrupt) && !strings.Contains(err.Error(), "format") {
					rt.Fatalf("open: %v", err)
				}
				return "refused to open"
			}
			defer store.Close()
			outcome := "read"
			for i := range 6 {
				room := fmt.Sprint("room", i)
				var want []recovery.Entry
				for _, e := range all {
					if e.Rooms[0] == room {
						want = append(want, e)
					}
				}
				got, err := read(store.Log(), recovery.Query{After: start, Through: all[len(all)-1].Offset, Rooms: []string{room}})
				switch {
				case err == nil && sameEntries(got, want):
				case err == nil:
					rt.Fatalf("%d of %d entries of %s, and no error", len(got), len(want), room)
				case errors.Is(err, recovery.ErrGap), errors.Is(err, recovery.ErrFuture):
					outcome = "gap"
					if !sameEntries(got, want[:len(got)]) {
						rt.Fatal("what was read before the gap is wrong")
					}
				default:
					rt.Fatalf("read: %v", err)
				}
			}
			// A session is right or unknown.
			st, _, err := store.Sessions().Claim(ctx, "p", fmt.Sprint("t", rand.Int()))
			if err == nil && (st.PID != "p" || st.Namespace != "/") {
				rt.Fatalf("claimed %+v", st)
			}
			return outcome
		}()
		outcomes[outcome]++
	})
	t.Log(outcomes)
}

func TestSecondProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	store := openStore(t, path, small)
	defer store.Close()
	opts := small
	opts.LockTimeout = 10 * time.Millisecond
	if _, err := disk.Open(path, opts); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}

// With one of its two headers damaged, the file is as it was before its last
// commit, perhaps. That must not pass for the whole.
func TestDamagedHeader(t *testing.T) {
	for header := range int64(2) {
		path := filepath.Join(t.TempDir(), "history.db")
		start, all := sample(t, path, 50)
		last := all[len(all)-1].Offset
		flip(t, path, header*int64(os.Getpagesize())+20)
		store := openStore(t, path, small)
		for _, after := range []recovery.Offset{start, all[20].Offset, last} {
			if _, err := store.Log().Read(ctx, "/", recovery.Query{After: after}); !errors.Is(err, recovery.ErrGap) {
				t.Errorf("header %d, read after %v: %v", header, after, err)
			}
		}
		goesOn(t, store, last)
	}
}

// A damaged entry in the segment that is being written is found when the file is
// opened: once, and not each time.
func TestDamagedEntryOfTheLastSegment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	store := openStore(t, path, disk.Options{Logger: quiet})
	last, _ := store.Log().Last(ctx, "/")
	for i := range 5 {
		last = last.Next()
		e := recovery.Entry{Offset: last, Data: fmt.Appendf(nil, "entry number %d", i)}
		if err := store.Log().Append(ctx, "/", []recovery.Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Older pages have it too.
	for at := 0; ; at++ {
		i := bytes.Index(content[at:], []byte("entry number 2"))
		if i < 0 {
			break
		}
		at += i
		flip(t, path, int64(at))
	}
	store = openStore(t, path, disk.Options{Logger: quiet})
	start, err := store.Log().Start(ctx, "/")
	if err != nil || !start.After(last) {
		t.Errorf("the history begins at %v, the entry was before %v: %v", start, last, err)
	}
	goesOn(t, store, start)
	store = openStore(t, path, disk.Options{Logger: quiet})
	defer store.Close()
	if again, _ := store.Log().Start(ctx, "/"); again != start {
		t.Errorf("opened again, the history begins at %v, not %v", again, start)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err = f.ReadAt(b, at); err == nil {
		b[0] ^= 0x10
		_, err = f.WriteAt(b, at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// goesOn checks that a store that has broken with its past works, and closes it.
func goesOn(t *testing.T, store *disk.Store, past recovery.Offset) {
	t.Helper()
	start, _ := store.Log().Last(ctx, "/")
	if start.Before(past) {
		t.Errorf("goes on at %v, before %v", start, past)
	}
	e := recovery.Entry{Offset: start.Next(), Data: []byte(`["x"]`)}
	if err := store.Log().Append(ctx, "/", []recovery.Entry{e}); err != nil {
		t.Fatal(err)
	}
	if got, err := read(store.Log(), recovery.Query{After: start}); err != nil || len(got) != 1 {
		t.Errorf("%d entries: %v", len(got), err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}
