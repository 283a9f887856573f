package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Many publishers publish at the same time, and each waits until its message is on the disk.
const (
	publishers     = 64
	publishSize    = 512
	publishWarmUp  = 300 * time.Millisecond
	minPerSecond   = 20_000
	maxPublish99th = 20 // ms
)

var publishRows = []figureRow{
	{"rate", "accepted a second", "%.0f", minPerSecond, true},
	{"p50", "median, ms", "%.2f", 0, false},
	{"p99", "99 % within, ms", "%.2f", maxPublish99th, false},
	{"max", "slowest, ms", "%.1f", 0, false},
	{"cpu", "server CPU µs per message", "%.1f", 0, false},
}

var publishing = scenario{
	name: "publish",
	what: func(set settings) string {
		return fmt.Sprintf("%d publishers in the server's process, %d bytes into %d rooms, %v", publishers, publishSize, publishRooms, set.Publish)
	},
	measure: measurePublishing,
	rows:    publishRows,
}

var publishingHTTP = scenario{
	name: "http",
	what: func(set settings) string {
		return fmt.Sprintf("%d publishers over POST /api/twine to twined on the same machine, %d bytes into %d rooms, %v",
			publishers, publishSize, publishRooms, set.Publish)
	},
	measure: measurePublishingHTTP,
	rows:    append(slices.Clip(publishRows), figureRow{"client", "publishers' CPU µs per message", "%.1f", 0, false}),
}

func measurePublishing(ctx context.Context, set settings, dir string) (found figures, err error) {
	c, err := startRecovery(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	before, err := c.do("publish", publishers, publishWarmUp.Milliseconds(), publishSize)
	if err != nil {
		return nil, err
	}
	err = set.profiled(c, "publish", func() error {
		after, err := c.do("publish", publishers, set.Publish.Milliseconds(), publishSize)
		if err == nil {
			found = publishFigures(after.Load, after.CPU-before.CPU)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, set.heap(c, "publish")
}

func publishFigures(l *load, cpu int64) figures {
	return figures{"rate": l.perSecond(), "p50": l.P50, "p99": l.P99, "max": l.Max, "cpu": float64(cpu) / float64(l.Accepted)}
}

func measurePublishingHTTP(ctx context.Context, set settings, dir string) (found figures, err error) {
	d, err := startDaemon(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	requests := publishRequests(d.addr, publishSize)
	connect := func(int) (publisher, error) { return d.newPublisher(requests) }
	if _, err := hammer(ctx, publishers, publishWarmUp, connect); err != nil {
		return nil, err
	}
	before, err := cpuMicrosOf(d.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	own, err := cpuMicros()
	if err != nil {
		return nil, err
	}
	l, err := hammer(ctx, publishers, set.Publish, connect)
	if err != nil {
		return nil, err
	}
	ownAfter, err := cpuMicros()
	if err != nil {
		return nil, err
	}
	after, err := cpuMicrosOf(d.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	found = publishFigures(l, after-before)
	found["client"] = float64(ownAfter-own) / float64(l.Accepted)
	return found, nil
}
