//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// longReplay are arguments of a daemon whose clients miss many messages of a stream, on a slow machine more than a daemon sends
// again by default.
var longReplay = []string{"--max-replay", "100000"}

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

// startStubbornStream publishes a few dozen messages a second and sends each with its own key again and again, until it
// is accepted: the daemon may go and come back.
func startStubbornStream(t *testing.T, d *daemon, room string) *stream {
	return runStream(t, 5*time.Millisecond, func(n int) error {
		deadline := time.Now().Add(patience)
		for {
			response, text, err := d.tryPublish(room, fmt.Sprintf("%s/%d", room, n), map[string]int{"n": n})
			if err == nil && response.StatusCode == http.StatusCreated {
				return nil
			}
			if err == nil && response.StatusCode != http.StatusServiceUnavailable {
				return fmt.Errorf("message %d: %s %s", n, response.Status, text)
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("message %d is not accepted: %v, %w", n, response, err)
			}
			<-time.After(10 * time.Millisecond)
		}
	})
}

func newStream(t *testing.T, d *daemon, room string, pause time.Duration) *stream {
	return runStream(t, pause, func(n int) error {
		return d.publish(room, map[string]any{"n": n, "text": strings.Repeat("zażółć ", 5)})
	})
}

func runStream(t *testing.T, pause time.Duration, publish func(n int) error) *stream {
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
			if err := publish(n); err != nil {
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
