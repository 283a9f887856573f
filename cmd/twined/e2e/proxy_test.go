//go:build e2e

package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy is the network between clients and the daemon.
type proxy struct {
	host, target string
	listener     net.Listener
	running      sync.WaitGroup

	mu    sync.Mutex
	down  bool
	links map[*link]struct{}
}

// link is a connection through the proxy.
type link struct {
	client, server net.Conn
	abandoned      bool // the server is not to know that the client is gone
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{host: listener.Addr().String(), target: target, listener: listener, links: map[*link]struct{}{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) url() string { return "http://" + p.host }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.forward(client) })
	}
}

func (p *proxy) forward(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	l := &link{client: client, server: server}
	p.mu.Lock()
	if p.down {
		p.mu.Unlock()
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var up sync.WaitGroup
	up.Go(func() {
		io.Copy(server, client)
		if !p.isAbandoned(l) {
			server.(*net.TCPConn).CloseWrite()
		}
	})
	io.Copy(client, server)
	if p.isAbandoned(l) {
		io.Copy(io.Discard, server)
	}
	client.Close()
	up.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

func (p *proxy) isAbandoned(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.abandoned
}

// up lets connections in again.
func (p *proxy) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// cut ends all connections, on both sides, and lets no new ones in.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for l := range p.links {
		l.client.Close()
		l.server.Close()
	}
}

// abandon is cut for the clients alone: the server keeps its side, half-open.
func (p *proxy) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for l := range p.links {
		l.abandoned = true
		l.client.Close()
	}
}
