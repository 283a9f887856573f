package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twine-realtime/twine/cmd/internal/sioclient"
)

// sample is what one round found out about one server.
type sample struct {
	Burst     float64 `json:"burst_us"`     // CPU per delivery, microseconds
	Paced     float64 `json:"paced_us"`     // CPU per delivery, microseconds
	Connect   float64 `json:"connect_us"`   // CPU per connection, microseconds
	Idle      float64 `json:"idle_kb"`      // RSS per idle connection, as the server leaves it, KB of 1,000 bytes
	Collected float64 `json:"collected_kb"` // the same after a forced collection
	Elapsed   float64 `json:"burst_s"`      // how long the burst took, seconds: informative
	Others    float64 `json:"others"`       // CPUs that other processes used meanwhile
}

func (s sample) String() string {
	return fmt.Sprintf("burst %.2f µs, paced %.2f µs, connect %.0f µs, idle %.1f KB (collected %.1f KB), burst took %.2f s, others used %.1f CPUs",
		s.Burst, s.Paced, s.Connect, s.Idle, s.Collected, s.Elapsed, s.Others)
}

// Warming up lets one-off costs (first use of code, start-up garbage) not be counted as costs of a connection.
const (
	warmClients  = 200
	warmMessages = 20
)

// tail is waited after the last delivery, for the server to end what it does behind it.
const tail = 250 * time.Millisecond

// roundTimeout bounds a round, which takes less than a minute with 5,000 clients.
const roundTimeout = 5 * time.Minute

// deliveryTimeout is how long the deliveries of a burst may take, several times what the slowest server needs.
const deliveryTimeout = 2 * time.Minute

var errMissing = fmt.Errorf("the others have not come within %v", deliveryTimeout)

var errTooLong = fmt.Errorf("not done after %v", roundTimeout)

// round measures one server once.
type round struct {
	settings
	ctx       context.Context
	server    string
	child     *child // has the clients
	publisher *child // sends the messages: the same, or another node of its cluster
	swarm     *sioclient.Swarm
	sent      int64 // deliveries that are due
}

func measure(ctx context.Context, set settings, of *result) (s sample, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roundTimeout, errTooLong)
	defer cancel()
	var env []string
	if set.profiles != "" {
		env = append(env, "GODEBUG=memprofilerate=512") // the default sees too little of a connection
	}
	command := of.command
	if of.Server == "recovery" {
		var dir string
		if dir, err = os.MkdirTemp(set.DataDir, "twinebench-"); err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		command = append(slices.Clone(command), dir)
	}
	c, err := startChild(ctx, command, env...)
	if err != nil {
		return s, err
	}
	defer func() {
		err = errors.Join(err, context.Cause(ctx)) // what is behind a server that was killed
		err = errors.Join(err, c.stop())
	}()
	of.Name = c.name
	r := &round{settings: set, ctx: ctx, server: of.Server, child: c, publisher: c}
	if err := r.warmUp(); err != nil {
		return s, fmt.Errorf("warm-up: %w", err)
	}
	for _, step := range []struct {
		name string
		run  func(*sample) error
	}{{"connect", r.connect}, {"burst", r.burst}, {"paced", r.paced}} {
		if err = step.run(&s); err != nil {
			err = fmt.Errorf("%s: %w", step.name, err)
			break
		}
	}
	if r.swarm != nil {
		r.swarm.Close()
	}
	return s, err
}

// dial connects n clients and waits until the server has them all in the room.
func (r *round) dial(n int) error {
	stats, err := r.publisher.do("stats")
	if err != nil {
		return err
	}
	received := newReceipts(n, stats.Next, r.MessageSize, r.server == "recovery")
	r.sent = 0
	return r.connectSwarm(n, received.check)
}

func (r *round) connectSwarm(n int, check func(int, []byte) error) (err error) {
	opts := sioclient.Options{Addr: r.child.addr, Connections: n, OnEvent: check}
	if r.server == "centrifuge" {
		opts.Dialect = sioclient.Centrifuge
	}
	if r.swarm, err = sioclient.Dial(r.ctx, opts); err != nil {
		return err
	}
	return r.untilJoined(n)
}

