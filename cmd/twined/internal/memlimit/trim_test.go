package memlimit

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"
)

const mb = 1 << 20

func TestMemoryIsGivenBackOnceWhenQuiet(t *testing.T) {
	for name, c := range map[string]struct {
		states []heap // at the start, and at each tick; after a trim the next one is read at once
		trims  []int  // at which of them
	}{
		"idle from the start": {[]heap{{1 * mb, 2 * mb, 4 * mb}, {1 * mb, 2 * mb, 4 * mb}, {1 * mb, 2 * mb, 4 * mb}}, nil},
		"after a wave": {[]heap{
			{1 * mb, 2 * mb, 4 * mb}, {300 * mb, 60 * mb, 110 * mb}, {600 * mb, 60 * mb, 120 * mb}, // clients come
			{602 * mb, 60 * mb, 120 * mb}, {602 * mb, 58 * mb, 64 * mb}, // quiet: trimmed
			{603 * mb, 58 * mb, 65 * mb}, {604 * mb, 58 * mb, 66 * mb}, // little is to be had
		}, []int{3}},
		"fragmented": {[]heap{
			{0, 60 * mb, 120 * mb}, {0, 60 * mb, 120 * mb}, {0, 60 * mb, 110 * mb}, // cannot be given back
			{1 * mb, 60 * mb, 111 * mb}, {2 * mb, 60 * mb, 112 * mb},
		}, []int{1}},
		"again after more work": {[]heap{
			{0, 20 * mb, 40 * mb}, {0, 20 * mb, 40 * mb}, {0, 20 * mb, 22 * mb},
			{90 * mb, 20 * mb, 41 * mb}, {90 * mb, 20 * mb, 41 * mb}, {90 * mb, 20 * mb, 22 * mb},
		}, []int{1, 4}},
		"never quiet": {[]heap{{0, 60 * mb, 120 * mb}, {90 * mb, 60 * mb, 120 * mb}, {180 * mb, 60 * mb, 120 * mb}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			tick := make(chan time.Time)
			var trims []int
			n := 0
			read := func() heap {
				h := c.states[n]
				if n++; n == len(c.states) {
					cancel()
				}
				return h
			}
			var running sync.WaitGroup
			running.Go(func() { trim(ctx, tick, read, func() { trims = append(trims, n-1) }) })
			for ctx.Err() == nil {
				select {
				case tick <- time.Now():
				case <-ctx.Done():
				}
			}
			running.Wait()
			if !slices.Equal(trims, c.trims) {
				t.Errorf("trims at %v, want %v", trims, c.trims)
			}
		})
	}
}

// What the runtime counts means what is made of it.
func TestReadHeap(t *testing.T) {
	const size = 64 * mb
	debug.FreeOSMemory()
	before := readHeap()
	big := make([]byte, size)
	big[0] = 1
	with := readHeap()
	if with.allocated-before.allocated < size || with.held < before.held+size || !before.quietSince(before) || with.quietSince(before) {
		t.Errorf("%+v, then %+v", before, with)
	}
	runtime.KeepAlive(big)
	runtime.GC()
	if unused := readHeap(); unused.used >= size {
		t.Errorf("%+v", unused)
	}
	debug.FreeOSMemory()
	if after := readHeap(); after.worth(after.held) || after.held >= with.held-size/2 {
		t.Errorf("%+v", after)
	}
}

func TestTrimEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { Trim(ctx) })
	cancel()
	running.Wait()
}
