package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 2 * time.Second
	// avoided is how long a node that could not be reached gets no requests, if there is another.
	avoided = time.Second
	// maxAnswer bounds what is read of an answer; each message of a batch has less than 200 bytes of it.
	maxAnswer = 1 << 20
)

// publish tries until each message is accepted, cannot be, or has taken too long. It returns the rooms of those that were
// not accepted.
func (p *publisher) publish(ctx context.Context, lane, n int, messages []message) (refused []int) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	key := ""
	if !p.unkeyed && p.batch == 1 {
		key = p.idempotencyKey(messages[0].room, n)
	}
	left := append([]message(nil), messages...)
	delay := firstRetry
	for try := 0; ; try++ {
		target := p.target(lane, n, try)
		p.requests.Add(1)
		outcome := p.post(ctx, p.nodes[target].URL, key, left)
		if outcome.err != nil {
			p.note(outcome.err.Error())
		}
		var again []message
		for i, m := range left {
			switch {
			case outcome.accepted(i):
			case outcome.worthRetrying(i, p.unkeyed):
				again = append(again, m)
			default:
				refused = append(refused, m.room)
			}
		}
		if left = again; len(left) == 0 {
			return refused
		}
		p.retries.Add(1)
		if outcome.unreached {
			p.down[target].Store(time.Now().Add(avoided).UnixNano())
			if p.target(lane, n, try+1) != target {
				continue // a load balancer would have chosen another at once
			}
		}
		select {
		case <-time.After(delay/2 + rand.N(delay)):
		case <-ctx.Done():
			for _, m := range left {
				refused = append(refused, m.room)
			}
			return refused
		}
		delay = min(2*delay, lastRetry)
	}
}

// target chooses a node. A cluster takes a message anywhere; a node on its own has to be the room's.
func (p *publisher) target(lane, n, try int) int {
	if !p.cluster {
		return lane % len(p.nodes)
	}
	now := time.Now().UnixNano()
	for i := range p.nodes {
		if node := (lane + n + try + i) % len(p.nodes); p.down[node].Load() < now {
			return node
		}
	}
	return (lane + n + try) % len(p.nodes)
}

// outcome is what came of one request.
type outcome struct {
	status    int // 0 if there was no answer
	results   []messageResult
	unreached bool  // the request did not leave
	err       error // nil if all is well; its text is a cause of failure
}

// messageResult is the answer for one message of a batch.
type messageResult struct {
	Offset string `json:"offset"`
	Status int    `json:"status"`
}

func (o *outcome) accepted(i int) bool {
	return o.status == http.StatusCreated || (i < len(o.results) && o.results[i].Offset != "" && o.results[i].Status == 0)
}

// worthRetrying says whether a message that was not accepted may be sent again. Without an idempotency key only one that
// has certainly not been taken may.
func (o *outcome) worthRetrying(i int, unkeyed bool) bool {
	if o.unreached {
		return true
	}
	status := o.status
	if i < len(o.results) {
		status = o.results[i].Status
	}
	return !unkeyed && (status == 0 || status >= 500 || status == http.StatusTooManyRequests)
}

// post is one try.
func (p *publisher) post(ctx context.Context, url, key string, messages []message) outcome {
	path, authorization := "/v1/publish", "Bearer "+p.key
	var body []byte
	if p.batch == 1 {
		path, authorization, body = "/api/twine", p.key, messages[0].body
	} else {
		size := 0
		for _, m := range messages {
			size += len(m.body) + 1
		}
		body = append(make([]byte, 0, size+20), `{"messages":[`...)
		for i, m := range messages {
			if i > 0 {
				body = append(body, ',')
			}
			body = append(body, m.body...)
		}
		body = append(body, "]}"...)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader(body))
	if err != nil {
		return outcome{status: http.StatusBadRequest, err: err}
	}
	request.Header.Set("Authorization", authorization)
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := p.client.Do(request)
	if err != nil {
		dial := (*net.OpError)(nil)
		return outcome{unreached: errors.As(err, &dial) && dial.Op == "dial", err: rootCause(err)}
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusCreated {
		if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)); err != nil {
			return outcome{err: rootCause(err)}
		}
		return outcome{status: response.StatusCode}
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return outcome{err: rootCause(err)}
	}
	o := outcome{status: response.StatusCode, err: fmt.Errorf("HTTP %d: %.100s", response.StatusCode, text)}
	var answer struct{ Results []messageResult }
	if json.Unmarshal(text, &answer) == nil && len(answer.Results) == len(messages) {
		o.results = answer.Results
	}
	return o
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
	room := "load-" + p.runID + "-preflight"
	m := message{body: []byte(`{"room_id":"` + room + `","payload":{}}`)}
	if p.batch > 1 {
		m.body = []byte(`{"room":"` + room + `","data":{}}`)
	}
	for i, n := range p.nodes {
		key := p.runID + "-preflight-" + strconv.Itoa(i)
		if o := p.post(ctx, n.URL, key, []message{m}); o.err != nil {
			return fmt.Errorf("%s: %w", n.URL, o.err)
		}
	}
	return nil
}
