package faults

import (
	"net"
	"sync"
	"time"
)

// link is one connection: a client's side and a server's side.
type link struct {
	client, server *net.TCPConn
	count          func(Kind) // called for a cut that waited for its moment, without mu

	mu     sync.Mutex
	state  state
	left   int         // bytes to the client until the cut that waits for them; -1 if none does
	kind   Kind        // of that cut
	timer  *time.Timer // ends the silence
	halves sync.WaitGroup
}

type state int

const (
	whole  state = iota
	silent       // what comes from either side goes nowhere
	broken
)

func newLink(client, server *net.TCPConn, count func(Kind)) *link {
	return &link{client: client, server: server, count: count, left: -1}
}

// run carries bytes until both sides are done.
func (l *link) run() {
	l.halves.Go(func() { l.copy(l.client, l.server, true) })
	l.halves.Go(func() { l.copy(l.server, l.client, false) })
	l.halves.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.state = broken
	l.client.Close()
	l.server.Close()
}

func (l *link) copy(to, from *net.TCPConn, toClient bool) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !l.forward(to, buf[:n], toClient) {
			return
		}
		if err != nil {
			l.ended()
			return
		}
	}
}

// forward writes b, unless a cut has it otherwise, and reports whether to go on.
func (l *link) forward(to *net.TCPConn, b []byte, toClient bool) bool {
	l.mu.Lock()
	state, cut, kind := l.state, false, l.kind
	if state == whole && toClient && l.left >= 0 {
		if cut = len(b) > l.left; cut {
			b = b[:l.left]
			l.state = broken
		} else {
			l.left -= len(b)
		}
	}
	l.mu.Unlock()
	switch state {
	case silent:
		return true
	case broken:
		return false
	}
	// A peer that does not read is waited for, as a network would; a cut or the end of the other half frees us.
	_, err := to.Write(b)
	if cut {
		l.count(kind)
		l.reset()
		return false
	}
	if err != nil {
		l.ended()
	}
	return err == nil
}

// ended is called when one side is gone. Unless the link is silent, the other side learns of it.
func (l *link) ended() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != silent {
		l.state = broken
		l.client.Close()
		l.server.Close()
	}
}

// whole reports whether nothing has happened, or waits to happen, to the link.
func (l *link) whole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == whole && l.left < 0
}

// limit breaks the link once the server has sent more than n bytes.
func (l *link) limit(kind Kind, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kind, l.left = kind, n
}

// cut breaks the link now, and reports whether it was whole.
func (l *link) cut(kind Kind, silence time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != whole {
		return false
	}
	switch kind {
	case Reset:
		l.state = broken
		reset(l.client)
		reset(l.server)
	case Finish:
		l.state = broken
		l.client.Close()
		l.server.Close()
	case HalfOpen:
		l.state = silent
		reset(l.client)
		l.timer = time.AfterFunc(silence, l.reset)
	case Blackhole:
		l.state = silent
		l.timer = time.AfterFunc(silence, l.reset)
	}
	return true
}

func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = -1
	if l.state == silent {
		l.state = broken
		reset(l.client)
		reset(l.server)
	}
}

func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = broken
	reset(l.client)
	reset(l.server)
}

// reset closes a connection so that its peer sees a reset rather than an end.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}
