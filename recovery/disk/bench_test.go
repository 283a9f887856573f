package disk_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/recovery/memory"
)

func openStore(t testing.TB, path string, opts disk.Options) *disk.Store {
	t.Helper()
	s, err := disk.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// BenchmarkPublish is 64 publishers, each of which waits for its message to be
// accepted, with 512-byte messages into 1,000 rooms. The aim is 20,000 a second
// with 99 % answered within 20 ms.
func BenchmarkPublish(b *testing.B) {
	for _, ids := range []bool{false, true} {
		b.Run(fmt.Sprintf("ids=%v", ids), func(b *testing.B) { benchmarkPublish(b, ids) })
	}
}

func benchmarkPublish(b *testing.B, ids bool) {
	store := openStore(b, filepath.Join(b.TempDir(), "history.db"), disk.Options{})
	defer store.Close()
	seq, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{
		Namespace: "/", Durable: store.Log(), Hot: memory.NewLog(memory.LogOptions{}), Deliver: func([]recovery.Entry) {},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer seq.Close(ctx)
	data := make([]byte, 512)
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var running sync.WaitGroup
	b.ResetTimer()
	for range 64 {
		running.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				e := recovery.Entry{Rooms: []string{fmt.Sprint("room", rand.IntN(1000))}, Data: data}
				if ids {
					e.ID = fmt.Sprint("key-", uint64(i)*2654435761%1e9, "-", i)
				}
				began := time.Now()
				if _, _, err := seq.Publish(ctx, e); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(began)
			}
		})
	}
	running.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds())/1000, "p99-ms")
}

func fill(tb testing.TB, store *disk.Store, entries int) (start recovery.Offset) {
	tb.Helper()
	start, err := store.Log().Last(ctx, "/")
	if err != nil {
		tb.Fatal(err)
	}
	data := make([]byte, 512)
	for o, i := start, 0; i < entries; {
		var batch []recovery.Entry
		for range min(1000, entries-i) {
			o = o.Next()
			batch = append(batch, recovery.Entry{Offset: o, Rooms: []string{fmt.Sprint("room", i%100)}, Data: data})
			i++
		}
		if err := store.Log().Append(ctx, "/", batch); err != nil {
			tb.Fatal(err)
		}
	}
	return start
}

// BenchmarkReplay reads 100,000 entries of 512 bytes in pages. What it holds at
// a time is a page.
func BenchmarkReplay(b *testing.B) {
	store := openStore(b, filepath.Join(b.TempDir(), "history.db"), disk.Options{})
	defer store.Close()
	const entries = 100_000
	start := fill(b, store, entries)
	var rooms []string
	for i := range 100 {
		rooms = append(rooms, fmt.Sprint("room", i))
	}
	b.ReportAllocs()
	var peak uint64
	for b.Loop() {
		n := 0
		q := recovery.Query{After: start, Rooms: rooms}
		for more := true; more; {
			page, err := store.Log().Read(ctx, "/", q)
			if err != nil {
				b.Fatal(err)
			}
			n += len(page.Entries)
			q.After, more = page.Next, page.More
			if n%20_000 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
		}
		if n != entries {
			b.Fatalf("%d entries", n)
		}
	}
	b.ReportMetric(float64(peak)/(1<<20), "peak-heap-MB")
	b.ReportMetric(entries*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkOpen opens a file with a million entries, closed in order and not.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "history.db")
	store := openStore(b, path, disk.Options{})
	fill(b, store, 1_000_000)
	crashed := filepath.Join(b.TempDir(), "crashed.db")
	copyFile(b, path, crashed)
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("closed", func(b *testing.B) {
		for b.Loop() {
			_ = openStore(b, path, disk.Options{}).Close()
		}
	})
	b.Run("crashed", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			again := filepath.Join(b.TempDir(), "again.db")
			copyFile(b, crashed, again)
			b.StartTimer()
			s := openStore(b, again, disk.Options{})
			b.StopTimer()
			_ = s.Close()
			b.StartTimer()
		}
	})
}

// BenchmarkRestore claims and stores 10,000 sessions, all at once, as happens
// when a room full of clients comes back.
func BenchmarkRestore(b *testing.B) {
	store := openStore(b, filepath.Join(b.TempDir(), "history.db"), disk.Options{})
	defer store.Close()
	s := store.Sessions()
	const sessions = 10_000
	state := func(i int) recovery.State {
		return recovery.State{PID: fmt.Sprintf("%x-%d", uint64(i)*2654435761, i), Namespace: "/", Rooms: []string{"lobby"}, TwineID: fmt.Sprint("t", i)}
	}
	all := func(do func(i int) error) {
		var running sync.WaitGroup
		for i := range sessions {
			running.Go(func() {
				if err := do(i); err != nil {
					b.Error(err)
				}
			})
		}
		running.Wait()
	}
	all(func(i int) error { return s.Create(ctx, state(i), "0") })
	round := 0
	for b.Loop() {
		round++
		token := fmt.Sprint(round)
		all(func(i int) error {
			st := state(i)
			if _, _, err := s.Claim(ctx, st.PID, token); err != nil {
				return err
			}
			return s.Store(ctx, st, token)
		})
	}
}
