package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// backend is a server that publishes fail on.
type backend struct {
	mu     sync.Mutex
	tries  map[string]int // by idempotency key
	bodies map[string]string
	answer func(key string, try int) int
}

func newBackend(t *testing.T, answer func(key string, try int) int) (*backend, *publisher) {
	t.Helper()
	b := &backend{tries: map[string]int{}, bodies: map[string]string{}, answer: answer}
	front := httptest.NewServer(b)
	t.Cleanup(front.Close)
	return b, newPublisher(publishing{
		nodes: []node{{URL: front.URL}}, key: "secret", runID: "run", rooms: 4, interval: 20 * time.Millisecond, count: 5, size: 50,
		concurrency: 2, timeout: 10 * time.Second, start: time.Now(),
	})
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Header.Get("Idempotency-Key")
	b.mu.Lock()
	b.tries[key]++
	try := b.tries[key]
	if try > 1 && b.bodies[key] != string(body) {
		try = 1000
	}
	b.bodies[key] = string(body)
	b.mu.Unlock()
	status := b.answer(key, try)
	if r.Header.Get("Authorization") != "secret" {
		status = http.StatusUnauthorized
	}
	w.WriteHeader(status)
}

func TestPublisherTriesAgainWithTheSameKey(t *testing.T) {
	b, p := newBackend(t, func(key string, try int) int {
		switch {
		case try == 1 && strings.HasSuffix(key, "-3"):
			return http.StatusServiceUnavailable
		case try == 1 && strings.HasSuffix(key, "-4"):
			return http.StatusTooManyRequests
		case try > 2:
			return http.StatusTeapot
		}
		return http.StatusCreated
	})
	p.run(t.Context())
	if p.accepted.Load() != 20 || p.failed.Load() != 0 || p.retries.Load() != 8 || len(b.tries) != 20 {
		t.Errorf("%d accepted, %d failed, %d retries of %d", p.accepted.Load(), p.failed.Load(), p.retries.Load(), len(b.tries))
	}
	for room := range p.rooms {
		if log := p.logs[room]; len(log.Sent) != 5 || len(log.Failed) != 0 {
			t.Errorf("room %d: %+v", room, log)
		}
	}
	if p.answer.TotalCount() != 20 || p.late.TotalCount()+p.held.Load() != 20 || p.causes["HTTP 503: "] != 4 {
		t.Errorf("%d answers, %d posts, %v", p.answer.TotalCount(), p.late.TotalCount(), p.causes)
	}
}

func TestPublisherGivesUp(t *testing.T) {
	_, p := newBackend(t, func(key string, _ int) int {
		if strings.HasPrefix(key, "run-2-") {
			return http.StatusBadRequest
		}
		return http.StatusCreated
	})
	p.run(t.Context())
	if p.accepted.Load() != 15 || p.failed.Load() != 5 || p.retries.Load() != 0 || len(p.logs[2].Failed) != 5 || len(p.logs[2].Sent) != 5 {
		t.Errorf("%d accepted, %d failed, %+v", p.accepted.Load(), p.failed.Load(), p.logs[2])
	}
}

func TestPublisherEndsWithItsContext(t *testing.T) {
	_, p := newBackend(t, func(string, int) int { return http.StatusServiceUnavailable })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	p.run(ctx)
	if p.accepted.Load() != 0 {
		t.Error("accepted")
	}
}

func TestPreflightFindsAWrongKey(t *testing.T) {
	_, p := newBackend(t, func(string, int) int { return http.StatusCreated })
	if err := p.preflight(t.Context()); err != nil {
		t.Error(err)
	}
	p.key = "wrong"
	if err := p.preflight(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Error(err)
	}
}
