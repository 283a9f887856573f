package sioclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

// client is one of a fleet.
type client struct {
	conn     // its fd and left are not used
	started  bool
	fetching bool // gets its cookie
	polling  bool
	failed   int // attempts since the last that succeeded
	turn     int // counts attempts, for timers that come too late
	place    Place
	links    [2]link
	heard    time.Time // when the server last sent something

	cookies string
	pid     string
	offset  []byte
	sid     string // of the Engine.IO session, for polling
	posting bool   // waits for the answer to a POST
	outbox  []byte // packets for the next POST
}

// The links of a client. WebSocket takes the first alone.
const (
	main = 0 // WebSocket, or what is polled
	post = 1 // what packets are posted on
)

// link is a TCP connection.
type link struct {
	fd   int
	open bool
	up   bool   // established
	turn int32  // counts the connections, to tell late events
	out  []byte // to be sent once it is established
	left []byte // the beginning of what has not arrived in full
}

// attempt starts to connect.
func (f *Fleet) attempt(c *client) {
	c.turn++
	c.place = f.opts.Place(c.index, c.failed)
	c.polling = c.place.Polling
	c.phase = dialing
	f.handshaking++
	turn := c.turn
	f.After(f.opts.Timeout, func() {
		if c.turn == turn && c.phase < connected {
			f.broken(c, ErrTimeout)
		}
	})
	var err error
	if c.cookies == "" && f.opts.CookiePath != "" {
		c.fetching = true
		err = f.exchange(c, main, f.get(c, f.opts.CookiePath))
	} else {
		err = f.open(c)
	}
	if err != nil {
		f.broken(c, err)
	}
}

// get returns a GET request.
func (f *Fleet) get(c *client, target string) []byte {
	f.request = append(append(append(f.request[:0], "GET "...), target...), " HTTP/1.1\r\nHost: "...)
	f.request = append(append(f.request, c.place.Host...), "\r\n"...)
	f.request = appendCookie(f.request, c.cookies)
	return f.request
}

// open starts the Engine.IO handshake.
func (f *Fleet) open(c *client) error {
	c.fetching = false
	if c.polling {
		c.phase = opening
		return f.exchange(c, main, f.get(c, f.opts.Path+"?EIO=4&transport=polling"))
	}
	// A browser opens a connection of its own for a WebSocket.
	f.closeLink(c, main)
	c.phase = dialing
	return f.exchange(c, main, appendCookie(beginUpgrade(c.place.Host, f.opts.Path), c.cookies))
}

// exchange sends a request on a link, which is established if need be.
func (f *Fleet) exchange(c *client, which int, request []byte) error {
	l := &c.links[which]
	if l.open && l.up {
		return f.write(l, request)
	}
	if l.open {
		return errors.New("sioclient: two requests on a link that is not established")
	}
	if err := f.dial(c, which); err != nil {
		return err
	}
	l.out = append([]byte(nil), request...)
	return nil
}

func (f *Fleet) dial(c *client, which int) error {
	l := &c.links[which]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	l.fd, l.open, l.up = fd, true, false
	l.turn++
	// Cutting many connections must not leave as many ports in TIME_WAIT, which those that come back would miss.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if c.place.Source.IsValid() {
		// The port is chosen when it is known where to: each server address has all ports.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: c.place.Source.As4()}); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
	}
	to := unix.SockaddrInet4{Addr: c.place.Addr.Addr().As4(), Port: int(c.place.Addr.Port())}
	if err := unix.Connect(fd, &to); err != nil && err != unix.EINPROGRESS {
		return fmt.Errorf("connect: %w", err)
	}
	return f.watch(c, which, unix.EPOLL_CTL_ADD, unix.EPOLLOUT)
}

