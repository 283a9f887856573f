package disk_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
)

// BenchmarkAppend appends entries of 100 bytes for 1,000 rooms in turn, one or a
// hundred at a time, each time until they are on the disk.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("entries=%d", size), func(b *testing.B) {
			store := openStore(b, filepath.Join(b.TempDir(), "history.db"), disk.Options{})
			defer store.Close()
			o, err := store.Log().Last(ctx, "/")
			if err != nil {
				b.Fatal(err)
			}
			data, n := make([]byte, 100), 0
			b.ReportAllocs()
			for b.Loop() {
				entries := make([]recovery.Entry, size)
				for i := range entries {
					o = o.Next()
					entries[i] = recovery.Entry{Offset: o, Rooms: []string{fmt.Sprint("room", n%1000)}, Data: data}
					n++
				}
				if err := store.Log().Append(ctx, "/", entries); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/entry")
		})
	}
}
