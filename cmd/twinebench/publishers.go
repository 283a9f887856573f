package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// publisher is one of several that publish at the same time.
type publisher struct {
	publish func(n int) error // publishes message n of this run and returns when it is accepted
	close   func() error      // may be nil
}

// load is what publishers have achieved together.
type load struct {
	Accepted int     `json:"accepted"`
	Seconds  float64 `json:"seconds"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
}

func (l *load) perSecond() float64 { return float64(l.Accepted) / l.Seconds }

// hammer has publishers publish for a while, each one message after the other. The first error ends it.
func hammer(ctx context.Context, publishers int, d time.Duration, newPublisher func(i int) (publisher, error)) (*load, error) {
	all := make([]publisher, publishers)
	defer func() {
		for _, p := range all {
			if p.close != nil {
				_ = p.close()
			}
		}
	}()
	for i := range all {
		var err error
		if all[i], err = newPublisher(i); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d, errTimeIsUp)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	took := make([][]time.Duration, publishers)
	var running sync.WaitGroup
	began := time.Now()
	for i := range all {
		running.Go(func() {
			for n := i; ctx.Err() == nil; n += publishers {
				start := time.Now()
				if err := all[i].publish(n); err != nil {
					fail(err)
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	running.Wait()
	elapsed := time.Since(began)
	fail(errTimeIsUp)
	if err := context.Cause(ctx); !errors.Is(err, errTimeIsUp) {
		return nil, err
	}
	return newLoad(slices.Concat(took...), elapsed)
}

var errTimeIsUp = errors.New("time is up")

func newLoad(took []time.Duration, elapsed time.Duration) (*load, error) {
	if len(took) == 0 {
		return nil, errors.New("nothing was accepted")
	}
	slices.Sort(took)
	return &load{
		Accepted: len(took), Seconds: elapsed.Seconds(),
		P50: milliseconds(quantile(took, 0.5)), P99: milliseconds(quantile(took, 0.99)), Max: milliseconds(took[len(took)-1]),
	}, nil
}

// quantile of what is sorted and not empty.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
