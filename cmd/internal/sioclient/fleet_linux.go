package sioclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Fleet is a set of clients that live as stock clients do. Do and Close may be called by any goroutine. Everything else,
// once Run was called, is for the goroutine of Run: for the Watcher, and for what is handed to Do and After.
type Fleet struct {
	opts    FleetOptions
	epoll   int
	wakeup  int // an eventfd
	clients []client
	timers  timers
	buf     []byte
	request []byte

	handshaking int
	patience    time.Duration // how long a server may be silent

	mu     sync.Mutex
	jobs   []func()
	closed bool
}

const (
	// fleetBuffer bounds the answer to a poll.
	fleetBuffer = 8 << 20
	// sweepInterval is how often silent connections are looked for.
	sweepInterval = 5 * time.Second
	// wakeIndex is the index of what is not a client.
	wakeIndex = -1
)

// NewFleet returns a Fleet whose clients are not connected yet. Close frees it.
func NewFleet(opts FleetOptions) (*Fleet, error) {
	if opts.Clients < 1 {
		return nil, errors.New("sioclient: a fleet needs at least one client")
	}
	opts.setDefaults()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("sioclient: epoll: %w", err)
	}
	wakeup, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wakeup, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeIndex})
	}
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("sioclient: eventfd: %w", err)
	}
	f := &Fleet{opts: opts, epoll: epoll, wakeup: wakeup, clients: make([]client, opts.Clients), buf: make([]byte, fleetBuffer)}
	for i := range f.clients {
		f.clients[i].index, f.clients[i].phase = i, ended
	}
	return f, nil
}

// Close cuts all connections. Run must have returned, or never been called.
func (f *Fleet) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	for i := range f.clients {
		f.hangUp(&f.clients[i])
	}
	_ = unix.Close(f.wakeup)
	_ = unix.Close(f.epoll)
}

// Run serves the clients until ctx ends. It is called once.
func (f *Fleet) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { f.Do(nil) })
	defer stop()
	f.After(sweepInterval, f.sweep)
	events := make([]unix.EpollEvent, 512)
	for ctx.Err() == nil {
		f.doJobs()
		now := time.Now()
		for what, ok := f.timers.due(now); ok; what, ok = f.timers.due(now) {
			what()
		}
		n, err := unix.EpollWait(f.epoll, events, f.timers.wait(time.Now(), time.Second))
		if err != nil && err != unix.EINTR {
			panic(fmt.Sprintf("sioclient: epoll: %v", err)) // a file descriptor was closed by someone else
		}
		for _, event := range events[:max(n, 0)] {
			if event.Fd != wakeIndex {
				f.ready(&f.clients[event.Fd], event.Pad)
			}
		}
	}
}

// Do has the goroutine of Run call job soon. Nil only wakes it.
func (f *Fleet) Do(job func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if job != nil {
		f.jobs = append(f.jobs, job)
	}
	_, _ = unix.Write(f.wakeup, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (f *Fleet) doJobs() {
	var drain [8]byte
	_, _ = unix.Read(f.wakeup, drain[:])
	f.mu.Lock()
	jobs := f.jobs
	f.jobs = nil
	f.mu.Unlock()
	for _, job := range jobs {
		job()
	}
}

// After calls what in d from now, or as soon after as the loop has the time.
func (f *Fleet) After(d time.Duration, what func()) { f.timers.add(time.Now().Add(d), what) }

// Connect starts a client. It does nothing if the client was started before.
func (f *Fleet) Connect(i int) {
	if c := &f.clients[i]; !c.started {
		c.started = true
		f.attempt(c)
	}
}

// Connected reports whether a client has joined and was not lost.
func (f *Fleet) Connected(i int) bool { return f.clients[i].phase == connected }

// Handshaking returns how many attempts to connect are under way.
func (f *Fleet) Handshaking() int { return f.handshaking }

// Cut resets a client's connection, as a broken network would. The client comes back by itself.
func (f *Fleet) Cut(i int) {
	if c := &f.clients[i]; c.phase != ended {
		f.hangUp(c)
		f.comeBack(c)
	}
}

// Emit sends an event, the raw JSON array of its name and arguments, of less than 64 KiB. A client that is not connected
// sends nothing and returns an error.
func (f *Fleet) Emit(i int, data []byte) error {
	c := &f.clients[i]
	if c.phase != connected {
		return errors.New("sioclient: not connected")
	}
	return f.send(c, "42"+string(data))
}

// sweep drops the connections on which the server has gone silent.
func (f *Fleet) sweep() {
	f.After(sweepInterval, f.sweep)
	if f.patience == 0 {
		return
	}
	oldest := time.Now().Add(-f.patience)
	for i := range f.clients {
		if c := &f.clients[i]; c.phase == connected && c.heard.Before(oldest) {
			f.broken(c, ErrSilence)
		}
	}
}