func (r *round) untilJoined(n int) error {
	ctx, cancel := context.WithTimeout(r.ctx, 30*time.Second)
	defer cancel()
	for {
		stats, err := r.child.do("stats")
		if err != nil {
			return err
		}
		if stats.Joined == n {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d in the room: %w", stats.Joined, n, err)
		}
	}
}

// emit has the server send count messages back to back.
func (r *round) emit(count int) error {
	_, err := r.publisher.do("emit", count, r.MessageSize)
	r.sent += int64(count) * int64(r.swarm.Connections())
	return err
}

// delivered waits until all that was sent has arrived, and for what may come too much.
func (r *round) delivered() error {
	ctx, cancel := context.WithTimeoutCause(r.ctx, deliveryTimeout, errMissing)
	defer cancel()
	if err := r.swarm.Wait(ctx, r.sent); err != nil {
		return err
	}
	if err := pause(r.ctx, tail); err != nil {
		return err
	}
	if n := r.swarm.Delivered(); n != r.sent {
		return fmt.Errorf("%d deliveries instead of %d", n, r.sent)
	}
	return r.swarm.Err()
}

func (r *round) warmUp() error {
	if err := r.dial(warmClients); err != nil {
		return err
	}
	defer r.swarm.Close()
	if err := r.emit(warmMessages); err != nil {
		return err
	}
	if err := r.delivered(); err != nil {
		return err
	}
	r.swarm.Close()
	if err := r.untilJoined(0); err != nil {
		return err
	}
	_, err := r.child.do("collect")
	return err
}

// cpu returns the CPU time that the server uses while f runs, divided by n, in microseconds.
func (r *round) cpu(n int64, f func() error) (float64, error) {
	before, err := r.child.do("stats")
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := r.child.do("stats")
	return float64(after.CPU-before.CPU) / float64(n), err
}

func (r *round) connect(s *sample) (err error) {
	before, err := r.child.resident()
	if err != nil {
		return err
	}
	perClient := func() (float64, error) {
		now, err := r.child.resident()
		return float64(now-before) / float64(r.Clients) / 1000, err
	}
	s.Connect, err = r.cpu(int64(r.Clients), func() error {
		return r.profiled("connect", func() error { return r.dial(r.Clients) })
	})
	if err != nil {
		return err
	}
	if err := pause(r.ctx, r.Settle); err != nil {
		return err
	}
	if s.Idle, err = perClient(); err != nil {
		return err
	}
	if _, err := r.child.do("collect"); err != nil {
		return err
	}
	if err := pause(r.ctx, r.Settle/5); err != nil {
		return err
	}
	if s.Collected, err = perClient(); err != nil {
		return err
	}
	if r.profiling() {
		_, err = r.child.do("heap", r.profile("idle"))
	}
	return err
}

func (r *round) burst(s *sample) (err error) {
	s.Burst, err = r.cpu(int64(r.Burst)*int64(r.Clients), func() error {
		return r.profiled("burst", func() error {
			start := time.Now()
			if err := r.emit(r.Burst); err != nil {
				return err
			}
			err := r.delivered()
			s.Elapsed = (time.Since(start) - tail).Seconds()
			return err
		})
	})
	return err
}

func (r *round) paced(s *sample) (err error) {
	s.Paced, err = r.cpu(int64(r.Paced)*int64(r.Clients), func() error {
		return r.profiled("paced", func() error {
			ticker := time.NewTicker(r.Interval)
			defer ticker.Stop()
			for range r.Paced {
				select {
				case <-ticker.C:
				case <-r.ctx.Done():
					return r.ctx.Err()
				}
				if err := r.emit(1); err != nil {
					return err
				}
			}
			return r.delivered()
		})
	})
	return err
}

func (r *round) profiling() bool { return r.profiles != "" && slices.Contains(subjects, r.server) }

func (r *round) profile(phase string) string {
	return filepath.Join(r.profiles, r.server+"-"+phase+".pprof")
}

// profiled runs f under the server's CPU profiler if that was asked for.
func (r *round) profiled(phase string, f func() error) error {
	if !r.profiling() {
		return f()
	}
	if _, err := r.child.do("profile", r.profile(phase)); err != nil {
		return err
	}
	err := f()
	_, stopErr := r.child.do("profile")
	return errors.Join(err, stopErr)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
