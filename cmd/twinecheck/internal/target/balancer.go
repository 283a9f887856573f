package target

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
)

// balancer is one address for several servers: each connection goes to any of them, whoever it comes from.
type balancer struct {
	listener net.Listener
	backends []string
	running  sync.WaitGroup

	mu     sync.Mutex
	down   map[string]bool
	conns  map[net.Conn]bool
	closed bool
}

func balance(backends []string) (*balancer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &balancer{listener: listener, backends: backends, down: map[string]bool{}, conns: map[net.Conn]bool{}}
	b.running.Go(b.accept)
	return b, nil
}

func (b *balancer) addr() string { return b.listener.Addr().String() }

// setDown says whether a server is to get connections. That is what a health check would find out a moment later.
func (b *balancer) setDown(addr string, down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down[addr] = down
}

func (b *balancer) pick() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var up []string
	for _, addr := range b.backends {
		if !b.down[addr] {
			up = append(up, addr)
		}
	}
	if len(up) == 0 {
		return b.backends[0]
	}
	return up[rand.IntN(len(up))]
}

func (b *balancer) accept() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.running.Go(func() { b.serve(client) })
	}
}

func (b *balancer) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", b.pick())
	if err != nil {
		return
	}
	defer server.Close()
	if !b.keep(client, server) {
		return
	}
	defer b.forget(client, server)
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(client, server)
		client.Close()
		server.Close()
	})
	io.Copy(server, client)
	// A client that has finished sending may still want to read.
	if half, ok := server.(*net.TCPConn); ok {
		half.CloseWrite()
	}
	back.Wait()
}

func (b *balancer) keep(conns ...net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		b.conns[c] = true
	}
	return !b.closed
}

func (b *balancer) forget(conns ...net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range conns {
		delete(b.conns, c)
	}
}

func (b *balancer) close() {
	b.listener.Close()
	b.mu.Lock()
	b.closed = true
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.running.Wait()
}
