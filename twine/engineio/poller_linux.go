package engineio

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for the parked connections of a server: they are in one epoll set, which itself is a file that Go's own
// poller watches, so that waiting takes one goroutine and no thread. A connection that becomes readable is taken out by
// EPOLLONESHOT and gets a goroutine that reads it until it parks again.
//
// A connection is never removed from the set: the kernel does it when its descriptor is closed. What was reported
// before that is told from the descriptor's next owner by a generation.
type poller struct {
	file *os.File
	raw  syscall.RawConn
	ep   int // valid until close
	ctl  func(ep, op, fd int, generation uint32) error

	mu         sync.Mutex // a leaf: nothing else is locked, nor any connection closed, while it is held
	pages      []pollPage // connections by descriptor
	generation uint32     // of the latest connection

	stopped atomic.Bool
}

// pollPage holds neighbouring descriptors. Descriptors are dense, because a new one is always the smallest that is free.
type pollPage struct {
	conns *[pollPageSize]*conn // nil when unused
	used  int
}

// watched is what the poller notes with a connection.
type watched struct {
	fd         int32
	generation uint32 // zero before the connection is parked for the first time
}

const (
	pollPageSize = 512
	pollEvents   = 256 // taken from the kernel at once
)

// newPoller returns nil when the system grants none.
func newPoller() *poller {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	_ = unix.SetNonblock(ep, true) // makes os.NewFile hand it to Go's poller
	p := &poller{file: os.NewFile(uintptr(ep), "epoll"), ep: ep, ctl: epollCtl}
	p.raw, err = p.file.SyscallConn()
	// A file that Go's poller does not take has no deadlines.
	if err != nil || p.file.SetReadDeadline(time.Time{}) != nil {
		_ = p.file.Close()
		return nil
	}
	return p
}

func epollCtl(ep, op, fd int, generation uint32) error {
	return unix.EpollCtl(ep, op, fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd), Pad: int32(generation)})
}

// run starts a goroutine for each connection that becomes readable, until close.
func (p *poller) run() {
	events := make([]unix.EpollEvent, pollEvents)
	ready := make([]*conn, 0, pollEvents)
	// All of it in one call of Read, which begins by forgetting what Go's poller has reported before.
	_ = p.raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			switch {
			case err == unix.EINTR:
				continue
			case err != nil:
				return true
			case n == 0:
				return false // wait
			}
			ready = p.lookup(ready[:0], events[:n])
			for i, c := range ready {
				c.unpark()
				ready[i] = nil
			}
		}
	})
	p.stop()
}

// lookup appends the connections that events are about.
func (p *poller) lookup(ready []*conn, events []unix.EpollEvent) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		e := &events[i]
		page := &p.pages[e.Fd/pollPageSize]
		if page.conns == nil {
			continue
		}
		if c := page.conns[e.Fd%pollPageSize]; c != nil && c.generation == uint32(e.Pad) {
			ready = append(ready, c)
		}
	}
	return ready
}

// stop hands what is parked to goroutines. There is nothing left, unless epoll failed.
func (p *poller) stop() {
	p.mu.Lock()
	p.stopped.Store(true)
	pages := p.pages
	p.pages = nil
	p.mu.Unlock()
	for _, page := range pages {
		if page.conns == nil {
			continue
		}
		for _, c := range page.conns {
			if c != nil {
				c.unpark()
			}
		}
	}
}

// close makes run return. No connection may be parked any more.
func (p *poller) close() { _ = p.file.Close() }

// unpark makes a goroutine read c, if it is parked.
func (c *conn) unpark() {
	if c.reader.CompareAndSwap(connParked, connReading) {
		go c.session.resume(c)
	}
}

// resume goes on with the reading of a connection that was parked.
func (s *Session) resume(c *conn) {
	buf := readBuffers.Get().(*readBuffer)
	n, err := c.tryRead(buf)
	s.readOn(c, buf, n, err)
}

// park leaves c, whose open descriptor is fd, to the poller. When it returns true, c belongs to whoever is next to read
// or to end it; when false, still to the caller.
func (p *poller) park(c *conn, fd int) bool {
	op := unix.EPOLL_CTL_MOD
	if c.generation == 0 {
		op = unix.EPOLL_CTL_ADD
		if !p.add(c, fd) {
			return false
		}
	}
	if c.reader.CompareAndSwap(connReading, connParked) {
		// From here on c may be closed by another goroutine. fd stays what it is, because the caller keeps it open.
		err := p.ctl(p.ep, op, fd, c.generation)
		if err == nil && !p.stopped.Load() || !c.reader.CompareAndSwap(connParked, connReading) {
			return true
		}
	}
	if op == unix.EPOLL_CTL_ADD {
		p.remove(c)
		c.generation = 0
	}
	return false
}

// add makes c known by its descriptor and a new generation.
func (p *poller) add(c *conn, fd int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped.Load() {
		return false
	}
	i := fd / pollPageSize
	if missing := i + 1 - len(p.pages); missing > 0 {
		p.pages = append(p.pages, make([]pollPage, missing)...)
	}
	page := &p.pages[i]
	if page.conns == nil {
		page.conns = new([pollPageSize]*conn)
	}
	// It is taken if somebody else has closed the descriptor of a parked connection, whose heartbeat will end it.
	if page.conns[fd%pollPageSize] == nil {
		page.used++
	}
	page.conns[fd%pollPageSize] = c
	if p.generation++; p.generation == 0 {
		p.generation = 1
	}
	c.fd, c.generation = int32(fd), p.generation
	return true
}

// remove makes p forget c. It has to come before c's descriptor is closed.
func (p *poller) remove(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := int(c.fd / pollPageSize)
	if i >= len(p.pages) || p.pages[i].conns == nil || p.pages[i].conns[c.fd%pollPageSize] != c {
		return
	}
	page := &p.pages[i]
	page.conns[c.fd%pollPageSize] = nil
	if page.used--; page.used == 0 {
		page.conns = nil
	}
}
