package memory_test

import (
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
)

// BenchmarkRead reads 100 entries of one room, as each client of a crowd does
// that comes back.
func BenchmarkRead(b *testing.B) {
	log := memory.NewLog(memory.LogOptions{})
	start := recovery.OffsetAt(time.Now().Add(time.Second))
	if err := log.Begin(ctx, "/", start); err != nil {
		b.Fatal(err)
	}
	o, entries := start, make([]recovery.Entry, 100)
	for i := range entries {
		o = o.Next()
		entries[i] = recovery.Entry{Offset: o, Rooms: []string{"lobby"}, Data: make([]byte, 100)}
	}
	if err := log.Append(ctx, "/", entries); err != nil {
		b.Fatal(err)
	}
	q := recovery.Query{After: start, Rooms: []string{"id", "lobby"}, Limit: 256}
	b.ReportAllocs()
	for b.Loop() {
		page, err := log.Read(ctx, "/", q)
		if err != nil || len(page.Entries) != len(entries) {
			b.Fatalf("%d entries, %v", len(page.Entries), err)
		}
	}
}
