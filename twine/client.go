package twine

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
)

// client is one connection, with a socket for each namespace that it is part of.
type client struct {
	server  *Server
	session *engineio.Session
	decoder parser.Decoder // used by Message alone

	mu      sync.Mutex
	first   *Socket            // nearly all connections have one socket,
	more    map[string]*Socket // the others by the name of their namespace
	left    []string           // namespaces that this server ended, which the client may not know yet
	alive   int                // sockets that have not ended yet, those that left their namespace included
	closed  bool
	timeout *time.Timer // closes a connection that joins no namespace; nil once one is joined

	draining sync.Mutex // held while a replay waits for the queue
}

// waitQueue is the session's WaitQueue for any number of callers.
func (c *client) waitQueue(ctx context.Context, max int) error {
	c.draining.Lock()
	defer c.draining.Unlock()
	return c.session.WaitQueue(ctx, max)
}

// accept introduces a new connection.
func (srv *Server) accept(session *engineio.Session) engineio.Handler {
	c := &client{server: srv, session: session, decoder: srv.opts.Codec.NewDecoder()}
	c.mu.Lock()
	c.timeout = time.AfterFunc(srv.opts.ConnectTimeout, func() {
		srv.opts.Logger.Debug("twine: connection joined no namespace", slog.String("session", session.ID()))
		c.close(ReasonForcedClose)
	})
	c.mu.Unlock()
	if c.legacy() {
		c.connect(&parser.Packet{Type: parser.Connect, Namespace: "/"})
	}
	return c
}

// Message implements [engineio.Handler].
func (c *client) Message(data []byte, binary bool) error {
	p, err := c.decoder.Decode(data, binary)
	if err != nil || p == nil {
		return err
	}
	if p.Type == parser.Connect {
		if c.legacy() {
			legacyConnect(p)
		}
		c.connect(p)
		return nil
	}
	s, known := c.socket(p.Namespace)
	switch {
	case s == nil && known:
		// It crossed the packet with which this server ended the socket.
	case s == nil || p.Type == parser.ConnectError:
		c.violated(p)
	case p.Type == parser.Disconnect:
		s.end(ReasonClientDisconnect)
	case !s.accepts():
		c.violated(p)
	case p.Type == parser.Ack:
		s.answered(p)
	default:
		if !s.receive(p) {
			c.server.opts.Logger.Warn("twine: handlers do not keep up, connection closed",
				slog.String("namespace", p.Namespace), slog.String("socket", s.id))
			c.close(ReasonForcedClose)
		}
	}
	return nil
}

// violated closes the connection of a client that broke the protocol.
func (c *client) violated(p *parser.Packet) {
	c.server.opts.Logger.Debug("twine: packet for a namespace that is not connected",
		slog.String("session", c.session.ID()), slog.String("namespace", p.Namespace), slog.String("type", p.Type.String()))
	c.close(ReasonForcedClose)
}

// Closed implements [engineio.Handler].
func (c *client) Closed(reason engineio.Reason, _ error) { c.endAll(socketReason(reason)) }

// close closes the connection and ends all sockets for the given reason.
func (c *client) close(reason string) {
	c.endAll(reason)
	c.session.Close(engineio.ReasonForcedClose)
}

func (c *client) endAll(reason string) {
	c.mu.Lock()
	c.closed = true
	c.stopTimeout()
	sockets := c.socketsLocked()
	c.mu.Unlock()
	for _, s := range sockets {
		s.end(reason)
	}
}

// disconnect ends all sockets because the server wants so, tells the client, and closes the connection.
func (c *client) disconnect() {
	c.mu.Lock()
	sockets := c.socketsLocked()
	c.mu.Unlock()
	for _, s := range sockets {
		s.settle()
		s.leaveNamespace()
	}
	c.close(ReasonServerDisconnect)
}

func (c *client) socketsLocked() []*Socket {
	var sockets []*Socket
	if c.first != nil {
		sockets = append(sockets, c.first)
	}
	for _, s := range c.more {
		sockets = append(sockets, s)
	}
	return sockets
}

// socket returns the socket of a namespace, joining or connected. If there is none, known tells whether there was one
// that this server ended.
func (c *client) socket(namespace string) (s *Socket, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first != nil && c.first.namespace == namespace {
		return c.first, true
	}
	if s := c.more[namespace]; s != nil {
		return s, true
	}
	return nil, c.closed || slices.Contains(c.left, namespace)
}

// connect handles a client's wish to join a namespace. What the application has to say about it is asked on the new
// socket's own goroutine.
func (c *client) connect(p *parser.Packet) {
	if s, _ := c.socket(p.Namespace); s != nil && !s.endJoining() {
		c.violated(p)
		return
	}
	// A client that gave up and asks again, while the middleware is still busy with the first time, has been replaced.
	ns, dynamic := c.server.acquire(p.Namespace)
	if ns == nil && !dynamic {
		c.refuse(p.Namespace, errInvalidNamespace)
		return
	}
	s := newSocket(c, p.Namespace, ns, p.Data)
	if refusal := c.add(s); refusal != nil {
		if ns != nil {
			c.server.release(ns)
		}
		c.refuse(p.Namespace, refusal)
		return
	}
	s.start()
}

// add registers a socket, unless the connection is closed or has too many.
func (c *client) add(s *Socket) *ConnectError {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errRefused
	}
	if c.alive >= c.server.opts.MaxNamespaces {
		return errTooManyNamespaces
	}
	c.alive++
	c.left = slices.DeleteFunc(c.left, func(name string) bool { return name == s.namespace })
	if c.first == nil || c.first.namespace == s.namespace {
		c.first = s
		return nil
	}
	if c.more == nil {
		c.more = make(map[string]*Socket)
	}
	c.more[s.namespace] = s
	return nil
}

// remove makes room for another socket of the same namespace.
func (c *client) remove(s *Socket, byServer bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.first == s:
		c.first = nil
	case c.more[s.namespace] == s:
		delete(c.more, s.namespace)
	default:
		return
	}
	if byServer && !c.closed && len(c.left) < c.server.opts.MaxNamespaces {
		c.left = append(c.left, s.namespace)
	}
}

// ended notes that a socket's last function has returned.
func (c *client) ended() {
	c.mu.Lock()
	c.alive--
	c.mu.Unlock()
}

// joined notes that the connection is of use.
func (c *client) joined() {
	c.mu.Lock()
	c.stopTimeout()
	c.mu.Unlock()
}

func (c *client) stopTimeout() {
	if c.timeout != nil {
		c.timeout.Stop()
		c.timeout = nil
	}
}

// refuse answers a wish to join with an error.
func (c *client) refuse(namespace string, refusal *ConnectError) {
	p := connectErrorPacket(namespace, refusal)
	if c.legacy() {
		p = legacyRefusal(p, refusal)
	}
	w, err := c.server.encode(p, "")
	if err != nil {
		c.server.opts.Logger.Error("twine: data of a ConnectError cannot be encoded",
			slog.String("namespace", namespace), slog.Any("error", err))
		w, err = c.server.encode(connectErrorPacket(namespace, &ConnectError{Message: refusal.Message}), "")
	}
	if err == nil {
		_ = c.session.Send(w.messages...) // a closed connection needs no answer
	}
}
