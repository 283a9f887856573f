package check

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/twine-realtime/twine/cmd/twinecheck/internal/history"
)

// retryPause is how long a publisher waits after a failed attempt, give or take half.
const retryPause = 50 * time.Millisecond

// publisher publishes one message after the other, each until it is accepted.
type publisher struct {
	run    *run
	number int
	log    *history.PublisherLog
	rand   *rand.Rand
	client *http.Client
	url    string
}

// publish works until stop ends, and finishes the message that is under way unless ctx ends first.
func (p *publisher) publish(ctx, stop context.Context, interval time.Duration) error {
	defer p.client.CloseIdleConnections()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-stop.Done():
			return nil
		case <-ticker.C:
		}
		if stop.Err() != nil {
			return nil
		}
		room := p.rand.IntN(len(p.run.history.Rooms))
		number := p.log.Begin(uint16(room), p.run.now())
		began := time.Now()
		if err := p.insist(ctx, room, number); err != nil {
			return err
		}
		p.log.Accept(number, p.run.now())
		p.run.latency.add(time.Since(began))
	}
}

// insist tries until the message is accepted. An error means that it never will be, or that ctx has ended.
func (p *publisher) insist(ctx context.Context, room int, number uint32) error {
	text, err := json.Marshal(body{p.run.history.Rooms[room], newPayload(p.number, number, p.run.config.Padding)})
	if err != nil {
		return err
	}
	// Keys of other runs on the same server must differ.
	id := fmt.Sprintf("%x-%d-%d", p.run.id, p.number, number)
	for {
		status, answer, err := p.attempt(ctx, id, text)
		switch {
		case err == nil && status == http.StatusCreated:
			return nil
		case ctx.Err() != nil:
			return nil // it stays without an answer
		case err == nil && status < 500 && status != http.StatusTooManyRequests && status != http.StatusConflict:
			return fmt.Errorf("publisher %d: the server answered %d %.200q", p.number, status, answer)
		}
		p.run.retries.Add(1)
		select {
		case <-time.After(retryPause/2 + time.Duration(p.rand.Int64N(int64(retryPause)))):
		case <-ctx.Done():
		}
	}
}

func (p *publisher) attempt(ctx context.Context, id string, text []byte) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.run.config.PublishTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", p.run.target.Key())
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", id)
	response, err := p.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return response.StatusCode, answer, err
}

// latencies is safe for concurrent use.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}
