//go:build e2e

package e2e

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// stream publishes numbered messages into a room, {"n": 1} first, one after the other.
type stream struct {
	mu      sync.Mutex
	n       int
	once    sync.Once
	ending  chan struct{}
	stopped chan struct{}
}

// startStream publishes several hundred messages a second, until the test ends.
func startStream(t *testing.T, d *daemon, room string) *stream {
	return newStream(t, d, room, time.Millisecond)
}

// startPacedStream publishes a few messages a second, until the test ends.
func startPacedStream(t *testing.T, d *daemon, room string) *stream {
	return newStream(t, d, room, 20*time.Millisecond)
}

func newStream(t *testing.T, d *daemon, room string, pause time.Duration) *stream {
	s := &stream{ending: make(chan struct{}), stopped: make(chan struct{})}
	t.Cleanup(s.stop)
	go func() {
		defer close(s.stopped)
		for n := 1; ; n++ {
			select {
			case <-s.ending:
				return
			case <-time.After(pause):
			}
			if err := d.publish(room, map[string]any{"n": n, "text": strings.Repeat("zażółć ", 5)}); err != nil {
				t.Error(err)
				return
			}
			s.mu.Lock()
			s.n = n
			s.mu.Unlock()
		}
	}()
	return s
}

// stop returns when the last message is published.
func (s *stream) stop() {
	s.once.Do(func() { close(s.ending) })
	<-s.stopped
}

// last is the number of the last published message.
func (s *stream) last() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}
