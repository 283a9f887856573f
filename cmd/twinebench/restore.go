package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// All clients of one room are cut off at once, miss messages, and come back as stock clients do: after half a second to
// one and a half, each with its session and its offset.
const (
	missedMessages = 100
	maxCatchUp     = 5 // s
)

var comingBack = scenario{
	name: "restore",
	what: func(set settings) string {
		return fmt.Sprintf("%d clients of one room cut at once, %d messages of %d bytes missed by each", set.Restored, missedMessages, set.MessageSize)
	},
	measure: measureRestore,
	rows: []figureRow{
		{"all", "first reconnect until all caught up, s", "%.2f", maxCatchUp, false},
		{"p50", "one client, median, s", "%.2f", 0, false},
		{"max", "one client, slowest, s", "%.2f", maxCatchUp, false},
		{"cpu", "server CPU µs per client, cut to caught up", "%.0f", 0, false},
		{"memory", "most memory beyond that at rest, KB per client", "%.1f", 0, false},
		{"retries", "attempts that failed", "%.0f", 0, false},
	},
}

func measureRestore(ctx context.Context, set settings, dir string) (found figures, err error) {
	c, err := startRecovery(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	h, err := newHerd(ctx, set.Restored, c.addr, 1, set.MessageSize)
	if err != nil {
		return nil, err
	}
	defer h.close()
	// A stock client has an offset, and so a session to come back to, once it has received something.
	if err := h.do(ctx, func() { h.expect(1) }); err != nil {
		return nil, err
	}
	if err := h.receive(ctx, c, 1, set.MessageSize); err != nil {
		return nil, err
	}
	if err := pause(ctx, set.Settle); err != nil {
		return nil, err
	}
	before, err := c.do("stats")
	if err != nil {
		return nil, err
	}
	watch, err := watchMemory(c.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	err = set.profiled(c, "restore", func() error {
		err := h.do(ctx, func() {
			h.expect(missedMessages)
			h.cut()
		})
		if err != nil {
			return err
		}
		return h.receive(ctx, c, missedMessages, set.MessageSize)
	})
	peak, watchErr := watch.stop()
	if err := errors.Join(err, watchErr); err != nil {
		return nil, err
	}
	if err := pause(ctx, tail); err != nil {
		return nil, err
	}
	after, err := c.do("stats")
	if err != nil {
		return nil, err
	}
	err = h.do(ctx, func() { found, err = h.catchUp() })
	if err != nil {
		return nil, err
	}
	if h.failure != nil {
		fmt.Fprintln(os.Stderr, "  an attempt to come back failed:", h.failure)
	}
	found["cpu"] = float64(after.CPU-before.CPU) / float64(set.Restored)
	found["memory"] = float64(peak.own) / float64(set.Restored) / 1000
	return found, set.heap(c, "restore")
}

// receive has the server send messages that are expected, and waits until every client has them.
func (h *herd) receive(ctx context.Context, c *child, messages, size int) error {
	if _, err := c.do("emit", messages, size); err != nil {
		return err
	}
	return h.until(ctx, "all messages have come", h.caughtUp)
}

// catchUp tells how the clients came back.
func (h *herd) catchUp() (figures, error) {
	switch {
	case h.err != nil:
		return nil, h.err
	case h.missing != 0:
		return nil, fmt.Errorf("%d deliveries too many", -h.missing)
	case h.back != len(h.clients):
		return nil, fmt.Errorf("%d of %d clients have come back", h.back, len(h.clients))
	}
	var first, last time.Time
	var took []time.Duration
	for i := range h.clients {
		c := &h.clients[i]
		if first.IsZero() || c.tries.Before(first) {
			first = c.tries
		}
		if done := c.tries.Add(c.took); done.After(last) {
			last = done
		}
		took = append(took, c.took)
	}
	slices.Sort(took)
	return figures{
		"all": last.Sub(first).Seconds(), "p50": quantile(took, 0.5).Seconds(), "max": took[len(took)-1].Seconds(),
		"retries": float64(h.failed),
	}, nil
}
