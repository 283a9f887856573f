package main

import (
	"context"
	"sync"
	"time"
)

// memoryWatch looks at a process's memory all the time.
type memoryWatch struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	peak    memory // beyond what there was at the beginning
	err     error
}

const watchInterval = 2 * time.Millisecond

func watchMemory(pid int) (*memoryWatch, error) {
	first, err := memoryOf(pid)
	if err != nil {
		return nil, err
	}
	w := &memoryWatch{}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.running.Go(func() {
		ticker := time.NewTicker(watchInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			now, err := memoryOf(pid)
			if err != nil {
				w.err = err
				return
			}
			w.peak.own = max(w.peak.own, now.own-first.own)
			w.peak.resident = max(w.peak.resident, now.resident-first.resident)
		}
	})
	return w, nil
}

func (w *memoryWatch) stop() (memory, error) {
	w.cancel()
	w.running.Wait()
	return w.peak, w.err
}
