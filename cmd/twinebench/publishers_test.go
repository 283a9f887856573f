package main

import (
	"bufio"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestHammer(t *testing.T) {
	var closed, published atomic.Int64
	var seen [3]atomic.Int64 // the last message of each
	l, err := hammer(t.Context(), 3, 20*time.Millisecond, func(i int) (publisher, error) {
		return publisher{
			publish: func(n int) error {
				published.Add(1)
				if n%3 != i || n != 0 && n < 3 && n != i || int64(n) < seen[i].Load() {
					t.Errorf("publisher %d: message %d", i, n)
				}
				seen[i].Store(int64(n))
				return nil
			},
			close: func() error { closed.Add(1); return nil },
		}, nil
	})
	if err != nil || int64(l.Accepted) != published.Load() || l.Accepted < 3 || l.perSecond() <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
		t.Errorf("%+v, %v, %d published", l, err, published.Load())
	}
	if closed.Load() != 3 {
		t.Errorf("%d closed", closed.Load())
	}
}

func TestHammerEndsWithTheFirstError(t *testing.T) {
	failure := errors.New("failure")
	_, err := hammer(t.Context(), 3, time.Hour, func(i int) (publisher, error) {
		return publisher{publish: func(n int) error {
			if n == 30 {
				return failure
			}
			return nil
		}}, nil
	})
	if err != failure {
		t.Errorf("got %v", err)
	}
	if _, err = hammer(t.Context(), 3, time.Hour, func(i int) (publisher, error) { return publisher{}, failure }); err != failure {
		t.Errorf("got %v", err)
	}
}

func TestQuantiles(t *testing.T) {
	var took []time.Duration
	for i := range 100 {
		took = append(took, time.Duration(100-i)*time.Millisecond)
	}
	l, err := newLoad(took, 2*time.Second)
	if err != nil || l.P50 != 51 || l.P99 != 100 || l.Max != 100 || l.perSecond() != 50 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := newLoad(nil, time.Second); err == nil {
		t.Error("no error for nothing")
	}
}

func TestExpectCreated(t *testing.T) {
	const ok = "HTTP/1.1 201 Created\r\nX: y\r\ncontent-length: 2\r\n\r\nok"
	r := bufio.NewReader(strings.NewReader(ok + ok))
	for range 2 {
		if err := expectCreated(r); err != nil {
			t.Error(err)
		}
	}
	for _, answer := range []string{
		"", ok[:20], ok[:30], ok[:len(ok)-1], strings.Replace(ok, "201", "503", 1), strings.Replace(ok, ": 2", ": x", 1),
		strings.Replace(ok, "content-length", "length", 1),
	} {
		if err := expectCreated(bufio.NewReader(strings.NewReader(answer))); err == nil {
			t.Errorf("%q: no error", answer)
		}
	}
}
