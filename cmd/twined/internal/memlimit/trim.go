package memlimit

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// When memory is given back: not while there is work to do, and not for little.
const (
	trimInterval = 5 * time.Second
	// quietShare is how much of what is in use may be allocated in an interval that counts as quiet.
	quietShare = 20 // a twentieth
	quietLeast = 1 << 20
	// A trim is worth its collection for a quarter of what is in use, and at least this.
	worthShare = 4
	worthLeast = 8 << 20
)

// Trim gives memory that is not in use back to the system when the process has become quiet, until ctx ends. Go by
// itself keeps as much again as is in use: after thousands of clients have connected, that is what their handshakes left
// behind. A trim is a garbage collection, and comes once after a time with work, not again and again.
func Trim(ctx context.Context) {
	ticker := time.NewTicker(trimInterval)
	defer ticker.Stop()
	trim(ctx, ticker.C, readHeap, debug.FreeOSMemory)
}

// heap is how the heap is, in bytes.
type heap struct {
	allocated uint64 // since the start of the process
	used      uint64 // after the last collection
	held      uint64 // of the system's memory
}

func trim(ctx context.Context, tick <-chan time.Time, read func() heap, free func()) {
	last, kept := read(), uint64(0)
	for {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		now := read()
		if now.quietSince(last) && now.worth(kept) {
			free()
			now = read()
			kept = now.held
		}
		last = now
	}
}

func (h heap) quietSince(last heap) bool {
	return h.allocated-last.allocated <= max(h.used/quietShare, quietLeast)
}

// worth says whether there is enough to give back. kept is what the last trim could not: pages in which something is
// still in use.
func (h heap) worth(kept uint64) bool {
	return h.held >= max(h.used, kept)+max(h.used/worthShare, worthLeast)
}

func readHeap() heap {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	value := func(i int) uint64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0 // a runtime that does not count it
		}
		return samples[i].Value.Uint64()
	}
	return heap{allocated: value(0), used: value(1), held: value(2) + value(3) + value(4)}
}
