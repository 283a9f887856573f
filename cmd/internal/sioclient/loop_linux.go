package sioclient

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// loop owns the connections: one goroutine waits for all of them.
type loop struct {
	swarm   *Swarm
	epoll   int
	addr    unix.SockaddrInet4
	request []byte

	conns   []conn
	dialed  int
	pending int  // handshakes under way
	broken  bool // something failed: dial no more
	buf     []byte
	seen    progress
	woken   time.Time
}

// quitInterval is how long Close may have to wait for the loop to look.
const quitInterval = 50 * time.Millisecond

func newLoop(s *Swarm) (*loop, error) {
	addr, err := netip.ParseAddrPort(s.opts.Addr)
	if err != nil {
		return nil, err
	}
	if !addr.Addr().Is4() {
		return nil, fmt.Errorf("%s is not an IPv4 address", addr.Addr())
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &loop{
		swarm:   s,
		epoll:   epoll,
		addr:    unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())},
		request: upgradeRequest(&s.opts),
		conns:   make([]conn, s.opts.Connections),
		buf:     make([]byte, bufferSize),
	}, nil
}

func (l *loop) run() {
	defer l.close()
	events := make([]unix.EpollEvent, 512)
	for {
		select {
		case <-l.swarm.quit:
			return
		default:
		}
		for l.pending < l.swarm.opts.Parallel && l.dialed < len(l.conns) && !l.broken {
			l.dial()
		}
		timeout := quitInterval
		if l.seen != (progress{}) {
			timeout = waitInterval
		}
		n, err := unix.EpollWait(l.epoll, events, int(timeout.Milliseconds()))
		if err != nil && err != unix.EINTR {
			l.failed(nil, fmt.Errorf("epoll: %w", err))
			l.tell(true)
			return
		}
		for i := range max(n, 0) {
			l.ready(&l.conns[events[i].Fd], events[i].Events)
		}
		l.tell(n <= 0)
	}
}

// tell passes on what was seen, at once or when the last time is a while ago.
func (l *loop) tell(atOnce bool) {
	if l.seen == (progress{}) {
		return
	}
	now := time.Now()
	if !atOnce && now.Sub(l.woken) < waitInterval {
		return
	}
	l.woken = now
	l.swarm.advance(l.seen)
	l.seen = progress{}
}

func (l *loop) close() {
	for i := range l.dialed {
		l.end(&l.conns[i])
	}
	_ = unix.Close(l.epoll)
}

func (l *loop) end(c *conn) {
	if c.phase == ended {
		return
	}
	if c.phase < connected {
		l.pending--
	}
	c.phase = ended
	c.left = nil
	_ = unix.Close(c.fd)
}

// failed ends c, which may be nil, and records why.
func (l *loop) failed(c *conn, err error) {
	l.broken = true
	l.seen.failures++
	if l.seen.failure == nil {
		l.seen.failure = err
		if c != nil {
			l.seen.failure = fmt.Errorf("connection %d: %w", c.index, err)
		}
	}
	if c != nil {
		l.end(c)
	}
}

func (l *loop) dial() {
	c := &l.conns[l.dialed]
	c.index = l.dialed
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		l.failed(nil, fmt.Errorf("connection %d: socket: %w", c.index, err))
		return
	}
	c.fd = fd
	l.dialed++
	l.pending++
	// Cutting many connections must not leave as many ports in TIME_WAIT, which the next round would miss.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err := unix.Connect(fd, &l.addr); err != nil && err != unix.EINPROGRESS {
		l.failed(c, fmt.Errorf("connect: %w", err))
		return
	}
	if err := l.watch(c, unix.EPOLL_CTL_ADD, unix.EPOLLOUT); err != nil {
		l.failed(c, err)
	}
}

func (l *loop) watch(c *conn, how int, what uint32) error {
	// The event carries the connection's index: a file descriptor may be used again.
	err := unix.EpollCtl(l.epoll, how, c.fd, &unix.EpollEvent{Events: what, Fd: int32(c.index)})
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func (l *loop) ready(c *conn, what uint32) {
	var err error
	switch {
	case c.phase == ended:
		return
	case c.phase == dialing:
		err = l.dialDone(c)
	default:
		err = l.read(c)
	}
	if err != nil {
		l.failed(c, err)
	}
}

func (l *loop) dialDone(c *conn) error {
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	c.phase = upgrading
	if err := l.watch(c, unix.EPOLL_CTL_MOD, unix.EPOLLIN); err != nil {
		return err
	}
	return l.send(c, l.request)
}

func (l *loop) read(c *conn) error {
	kept := copy(l.buf, c.left)
	n, err := unix.Read(c.fd, l.buf[kept:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0:
		return errServerClosed
	}
	b := l.buf[:kept+n]
	used, err := c.receive(l, b)
	if err != nil {
		return err
	}
	c.left = append(c.left[:0], b[used:]...)
	if len(c.left) == len(l.buf) {
		return errFrame
	}
	return nil
}

// send writes b. A client sends so little that its socket always takes it.
func (l *loop) send(c *conn, b []byte) error {
	n, err := unix.Write(c.fd, b)
	if err == nil && n < len(b) {
		err = unix.EAGAIN
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// text implements peer.
func (l *loop) text(c *conn, data []byte) error {
	if l.swarm.opts.Dialect == Centrifuge {
		return c.replies(l, data)
	}
	return c.packet(l, data)
}

// upgraded implements peer.
func (l *loop) upgraded(c *conn) error {
	if l.swarm.opts.Dialect == Centrifuge {
		return l.send(c, frameCentrifugeConnect)
	}
	return nil // the server speaks first
}

// opened implements peer.
func (l *loop) opened(c *conn, _ []byte) error { return l.send(c, frameConnect) }

// ping implements peer.
func (l *loop) ping(c *conn) error {
	if l.swarm.opts.Dialect == Centrifuge {
		return l.send(c, frameCentrifugePong)
	}
	return l.send(c, framePong)
}

// joined implements peer.
func (l *loop) joined(*conn, []byte) error {
	l.pending--
	l.seen.joined++
	return nil
}

// event implements peer.
func (l *loop) event(c *conn, data []byte) error {
	l.seen.events++
	if l.swarm.opts.OnEvent == nil {
		return nil
	}
	return l.swarm.opts.OnEvent(c.index, data)
}
