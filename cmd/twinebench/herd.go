package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twine-realtime/twine/cmd/internal/sioclient"
)

// herd is a fleet of clients that come back, each with its session, after they were cut off. What it counts belongs to
// the fleet's goroutine, see do.
type herd struct {
	fleet   *sioclient.Fleet
	stop    context.CancelFunc
	running sync.WaitGroup
	addr    atomic.Pointer[netip.AddrPort]

	received *receipts
	missing  int64 // deliveries that are due
	clients  []herdClient
	begun    int // clients that were told to connect
	joined   int
	back     int   // that have joined again
	failed   int   // attempts
	failure  error // the first of those
	err      error
	goal     func() bool
	reached  chan struct{}
}

type herdClient struct {
	tries  time.Time     // when it first tried to come back for what it misses
	took   time.Duration // from then until it had all that is due
	due    int           // deliveries
	joined bool          // not for the first time
}

// handshakes bounds how many clients connect at the same time at first.
const handshakes = 64

// newHerd connects n clients to addr. Their messages are of size characters and start with number first.
func newHerd(ctx context.Context, n int, addr string, first uint32, size int) (*herd, error) {
	h := &herd{received: newReceipts(n, first, size, true), clients: make([]herdClient, n)}
	if err := h.moveTo(addr); err != nil {
		return nil, err
	}
	fleet, err := sioclient.NewFleet(sioclient.FleetOptions{Clients: n, Place: h.place, Watcher: h})
	if err != nil {
		return nil, err
	}
	h.fleet = fleet
	ctx, h.stop = context.WithCancel(ctx)
	h.running.Go(func() { fleet.Run(ctx) })
	fleet.Do(func() {
		for range handshakes {
			h.connectNext()
		}
	})
	err = h.until(ctx, "all clients are connected", func() bool { return h.joined == n })
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func (h *herd) close() {
	h.stop()
	h.running.Wait()
	h.fleet.Close()
}

// moveTo has the clients connect to addr from now on.
func (h *herd) moveTo(addr string) error {
	to, err := netip.ParseAddrPort(addr)
	if err == nil {
		h.addr.Store(&to)
	}
	return err
}

func (h *herd) place(client, _ int) sioclient.Place {
	if c := &h.clients[client]; c.due > 0 && c.tries.IsZero() {
		c.tries = time.Now()
	}
	addr := *h.addr.Load()
	return sioclient.Place{Addr: addr, Host: addr.String()}
}

func (h *herd) connectNext() {
	if h.begun < len(h.clients) {
		h.fleet.Connect(h.begun)
		h.begun++
	}
}

// do has the fleet's goroutine run f and returns when it has.
func (h *herd) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	h.fleet.Do(func() {
		defer close(done)
		f()
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// until waits for a condition, which the fleet's goroutine looks at, or for the first thing that goes wrong.
func (h *herd) until(ctx context.Context, what string, condition func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, deliveryTimeout, errMissing)
	defer cancel()
	reached := make(chan struct{})
	h.fleet.Do(func() {
		h.goal, h.reached = condition, reached
		h.look()
	})
	select {
	case <-reached:
	case <-ctx.Done():
		return fmt.Errorf("until %s: %w", what, context.Cause(ctx))
	}
	var err error
	if doErr := h.do(ctx, func() { err = h.err }); doErr != nil {
		return doErr
	}
	return err
}

// expect says that each client is to get so many messages more. It is for the fleet's goroutine.
func (h *herd) expect(messages int) {
	for i := range h.clients {
		h.clients[i].due += messages
	}
	h.missing += int64(messages) * int64(len(h.clients))
}

// cut cuts all clients off. What they expect by then is what they have to catch up with.
func (h *herd) cut() {
	for i := range h.clients {
		h.clients[i].tries = time.Time{}
		h.fleet.Cut(i)
	}
}

// caughtUp reports whether all that is due has arrived.
func (h *herd) caughtUp() bool { return h.missing <= 0 }

func (h *herd) look() {
	if h.goal != nil && (h.err != nil || h.goal()) {
		close(h.reached)
		h.goal = nil
	}
}

func (h *herd) wrong(err error) {
	if h.err == nil {
		h.err = err
	}
}

// Joined implements [sioclient.Watcher].
func (h *herd) Joined(i int, recovered bool) {
	c := &h.clients[i]
	switch {
	case !c.joined:
		c.joined = true
		h.joined++
		h.connectNext()
	case !recovered:
		h.wrong(fmt.Errorf("client %d has lost its session", i))
	default:
		h.back++
	}
	h.look()
}

// Event implements [sioclient.Watcher].
func (h *herd) Event(i int, data []byte) {
	if err := h.received.check(i, data); err != nil {
		h.wrong(fmt.Errorf("client %d: %w", i, err))
	}
	c := &h.clients[i]
	c.due--
	h.missing--
	if c.due == 0 && !c.tries.IsZero() {
		c.took = time.Since(c.tries)
	}
	h.look()
}

// Failed implements [sioclient.Watcher].
func (h *herd) Failed(_ int, err *sioclient.ConnectError) {
	h.failed++
	if h.failure == nil {
		h.failure = err
	}
}

// Lost implements [sioclient.Watcher].
func (h *herd) Lost(i int, err error) {
	h.wrong(fmt.Errorf("client %d has lost its connection: %w", i, err))
	h.look()
}
