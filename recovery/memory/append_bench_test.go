package memory_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
)

// BenchmarkAppend appends entries of 100 bytes for 1,000 rooms in turn, one or a
// hundred at a time; the log forgets them after a second.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("entries=%d", size), func(b *testing.B) {
			log := memory.NewLog(memory.LogOptions{Window: time.Second})
			o := recovery.OffsetAt(time.Now())
			if err := log.Begin(ctx, "/", o); err != nil {
				b.Fatal(err)
			}
			rooms := make([][]string, 1000)
			for i := range rooms {
				rooms[i] = []string{fmt.Sprint("room", i)}
			}
			data, entries, n := make([]byte, 100), make([]recovery.Entry, size), 0
			b.ReportAllocs()
			for b.Loop() {
				if now := recovery.OffsetAt(time.Now()); now.Compare(o) > 0 {
					o = now
				}
				for i := range entries {
					o = o.Next()
					entries[i] = recovery.Entry{Offset: o, Rooms: rooms[n%len(rooms)], Data: data}
					n++
				}
				if err := log.Append(ctx, "/", entries); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/entry")
		})
	}
}

// BenchmarkRestore claims a session out of 10,000 and stores it again, as each
// client does that comes back.
func BenchmarkRestore(b *testing.B) {
	sessions := memory.NewSessions(memory.SessionsOptions{})
	const count = 10_000
	states := make([]recovery.State, count)
	for i := range states {
		states[i] = recovery.State{PID: fmt.Sprint("pid-", i), Namespace: "/", Rooms: []string{"lobby"}, TwineID: fmt.Sprint("t", i)}
		if err := sessions.Create(ctx, states[i], "0"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		st := states[n%count]
		n++
		token := fmt.Sprint(n)
		if _, _, err := sessions.Claim(ctx, st.PID, token); err != nil {
			b.Fatal(err)
		}
		if err := sessions.Store(ctx, st, token); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCollect is what the garbage collector has to do for a full log of entries
// of 100 bytes for 40,000 rooms.
func BenchmarkCollect(b *testing.B) {
	log := memory.NewLog(memory.LogOptions{Window: time.Hour})
	o, _ := log.Last(ctx, "/")
	for i := range 250_000 {
		o = o.Next()
		e := recovery.Entry{Offset: o, Rooms: []string{fmt.Sprint("room", i%40_000)}, Data: make([]byte, 100)}
		if err := log.Append(ctx, "/", []recovery.Entry{e}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/250_000, "B/entry")
	runtime.KeepAlive(log)
}