func (f *Fleet) watch(c *client, which, how int, what uint32) error {
	l := &c.links[which]
	event := unix.EpollEvent{Events: what, Fd: int32(c.index), Pad: l.turn<<1 | int32(which)}
	if err := unix.EpollCtl(f.epoll, how, l.fd, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// ready handles what the system says about the link that tag names.
func (f *Fleet) ready(c *client, tag int32) {
	which := int(tag & 1)
	l := &c.links[which]
	if !l.open || l.turn != tag>>1 {
		return
	}
	turn := c.turn
	var err error
	if l.up {
		err = f.read(c, which)
	} else {
		err = f.established(c, which)
	}
	if err != nil && c.turn == turn && c.phase != ended {
		f.broken(c, err)
	}
}

func (f *Fleet) established(c *client, which int) error {
	l := &c.links[which]
	code, err := unix.GetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	l.up = true
	if c.phase == dialing && !c.fetching {
		c.phase = upgrading
	}
	if err := f.watch(c, which, unix.EPOLL_CTL_MOD, unix.EPOLLIN); err != nil {
		return err
	}
	out := l.out
	l.out = nil
	return f.write(l, out)
}

// write sends b. A client sends so little that its socket always takes it.
func (f *Fleet) write(l *link, b []byte) error {
	n, err := unix.Write(l.fd, b)
	if err == nil && n < len(b) {
		err = unix.EAGAIN
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (f *Fleet) read(c *client, which int) error {
	l := &c.links[which]
	turn := l.turn
	kept := copy(f.buf, l.left)
	n, err := unix.Read(l.fd, f.buf[kept:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case n <= 0 && which == post && !c.posting:
		f.closeLink(c, post) // the server needs not keep it
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0:
		return errServerClosed
	}
	c.heard = time.Now()
	b := f.buf[:kept+n]
	var used int
	if c.polling || c.fetching {
		used, err = f.answers(c, which, b)
	} else {
		used, err = c.receive(f, b)
	}
	if err != nil || l.turn != turn || !l.open {
		return err
	}
	l.left = append(l.left[:0], b[used:]...)
	if len(l.left) == 0 {
		l.left = nil
	}
	if len(l.left) == len(f.buf) {
		return errHTTP
	}
	return nil
}

// closeLink may be called for one that is closed.
func (f *Fleet) closeLink(c *client, which int) {
	if l := &c.links[which]; l.open {
		_ = unix.Close(l.fd)
		l.open, l.up, l.out, l.left = false, false, nil, nil
	}
}

func (f *Fleet) hangUp(c *client) {
	f.closeLink(c, main)
	f.closeLink(c, post)
	if c.phase < connected {
		f.handshaking--
	}
	c.phase, c.fetching = ended, false
	c.sid, c.posting, c.outbox = "", false, nil
}

// broken ends a connection, or an attempt at one, because of err.
func (f *Fleet) broken(c *client, err error) {
	joined, step := c.phase == connected, stepOf(c.phase, c.fetching)
	f.hangUp(c)
	if joined {
		f.opts.Watcher.Lost(c.index, err)
	} else {
		c.failed++
		f.opts.Watcher.Failed(c.index, &ConnectError{step, err})
	}
	f.comeBack(c)
}

// comeBack tries again after a while.
func (f *Fleet) comeBack(c *client) {
	delay := float64(f.opts.Backoff) * math.Pow(2, float64(min(c.failed, 10))) * (0.5 + rand.Float64())
	f.After(min(time.Duration(delay), 5*f.opts.Backoff), func() {
		if c.phase == ended {
			f.attempt(c)
		}
	})
}

// send sends one Engine.IO packet.
func (f *Fleet) send(c *client, packet string) error {
	if c.polling {
		return f.post(c, packet)
	}
	return f.write(&c.links[main], clientFrame(opText, packet))
}

// text implements peer.
func (f *Fleet) text(c *conn, data []byte) error { return c.packet(f, data) }

// upgraded implements peer. The server speaks first.
func (f *Fleet) upgraded(*conn) error { return nil }

// opened implements peer.
func (f *Fleet) opened(cn *conn, handshake []byte) error {
	c := &f.clients[cn.index]
	var h struct {
		SID                       string
		PingInterval, PingTimeout int64
	}
	if err := json.Unmarshal(handshake, &h); err != nil || h.SID == "" || h.PingInterval <= 0 {
		return fmt.Errorf("not a handshake: %.100q", handshake)
	}
	c.sid = h.SID
	f.patience = max(f.patience, time.Duration(h.PingInterval+h.PingTimeout)*time.Millisecond)
	if c.pid == "" {
		return f.send(c, "40")
	}
	auth := struct {
		PID    string `json:"pid"`
		Offset string `json:"offset,omitempty"`
	}{c.pid, string(c.offset)}
	text, err := json.Marshal(auth)
	if err != nil {
		return err
	}
	return f.send(c, "40"+string(text))
}

// ping implements peer.
func (f *Fleet) ping(cn *conn) error {
	c := &f.clients[cn.index]
	if !c.polling {
		return f.write(&c.links[main], framePong)
	}
	return f.send(c, "3")
}

// joined implements peer.
func (f *Fleet) joined(cn *conn, data []byte) error {
	c := &f.clients[cn.index]
	var answer struct{ SID, PID string }
	if err := json.Unmarshal(data, &answer); err != nil || answer.SID == "" {
		return fmt.Errorf("not an answer to CONNECT: %.100q", data)
	}
	recovered := answer.PID != "" && answer.PID == c.pid
	c.pid = answer.PID
	c.failed = 0
	f.handshaking--
	f.opts.Watcher.Joined(c.index, recovered)
	return nil
}

// event implements peer. What comes before the answer to CONNECT is of the session that is being restored.
func (f *Fleet) event(cn *conn, data []byte) error {
	c := &f.clients[cn.index]
	if c.pid != "" {
		if offset := trailingText(data); offset != nil {
			c.offset = append(c.offset[:0], offset...)
		}
	}
	f.opts.Watcher.Event(c.index, data)
	return nil
}
