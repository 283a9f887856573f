package twine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// Namespace is a channel of its own within the connections of a server, with its own middleware, handlers, sockets and
// rooms. Clients join "/" unless they ask for another. All methods may be called concurrently.
type Namespace struct {
	hooks
	name    string
	server  *Server
	parent  *ParentNamespace // nil unless the namespace was created for a pattern or function
	adapter adapter.Adapter
	history atomic.Pointer[history] // see log
	ackID   atomic.Uint64

	opening   sync.Mutex // held while the log is opened; guards what follows
	notOpened error      // of the last try
	triedAt   time.Time
	closed    bool

	users int // sockets that are joining or connected, guarded by Server.mu
}

// Name returns the name of the namespace, which starts with a slash.
func (ns *Namespace) Name() string { return ns.name }

// Adapter returns the namespace's adapter, which knows its rooms.
func (ns *Namespace) Adapter() adapter.Adapter { return ns.adapter }

// Socket returns the socket of this server with the id, or nil.
func (ns *Namespace) Socket(id string) *Socket {
	s, _ := ns.adapter.Member(id).(*Socket)
	return s
}

// Sockets returns the sockets that are connected to this server, in no particular order.
func (ns *Namespace) Sockets() []*Socket {
	members := ns.adapter.Members(adapter.Options{})
	sockets := make([]*Socket, 0, len(members))
	for _, m := range members {
		if s, ok := m.(*Socket); ok {
			sockets = append(sockets, s)
		}
	}
	return sockets
}

// hookSets returns the functions that apply to this namespace: the parent's first.
func (ns *Namespace) hookSets() [2]*hookSet {
	if ns.parent == nil {
		return [2]*hookSet{ns.load(), noHooks}
	}
	return [2]*hookSet{ns.parent.load(), ns.load()}
}

// pass runs the middleware for a socket that wants to join.
func (ns *Namespace) pass(s *Socket) (err error) {
	defer func() {
		if v := recover(); v != nil {
			ns.logPanic("middleware", s, v)
			err = errInternal
		}
	}()
	for _, set := range ns.hookSets() {
		for _, m := range set.middleware {
			if err := m(s.Context(), s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (ns *Namespace) logPanic(what string, s *Socket, v any) {
	attrs := []any{slog.String("in", what), slog.String("namespace", ns.name), slog.Any("panic", v),
		slog.String("stack", string(debug.Stack()))}
	if s != nil {
		attrs = append(attrs, slog.String("socket", s.id))
	}
	ns.server.opts.Logger.Error("twine: handler panicked", attrs...)
}

// connectErrorOf returns what a refused client is told.
func connectErrorOf(err error) *ConnectError {
	var refusal *ConnectError
	if errors.As(err, &refusal) {
		return refusal
	}
	return &ConnectError{Message: err.Error()}
}

// host is what the adapter sees of a namespace.
type host struct{ ns *Namespace }

var _ adapter.Host = host{}

func (h host) Name() string { return h.ns.name }

func (h host) Prepare(d *adapter.Delivery) error {
	w, err := h.ns.server.encode(d.Packet, d.Offset)
	if err != nil {
		return err
	}
	if d.Flags.NoCompress {
		w.uncompressed()
	}
	d.Wire = w
	return nil
}

// Unlogged makes the namespace one that adapters of a cluster bring unlogged broadcasts to.
func (h host) Unlogged(p *parser.Packet, o adapter.Options) error {
	if log := h.ns.log(); log != nil {
		return log.unlogged(p, o)
	}
	local, ok := h.ns.adapter.(localDeliverer)
	if !ok {
		return nil
	}
	_, err := local.Deliver(&adapter.Delivery{Packet: p, Flags: o.Flags}, o)
	return err
}

func (h host) NextAckID() uint64 { return h.ns.nextAckID() }

// nextAckID returns an id for an event that wants an acknowledgement, unique in the namespace on this server.
func (ns *Namespace) nextAckID() uint64 { return ns.ackID.Add(1) - 1 }

func (h host) ServerSideEvent(data []byte, attachments [][]byte, answer func([]byte, [][]byte)) {
	e, err := newEvent(nil, &parser.Packet{Type: parser.Event, Data: data, Attachments: attachments})
	if err != nil {
		h.ns.server.opts.Logger.Warn("twine: malformed event from another server",
			slog.String("namespace", h.ns.name), slog.Any("error", err))
		return
	}
	e.answer = answer
	defer func() {
		if v := recover(); v != nil {
			h.ns.logPanic("server event "+e.name, nil, v)
		}
	}()
	for _, set := range h.ns.hookSets() {
		for _, f := range set.serverEvents[e.name] {
			f(h.ns.server.ctx, e)
		}
	}
}

// failedAdapter stands in for an adapter that could not be made: sockets can come and go, but what concerns others
// reports the error.
type failedAdapter struct {
	*adapter.InProcess
	err error
}

func (a failedAdapter) Broadcast(context.Context, *parser.Packet, adapter.Options) error {
	return a.err
}

func (a failedAdapter) BroadcastWithAck(context.Context, *parser.Packet, adapter.Options, adapter.Acks) (int, error) {
	return 0, a.err
}

func (a failedAdapter) ServerSideEmit(context.Context, []byte, [][]byte) error { return a.err }

func (a failedAdapter) ServerCount(context.Context) (int, error) { return 0, a.err }

func (srv *Server) newNamespace(name string, parent *ParentNamespace) *Namespace {
	ns := &Namespace{name: name, server: srv, parent: parent}
	a, err := srv.opts.Adapter(host{ns})
	if err != nil {
		err = fmt.Errorf("twine: make the adapter of %s: %w", name, err)
		srv.opts.Logger.Error("twine: namespace has no adapter", slog.String("namespace", name), slog.Any("error", err))
		a = failedAdapter{adapter.NewInProcess(host{ns}), err}
	}
	ns.adapter = a
	return ns
}
