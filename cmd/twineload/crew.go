package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// crew are the worker processes.
type crew struct {
	workers []*hand
}

// hand is a worker process as its leader sees it.
type hand struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	orders *json.Encoder
	ended  chan struct{}

	mu     sync.Mutex
	last   update
	lagMax time.Duration // since it was last asked
	final  *finalReport
	err    error
}

// startCrew starts the workers. They end with ctx, or with stop.
func startCrew(ctx context.Context, a assignment) (*crew, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &crew{}
	for i := range a.Workers {
		a.Worker = i
		h, err := startHand(ctx, self, a)
		if err != nil {
			c.stop()
			return nil, fmt.Errorf("worker %d: %w", i, err)
		}
		c.workers = append(c.workers, h)
	}
	return c, nil
}

func startHand(ctx context.Context, self string, a assignment) (*hand, error) {
	h := &hand{cmd: exec.CommandContext(ctx, self, workerArgument), ended: make(chan struct{})}
	h.last.Counts.Missing = -1
	h.cmd.Stderr = os.Stderr
	in, err := h.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	h.in, h.orders = in, json.NewEncoder(in)
	go h.listen(out)
	if err := h.orders.Encode(order{Assign: &a}); err != nil {
		_ = in.Close()
		<-h.ended
		return nil, err
	}
	return h, nil
}

// listen takes down a worker's reports until it ends.
func (h *hand) listen(out io.Reader) {
	defer close(h.ended)
	decoder := json.NewDecoder(out)
	for {
		var u update
		if err := decoder.Decode(&u); err != nil {
			break
		}
		h.mu.Lock()
		h.last = u
		h.lagMax = max(h.lagMax, u.Load.LagMax)
		if u.Final != nil {
			h.final = u.Final
		}
		h.mu.Unlock()
	}
	err := h.cmd.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.final == nil {
		h.err = fmt.Errorf("a worker has ended early: %w", errors.Join(err, errors.New("see above")))
	}
}

func (c *crew) order(o order) error {
	for _, h := range c.workers {
		if err := h.orders.Encode(o); err != nil {
			return fmt.Errorf("worker: %w", err)
		}
	}
	return nil
}

// status is what all workers together have done so far.
type status struct {
	counts
	cpu  time.Duration
	lag  time.Duration   // the worst since the last status
	each []time.Duration // CPU of each
}

// status returns an error if a worker has ended.
func (c *crew) status() (s status, err error) {
	for _, h := range c.workers {
		h.mu.Lock()
		s.add(&h.last.Counts)
		s.cpu += h.last.Load.CPU
		s.each = append(s.each, h.last.Load.CPU)
		s.lag = max(s.lag, h.lagMax)
		h.lagMax = 0
		err = errors.Join(err, h.err)
		h.mu.Unlock()
	}
	return s, err
}

// finish asks for the final reports and waits for them.
func (c *crew) finish(ctx context.Context) (finals []*finalReport, err error) {
	if err := c.order(order{Finish: true}); err != nil {
		return nil, err
	}
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		finals = finals[:0]
		for _, h := range c.workers {
			h.mu.Lock()
			final, err := h.final, h.err
			h.mu.Unlock()
			switch {
			case err != nil:
				return nil, err
			case final != nil:
				finals = append(finals, final)
			}
		}
		if len(finals) == len(c.workers) {
			return finals, nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// stop ends the workers and waits for them.
func (c *crew) stop() {
	for _, h := range c.workers {
		_ = h.in.Close()
	}
	for _, h := range c.workers {
		timer := time.AfterFunc(10*time.Second, func() { _ = h.cmd.Process.Kill() })
		<-h.ended
		timer.Stop()
	}
}
