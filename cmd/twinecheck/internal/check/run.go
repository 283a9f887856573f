package check

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twine-realtime/twine/cmd/twinecheck/internal/faults"
	"github.com/twine-realtime/twine/cmd/twinecheck/internal/history"
	"github.com/twine-realtime/twine/cmd/twinecheck/internal/stockclient"
	"github.com/twine-realtime/twine/cmd/twinecheck/internal/target"
)

type run struct {
	config  Config
	target  target.Target
	history *history.History
	began   time.Time
	id      uint64
	byName  map[string]uint16

	clientFaults, publisherFaults *faults.Proxy
	subscribers                   []*subscriber
	latency                       latencies
	retries                       atomic.Int64
	sigkills, sigterms, failOvers atomic.Int64
}

func (r *run) now() time.Duration { return time.Since(r.began) }

func (r *run) room(name string) (number uint16, ok bool) {
	number, ok = r.byName[name]
	return number, ok
}

// random returns a generator for one part of the run, so that no part's choices depend on another's speed.
func (r *run) random(part string, number int) *rand.Rand {
	seed := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(part) {
		seed = (seed ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(r.config.Seed, seed+uint64(number)))
}

// connectTimeout bounds how long the clients may take to connect and subscribe before the run begins.
const connectTimeout = 60 * time.Second

// Run starts the target and does what config says to it. The target is left running, if it could be started. An error means
// that the run says nothing about the server's promises, or that the server ended by itself.
func Run(ctx context.Context, config Config, tested target.Target) (*Result, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	r := &run{config: config, target: tested, began: time.Now(), id: rand.Uint64(), byName: map[string]uint16{}}
	var rooms []string
	for i := range config.Rooms {
		rooms = append(rooms, fmt.Sprintf("room-%d", i))
		r.byName[rooms[i]] = uint16(i)
	}
	r.history = history.New(rooms, config.Publishers, config.Clients)

	if err := tested.Start(ctx); err != nil {
		return nil, err
	}
	var err error
	if r.clientFaults, err = faults.Listen(tested.Addr(), config.Silence, r.random("client faults", 0)); err != nil {
		return nil, err
	}
	defer r.clientFaults.Close()
	if r.publisherFaults, err = faults.Listen(tested.PublisherAddr(), config.Silence, r.random("publisher faults", 0)); err != nil {
		return nil, err
	}
	defer r.publisherFaults.Close()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	defer group.Wait() // after cancel
	defer cancel(nil)
	group.Go(func() {
		select {
		case err := <-tested.Failed():
			cancel(err)
		case <-ctx.Done():
		}
	})
	for i := range config.Clients {
		s := r.subscriber(i)
		r.subscribers = append(r.subscribers, s)
		client := stockclient.New(stockclient.Options{
			Addr: r.clientFaults.Addr, Backoff: config.Backoff, Rand: r.random("backoff", i), Listener: s,
		})
		group.Go(func() { client.Run(ctx) })
	}
	if err := r.until(ctx, connectTimeout, r.allReady); err != nil {
		return nil, fmt.Errorf("not all clients could connect and subscribe: %w", err)
	}
	unsettled, err := r.exercise(ctx)
	if err != nil {
		return nil, err
	}
	cancel(nil)
	group.Wait()
	result := r.result()
	result.Unsettled = unsettled
	return result, nil
}

func (r *run) subscriber(number int) *subscriber {
	s := &subscriber{run: r, log: r.history.Clients[number], joined: map[uint16]bool{}}
	random := r.random("rooms", number)
	for _, room := range random.Perm(r.config.Rooms)[:min(r.config.RoomsPerClient, r.config.Rooms)] {
		s.rooms = append(s.rooms, uint16(room))
	}
	return s
}

// poll is how often a condition is looked at.
const poll = 10 * time.Millisecond

// until waits for a condition. The error tells why it did not come true.
func (r *run) until(ctx context.Context, timeout time.Duration, condition func() bool) error {
	deadline := time.Now().Add(timeout)
	for !condition() {
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s", timeout)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
	return nil
}

func (r *run) allReady() bool {
	return !slices.ContainsFunc(r.subscribers, func(s *subscriber) bool { return !s.ready.Load() })
}

// exercise publishes, with faults, and waits until everything that is owed has come, or nothing comes any more.
func (r *run) exercise(ctx context.Context) (unsettled string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop, stopped := context.WithTimeout(ctx, r.config.Duration)
	defer stopped()
	var others, publishers sync.WaitGroup
	defer others.Wait()
	defer publishers.Wait()
	defer cancel(nil)
	others.Go(func() { r.cut(stop) })
	others.Go(func() { r.report(ctx) })
	killed := make(chan struct{})
	others.Go(func() {
		defer close(killed)
		if err := r.kill(ctx, stop); err != nil {
			cancel(err)
		}
	})
	others.Go(func() {
		if err := r.failOver(ctx, stop); err != nil {
			cancel(err)
		}
	})
	interval := time.Duration(float64(time.Second) * float64(r.config.Publishers) / r.config.Rate)
	for i := range r.config.Publishers {
		p := &publisher{
			run: r, number: i, log: r.history.Publishers[i], rand: r.random("publisher", i),
			client: &http.Client{Transport: &http.Transport{}},
			url:    "http://" + r.publisherFaults.Addr() + "/api/twine",
		}
		publishers.Go(func() {
			if err := p.publish(ctx, stop, interval); err != nil {
				cancel(err)
			}
		})
	}
	<-stop.Done()
	<-killed
	r.clientFaults.Heal()
	r.publisherFaults.Heal()
	done := make(chan struct{})
	others.Go(func() { publishers.Wait(); close(done) })
	unsettled = r.settle(ctx, done)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return unsettled, nil
}

// settle returns when nothing more is to be expected, or else what was still going on.
func (r *run) settle(ctx context.Context, published <-chan struct{}) (unsettled string) {
	deadline := time.Now().Add(r.config.Settle)
	patience := func() time.Duration { return time.Until(deadline) }
	if err := r.until(ctx, patience(), func() bool {
		select {
		case <-published:
			return true
		default:
			return false
		}
	}); err != nil {
		return "messages are not accepted"
	}
	last, since := -1, time.Now()
	judged := -1
	err := r.until(ctx, patience(), func() bool {
		if n := r.history.Deliveries(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < r.config.Quiet || !r.allReady() || judged == last {
			return false
		}
		judged = last
		return history.Verify(r.history).Lost == 0
	})
	switch {
	case err == nil:
		return ""
	case !r.allReady():
		return "clients are not connected"
	}
	return "messages are missing"
}
