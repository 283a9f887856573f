package main

import (
	"context"
	"errors"
	"fmt"
)

// One client was away for very long, so long that what it missed is on the disk alone: the server is started anew before
// it comes back.
const (
	replaySize = 512
	// maxReplayMemory is what a replay may take, whatever its length, in MB of 1,000,000 bytes.
	maxReplayMemory = 16
)

var replaying = scenario{
	name: "replay",
	what: func(set settings) string {
		return fmt.Sprintf("%d messages of %d bytes replayed from the disk to one client", set.Replayed, replaySize)
	},
	measure: measureReplay,
	rows: []figureRow{
		{"memory", "most memory beyond that at rest, MB", "%.1f", maxReplayMemory, false},
		{"mapped", "  with the file's pages, MB", "%.1f", 0, false},
		{"seconds", "reconnect until caught up, s", "%.2f", 0, false},
		{"cpu", "server CPU µs per message", "%.1f", 0, false},
	},
}

// nowhere is where a client finds no server.
const nowhere = "127.0.0.1:1"

func measureReplay(ctx context.Context, set settings, dir string) (found figures, err error) {
	c, err := startRecovery(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	h, err := newHerd(ctx, 1, c.addr, 1, replaySize)
	if err != nil {
		return nil, err
	}
	defer h.close()
	if err := h.do(ctx, func() { h.expect(1) }); err != nil {
		return nil, err
	}
	if err := h.receive(ctx, c, 1, replaySize); err != nil {
		return nil, err
	}
	if err := h.moveTo(nowhere); err != nil {
		return nil, err
	}
	if err := h.do(ctx, h.cut); err != nil {
		return nil, err
	}
	if _, err := c.do("emit", set.Replayed, replaySize); err != nil {
		return nil, err
	}
	if err := c.stop(); err != nil {
		return nil, err
	}
	again, err := startRecovery(ctx, dir)
	if err != nil {
		return nil, err
	}
	c = again // stopped in the end
	if _, err := c.do("collect"); err != nil {
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
	err = set.profiled(c, "replay", func() error {
		var moved error
		err := h.do(ctx, func() {
			h.expect(set.Replayed)
			moved = h.moveTo(c.addr)
		})
		if err := errors.Join(err, moved); err != nil {
			return err
		}
		return h.until(ctx, "the replay has come", h.caughtUp)
	})
	peak, watchErr := watch.stop()
	if err := errors.Join(err, watchErr); err != nil {
		return nil, err
	}
	after, err := c.do("stats")
	if err != nil {
		return nil, err
	}
	var late figures
	if doErr := h.do(ctx, func() { late, err = h.catchUp() }); doErr != nil || err != nil {
		return nil, errors.Join(doErr, err)
	}
	const mb = 1e6
	return figures{
		"memory": float64(peak.own) / mb, "mapped": float64(peak.resident) / mb, "seconds": late["max"],
		"cpu": float64(after.CPU-before.CPU) / float64(set.Replayed),
	}, set.heap(c, "replay")
}
