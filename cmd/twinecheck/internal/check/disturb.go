package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/twine-realtime/twine/cmd/twinecheck/internal/faults"
)

// cut breaks connections at random moments until stop ends.
func (r *run) cut(stop context.Context) {
	random := r.random("cuts", 0)
	type moment struct {
		at    time.Duration
		proxy *faults.Proxy
		kind  faults.Kind
	}
	var plan []moment
	kinds := r.config.CutKinds
	if len(kinds) == 0 {
		kinds = faults.Kinds()
	}
	for range r.config.Cuts {
		plan = append(plan, moment{time.Duration(random.Int64N(int64(r.config.Duration))), r.clientFaults, kinds[random.IntN(len(kinds))]})
	}
	// An answer that is lost makes a publisher try again.
	for range r.config.Cuts / 10 {
		plan = append(plan, moment{time.Duration(random.Int64N(int64(r.config.Duration))), r.publisherFaults, kinds[random.IntN(len(kinds))]})
	}
	slices.SortFunc(plan, func(a, b moment) int { return int(a.at - b.at) })
	began := time.Now()
	for _, m := range plan {
		for {
			select {
			case <-stop.Done():
				return
			case <-time.After(time.Until(began.Add(m.at))):
			}
			if m.proxy.Cut(m.kind) {
				break
			}
			m.at += poll // everyone is away just now
		}
	}
}

// stopTimeout bounds how long the server may take to end after SIGTERM.
const stopTimeout = 60 * time.Second

// kill ends the server and starts it again, until stop ends.
func (r *run) kill(ctx, stop context.Context) error {
	random := r.random("kills", 0)
	began := time.Now()
	for i := range r.config.Kills {
		share := r.config.Duration / time.Duration(r.config.Kills)
		at := share*time.Duration(i) + time.Duration(float64(share)*(0.1+0.8*random.Float64()))
		away := time.Duration(2 * float64(r.config.Down) * random.Float64())
		select {
		case <-stop.Done():
			return nil
		case <-time.After(time.Until(began.Add(at))):
		}
		signal, count := syscall.SIGKILL, &r.sigkills
		if i%2 == 1 {
			signal, count = syscall.SIGTERM, &r.sigterms
		}
		limit, cancel := context.WithTimeout(ctx, stopTimeout)
		err := r.target.Stop(limit, signal)
		cancel()
		if err != nil {
			return err
		}
		count.Add(1)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(away):
		}
		if err := r.target.Start(ctx); err != nil {
			return errors.Join(fmt.Errorf("the server did not come back after %s", signal), err)
		}
	}
	return nil
}

// failOver has the target's store fail over in the middle of the run, if that is asked for.
func (r *run) failOver(ctx, stop context.Context) error {
	if !r.config.FailOver {
		return nil
	}
	failing, ok := r.target.(interface {
		FailOver(ctx context.Context) error
	})
	if !ok {
		return errors.New("the server under test has nothing to fail over")
	}
	select {
	case <-stop.Done():
		return nil
	case <-time.After(r.config.Duration / 2):
	}
	limit, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := failing.FailOver(limit); err != nil {
		return fmt.Errorf("fail over: %w", err)
	}
	r.failOvers.Add(1)
	return nil
}
