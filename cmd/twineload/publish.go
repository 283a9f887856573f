package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// publishing says what is published.
type publishing struct {
	nodes       []node
	cluster     bool
	key         string
	runID       string
	rooms       int
	interval    time.Duration // between two messages of a room
	count       int           // messages of each room
	size        int           // bytes of a payload
	concurrency int
	timeout     time.Duration // of a message, with all its tries
	start       time.Time     // of the run
}

// publisher posts messages, each room's one after the other so that their order is known, and different rooms' at the same
// time.
type publisher struct {
	publishing
	client *http.Client
	slots  chan struct{}

	accepted, failed, retries atomic.Int64
	held                      atomic.Int64 // posted after they were due, because the one before was not answered yet

	mu     sync.Mutex
	causes map[string]int64
	answer *histogram // from the first try to 201
	late   *histogram // from when a message was due to when this process was ready to post it, if nothing held it
	logs   []roomLog
}

func newPublisher(p publishing) *publisher {
	return &publisher{
		publishing: p,
		client: &http.Client{
			Timeout: p.timeout,
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				MaxIdleConns:        0,
				MaxIdleConnsPerHost: p.concurrency,
				IdleConnTimeout:     time.Minute,
				DisableCompression:  true,
			},
		},
		slots:  make(chan struct{}, p.concurrency),
		causes: make(map[string]int64),
		answer: newHistogram(), late: newHistogram(),
		logs: make([]roomLog, p.rooms),
	}
}

// run returns when all was published, or ctx ends.
func (p *publisher) run(ctx context.Context) {
	defer p.client.CloseIdleConnections()
	began := time.Now()
	var rooms sync.WaitGroup
	for r := range p.rooms {
		rooms.Go(func() {
			// The rooms take turns.
			p.room(ctx, r, began.Add(p.interval*time.Duration(r)/time.Duration(p.rooms)))
		})
	}
	rooms.Wait()
}

// room publishes to one room.
func (p *publisher) room(ctx context.Context, room int, began time.Time) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var body []byte
	for n := range p.count {
		due := began.Add(time.Duration(n) * p.interval)
		wait := time.Until(due)
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if wait < 0 && n > 0 {
			p.held.Add(1)
		} else {
			p.mu.Lock()
			record(p.late, time.Since(due).Microseconds())
			p.mu.Unlock()
		}
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		body = append(body[:0], `{"room_id":"load-`+p.runID+`-`+strconv.Itoa(room)+`","payload":`...)
		body = appendPayload(body, stamp{uint32(n), room, due.Sub(p.start).Microseconds()}, p.size)
		body = append(body, '}')
		sent := time.Now()
		p.mu.Lock()
		p.logs[room].Sent = append(p.logs[room].Sent, sent.Sub(p.start).Microseconds())
		p.mu.Unlock()
		err := p.publish(ctx, room, n, body)
		<-p.slots
		if err != nil {
			p.failed.Add(1)
			p.mu.Lock()
			p.logs[room].Failed = append(p.logs[room].Failed, uint32(n))
			p.mu.Unlock()
			continue
		}
		p.accepted.Add(1)
		p.mu.Lock()
		record(p.answer, time.Since(sent).Microseconds())
		p.mu.Unlock()
	}
}

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// publish tries until the message is accepted, cannot be, or takes too long.
func (p *publisher) publish(ctx context.Context, room, n int, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	key := p.runID + "-" + strconv.Itoa(room) + "-" + strconv.Itoa(n)
	delay := firstRetry
	for try := 0; ; try++ {
		// A cluster takes it anywhere; a node on its own has to be the room's.
		target := room % len(p.nodes)
		if p.cluster {
			target = (room + n + try) % len(p.nodes)
		}
		retry, err := p.post(ctx, p.nodes[target].URL, key, body)
		if err == nil {
			return nil
		}
		p.note(err.Error())
		if !retry {
			return err
		}
		p.retries.Add(1)
		select {
		case <-time.After(delay/2 + rand.N(delay)):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
		delay = min(2*delay, lastRetry)
	}
}

func (p *publisher) note(cause string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.causes[cause]; !known && len(p.causes) >= maxCauses {
		cause = "others"
	}
	p.causes[cause]++
}

// post is one try. Its error's text is a cause of failure; retry says whether another try makes sense.
func (p *publisher) post(ctx context.Context, url, key string, body []byte) (retry bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/twine", bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Authorization", p.key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	response, err := p.client.Do(request)
	if err != nil {
		return true, rootCause(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return true, rootCause(err)
	}
	if response.StatusCode == http.StatusCreated {
		return false, nil
	}
	retry = response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests
	return retry, fmt.Errorf("HTTP %d: %.100s", response.StatusCode, text)
}

// rootCause strips what differs from one request to the next, such as addresses.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// preflight publishes one message to a room that nobody is in, so that a wrong key is found at once and not after the
// ramp.
func (p *publisher) preflight(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	defer p.client.CloseIdleConnections()
	for i, n := range p.nodes {
		body := []byte(`{"room_id":"load-` + p.runID + `-preflight","payload":{}}`)
		if _, err := p.post(ctx, n.URL, p.runID+"-preflight-"+strconv.Itoa(i), body); err != nil {
			return fmt.Errorf("%s: %w", n.URL, err)
		}
	}
	return nil
}
