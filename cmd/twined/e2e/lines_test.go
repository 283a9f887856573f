//go:build e2e

package e2e

import (
	"bufio"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines collects what a process writes, line by line.
type lines struct {
	mu    sync.Mutex
	all   []string
	ended chan struct{} // closed at the end of the output
}

func collect(r io.Reader) *lines {
	l := &lines{ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, 4<<20)
		for scanner.Scan() {
			l.mu.Lock()
			l.all = append(l.all, scanner.Text())
			l.mu.Unlock()
		}
	}()
	return l
}

// from returns the lines from number n on.
func (l *lines) from(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.all[min(n, len(l.all)):]...)
}

func (l *lines) String() string { return strings.Join(l.from(0), "\n") }

// waitFor returns the first line from number n on that matches.
func (l *lines) waitFor(t *testing.T, n int, what string, match func(line string) bool) (found string) {
	t.Helper()
	return l.waitWithin(t, patience, n, what, match)
}

func (l *lines) waitWithin(t *testing.T, limit time.Duration, n int, what string, match func(line string) bool) (found string) {
	t.Helper()
	within(t, limit, what, func() bool {
		for _, line := range l.from(n) {
			if match(line) {
				found = line
				return true
			}
			n++
		}
		return false
	})
	return found
}
