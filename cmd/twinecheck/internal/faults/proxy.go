// Package faults is a TCP proxy that breaks the connections it carries, in the ways that networks do.
package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is a way to break a connection.
type Kind int

const (
	// Reset resets both sides at once.
	Reset Kind = iota
	// Finish closes both sides as their peer would.
	Finish
	// HalfOpen resets the client's side alone. The server's side stays open for a while and takes whatever the server
	// sends, into nothing, so that the server still counts on the connection when the client comes back.
	HalfOpen
	// Blackhole makes both sides silent for a while, and then resets them.
	Blackhole
	// MidFrame forwards a few more bytes to the client, usually to the middle of a frame, and resets both sides.
	MidFrame
	// Restoring is MidFrame for a connection that is only just made: it is cut while the server greets the client and
	// sends what it missed.
	Restoring
	kinds
)

var names = [...]string{"reset", "finish", "half-open", "blackhole", "mid-frame", "restoring"}

func (k Kind) String() string { return names[k] }

// Kinds returns all of them.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Parse returns the Kind with a name.
func Parse(name string) (Kind, error) {
	i := slices.Index(names[:], name)
	if i < 0 {
		return 0, fmt.Errorf("no kind of cut is called %q, only %s", name, strings.Join(names[:], ", "))
	}
	return Kind(i), nil
}

// Proxy carries connections to one server. Its methods may be called concurrently.
type Proxy struct {
	listener net.Listener
	backend  string
	silence  time.Duration
	group    sync.WaitGroup

	mu     sync.Mutex
	rand   *rand.Rand
	links  []*link
	armed  int // Restoring cuts that wait for a connection
	cuts   [kinds]int
	closed bool
}

// dialTimeout bounds how long the server may take to accept a connection.
const dialTimeout = 5 * time.Second

// Listen starts a proxy to the server at the address backend, on a free local port. A connection that is made silent stays
// so for silence, give or take half. rand is the proxy's alone from now on.
func Listen(backend string, silence time.Duration, rand *rand.Rand) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{listener: listener, backend: backend, silence: silence, rand: rand}
	p.group.Go(p.accept)
	return p, nil
}

// Addr returns the address that clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cuts returns how many connections were broken so far, by kind.
func (p *Proxy) Cuts() map[Kind]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	cuts := make(map[Kind]int, kinds)
	for kind, n := range p.cuts {
		cuts[Kind(kind)] = n
	}
	return cuts
}

// Cut breaks a random connection that is whole, and reports whether there was one. A MidFrame cut is done as soon as the
// server sends something, and a Restoring cut when the server sends something on a connection that is made from now on.
func (p *Proxy) Cut(kind Kind) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kind == Restoring {
		p.armed++
		return true
	}
	var whole []*link
	for _, l := range p.links {
		if l.whole() {
			whole = append(whole, l)
		}
	}
	if len(whole) == 0 {
		return false
	}
	l := whole[p.rand.IntN(len(whole))]
	if kind == MidFrame {
		l.limit(MidFrame, 1+p.rand.IntN(400))
		return true
	}
	silence := p.silence/2 + time.Duration(p.rand.Int64N(int64(p.silence)+1))
	if l.cut(kind, silence) {
		p.cuts[kind]++
	}
	return true
}

// Heal ends all cuts that are under way: silent connections are reset, and no cut waits for its moment any longer.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = 0
	for _, l := range p.links {
		l.heal()
	}
}

// Close resets all connections and returns when nothing of the proxy is left running.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.links {
		l.reset()
	}
	p.mu.Unlock()
	p.listener.Close()
	p.group.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors, perhaps
			continue
		}
		p.group.Go(func() { p.carry(client.(*net.TCPConn)) })
	}
}

func (p *Proxy) carry(client *net.TCPConn) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", p.backend)
	if err != nil {
		reset(client)
		return
	}
	l := newLink(client, server.(*net.TCPConn), p.count)
	if !p.add(l) {
		l.reset()
		return
	}
	l.run()
	p.remove(l)
}

// add makes a link known, unless the proxy is closed.
func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.armed > 0 {
		p.armed--
		// From the first bytes of the upgrade's answer to some dozens of messages: as often a short greeting as a long
		// replay.
		l.limit(Restoring, 1<<(7+p.rand.IntN(8))+p.rand.IntN(64))
	}
	p.links = append(p.links, l)
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.links {
		if p.links[i] == l {
			p.links[i] = p.links[len(p.links)-1]
			p.links = p.links[:len(p.links)-1]
			return
		}
	}
}

func (p *Proxy) count(kind Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts[kind]++
}
