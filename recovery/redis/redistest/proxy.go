package redistest

import (
	"net"
	"sync"
	"testing"
)

// Proxy stands between clients and a server, and loses answers.
type Proxy struct {
	Addr string

	mu     sync.Mutex
	lose   int // how many answers are still to be lost
	which  func(answer []byte) bool
	closed bool
	conns  map[net.Conn]bool
}

// StartProxy runs a proxy to an address until the test ends.
func StartProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), conns: make(map[net.Conn]bool)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil || !p.keep(client, server) {
				client.Close()
				continue
			}
			running.Go(func() { p.copy(server, client, false) })
			running.Go(func() { p.copy(client, server, true) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		running.Wait()
	})
	return p
}

// Lose makes the proxy cut the connection instead of passing on an answer, n
// times. What was asked for has been done by then. which says of the beginning of
// an answer whether it is of the kind; it must not block.
func (p *Proxy) Lose(n int, which func(answer []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose, p.which = n, which
}

// Lost says whether all answers that were to be lost are.
func (p *Proxy) Lost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lose == 0
}

// Cut ends all connections. New ones can be made.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

func (p *Proxy) loses(answer []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lose == 0 || !p.which(answer) {
		return false
	}
	p.lose--
	return true
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.closed {
			c.Close()
			continue
		}
		p.conns[c] = true
	}
	return !p.closed
}

func (p *Proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if answers && p.loses(buf[:n]) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
