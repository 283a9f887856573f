package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// Rooms are begun with one after the other, and each gets all of its messages.
func TestPublishRamp(t *testing.T) {
	_, p := newBackend(t, func(string, int) int { return http.StatusCreated })
	p.ramp = time.Second
	began := time.Since(p.start)
	p.run(t.Context())
	for room := range p.rooms {
		log := p.logs[room]
		if len(log.Sent) != 5 {
			t.Fatalf("room %d: %d messages", room, len(log.Sent))
		}
		due := began + (p.ramp+p.interval)*time.Duration(room)/time.Duration(p.rooms)
		if first := time.Duration(log.Sent[0]) * time.Microsecond; first < due-time.Millisecond {
			t.Errorf("room %d is begun with after %s, want %s", room, first, due)
		}
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
	if p.accepted.Load() != 15 || p.failed.Load() != 5 || p.retries.Load() != 0 || len(p.logs[2].Failed[2]) != 5 || len(p.logs[2].Sent) != 5 {
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

// batchBackend takes batches and refuses some of their messages.
type batchBackend struct {
	t      *testing.T
	mu     sync.Mutex
	seen   map[string]int // accepted, by id
	next   map[string]int // by room: the number that is due
	sizes  []int
	status func(room string, n, request int) int
}

func (b *batchBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Messages []struct {
			Room, ID string
			Data     struct{ N int }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.Path != "/v1/publish" || r.Header.Get("Authorization") != "Bearer secret" {
		b.t.Errorf("%s %v %v", r.URL, r.Header, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sizes = append(b.sizes, len(in.Messages))
	var results []messageResult
	worst := http.StatusCreated
	for _, m := range in.Messages {
		status := b.status(m.Room, m.Data.N, len(b.sizes))
		if status != http.StatusCreated {
			worst = max(worst, status)
			results = append(results, messageResult{Status: status})
			continue
		}
		if m.Data.N < b.next[m.Room] {
			b.t.Errorf("%s: message %d after %d", m.Room, m.Data.N, b.next[m.Room]-1)
		}
		b.next[m.Room] = m.Data.N + 1
		b.seen[m.ID]++
		results = append(results, messageResult{Offset: "1-1"})
	}
	w.WriteHeader(worst)
	_ = json.NewEncoder(w).Encode(map[string]any{"results": results})
}

func newBatchBackend(t *testing.T, unkeyed bool, status func(room string, n, request int) int) (*batchBackend, *publisher) {
	t.Helper()
	b := &batchBackend{t: t, seen: map[string]int{}, next: map[string]int{}, status: status}
	front := httptest.NewServer(b)
	t.Cleanup(front.Close)
	return b, newPublisher(publishing{
		nodes: []node{{URL: front.URL}}, key: "secret", runID: "run", rooms: 10, batch: 4, unkeyed: unkeyed, interval: 20 * time.Millisecond,
		count: 5, size: 50, concurrency: 2, timeout: 10 * time.Second, start: time.Now(),
	})
}

func TestBatchesSendAgainWhatWasNotAccepted(t *testing.T) {
	tried := map[string]bool{}
	b, p := newBatchBackend(t, false, func(room string, n, _ int) int {
		switch key := fmt.Sprint(room, n); {
		case strings.HasSuffix(room, "-7") && n == 2:
			return http.StatusBadRequest
		case strings.HasSuffix(room, "-3") && !tried[key]:
			tried[key] = true
			return http.StatusServiceUnavailable
		}
		return http.StatusCreated
	})
	p.run(t.Context())
	if p.accepted.Load() != 49 || p.failed.Load() != 1 || p.retries.Load() != 5 || len(b.seen) != 49 || len(b.sizes) != 20 {
		t.Errorf("%d accepted, %d failed, %d sent again, %d seen in %d requests", p.accepted.Load(), p.failed.Load(), p.retries.Load(), len(b.seen), len(b.sizes))
	}
	for id, n := range b.seen {
		if n != 1 || id == "" {
			t.Errorf("%q was sent %d times", id, n)
		}
	}
	// Rooms 0, 3, 6 and 9 share a lane, 1, 4 and 7 another.
	if len(p.logs) != 3 || len(p.logs[0].Sent) != 5 || len(p.logs[0].Failed) != 0 || !slices.Equal(p.logs[1].Failed[7], []uint32{2}) {
		t.Errorf("%+v", p.logs)
	}
}

func TestWithoutKeysNothingIsSentTwice(t *testing.T) {
	b, p := newBatchBackend(t, true, func(room string, n, _ int) int {
		if n == 1 {
			return http.StatusServiceUnavailable
		}
		return http.StatusCreated
	})
	p.run(t.Context())
	if p.accepted.Load() != 40 || p.failed.Load() != 10 || p.retries.Load() != 0 || b.seen[""] != 40 {
		t.Errorf("%d accepted, %d failed, %d sent again, %v", p.accepted.Load(), p.failed.Load(), p.retries.Load(), b.seen)
	}
}

// One server of a cluster is gone: its share goes to the others, and almost no request waits for it.
func TestPublisherAvoidsAServerThatIsGone(t *testing.T) {
	_, p := newBackend(t, func(string, int) int { return http.StatusCreated })
	p.cluster = true
	p.nodes = append(p.nodes, node{URL: "http://127.0.0.1:1"})
	p.down = make([]atomic.Int64, 2)
	p.run(t.Context())
	if p.accepted.Load() != 20 || p.failed.Load() != 0 || p.retries.Load() == 0 || p.retries.Load() > 2 {
		t.Errorf("%d accepted, %d failed, %d sent again", p.accepted.Load(), p.failed.Load(), p.retries.Load())
	}
}

func TestLanesStayOnTheirServer(t *testing.T) {
	for _, c := range []struct {
		rooms, batch, nodes int
		cluster             bool
		want                int
	}{
		{100, 1, 3, false, 100}, {100, 10, 3, false, 12}, {100, 10, 3, true, 10}, {5, 3, 4, false, 4}, {5, 2, 4, false, 4}, {3, 2, 4, true, 2},
	} {
		lanes := lanesOf(c.rooms, c.batch, c.nodes, c.cluster)
		if lanes != c.want {
			t.Errorf("%+v: %d lanes", c, lanes)
		}
		for room := range c.rooms {
			if !c.cluster && room%c.nodes != room%lanes%c.nodes {
				t.Errorf("%+v: room %d is in a lane of another server", c, room)
			}
		}
	}
}
