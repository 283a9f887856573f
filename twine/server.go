package twine

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twine-realtime/twine/twine/engineio"
)

// Lock order: client.mu, Server.mu and Socket.joinMu come first and are never held together; then the locks of an
// adapter; then Socket.mu; then those of an engineio.Session. The application's functions run with none of them held.
//
// With recovery: identities come first of all, that of a browser before that of a session, and recoverable.storing before
// Socket.joinMu. What hands out the log of a namespace (see Sequencer.Fence) is held after Socket.joinMu and before the
// locks of an adapter.

// Server is a Socket.IO server. It is an http.Handler to be mounted on any mux, by convention at "/socket.io/". All
// methods may be called concurrently.
type Server struct {
	opts   Options
	engine *engineio.Server
	main   *Namespace

	ctx     context.Context // of all sockets; ends when Close is done or gives up
	cancel  context.CancelFunc
	running atomic.Int64 // sockets whose functions are running

	instance   string        // of this process's server, unlike any other
	tokens     atomic.Uint64 // handed out
	identities identities
	strays     strays
	stopPeers  func()       // nil: there are none
	expired    atomic.Int64 // when expired sessions were forgotten last, in nanoseconds

	mu         sync.Mutex
	namespaces map[string]*Namespace
	parents    []*ParentNamespace // replaced, never changed
	closed     bool
}

// NewServer returns a server. A nil opts means the defaults. It owns no goroutine until a client connects.
func NewServer(opts *Options) *Server {
	srv := &Server{opts: opts.withDefaults(), instance: newSecret(), namespaces: make(map[string]*Namespace)}
	if r := srv.opts.Recovery; r != nil && r.Peers != nil {
		srv.instance = r.Peers.Name()
	}
	srv.ctx, srv.cancel = context.WithCancel(context.Background())
	srv.engine = engineio.NewServer(&srv.opts.Engine, srv.accept)
	srv.main = srv.Of("/")
	if r := srv.opts.Recovery; r != nil && r.Peers != nil {
		srv.stopPeers = r.Peers.Serve(srv.answerPeer)
	}
	return srv
}

// ServeHTTP serves the transports, at whatever path the server is mounted. How long a client may take to send a request's header
// is for the http.Server to bound: set its ReadHeaderTimeout and IdleTimeout.
func (srv *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { srv.engine.ServeHTTP(w, r) }

// Engine returns the Engine.IO server underneath.
func (srv *Server) Engine() *engineio.Server { return srv.engine }

// Of returns the namespace with the name and creates it if there is none. A missing slash is put in front of the name;
// "" means "/". If its adapter cannot be made, or its log not be opened, that is logged, and the
// namespace's methods return the error; the log is tried again later.
func (srv *Server) Of(name string) *Namespace {
	if !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	srv.mu.Lock()
	ns := srv.namespaces[name]
	made := ns == nil
	if made {
		ns = srv.newNamespace(name, nil)
		srv.namespaces[name] = ns
	}
	srv.mu.Unlock()
	if made {
		_, _ = ns.openLog(srv.ctx) // it is tried again when it is needed
	}
	return ns
}

// Close closes the server: new connections are refused, and all clients are disconnected by closing their transports, so
// that they reconnect, to another server for instance. Sockets end with [ReasonServerShutdown].
//
// It waits until all handlers have returned. When ctx ends first, the contexts of the remaining sockets are cancelled
// and its error is returned. So a handler must not call it. A server cannot be used again; later calls return nil at once.
func (srv *Server) Close(ctx context.Context) error {
	srv.mu.Lock()
	closed := srv.closed
	srv.closed = true
	srv.mu.Unlock()
	if closed {
		return nil
	}
	err := srv.engine.Close(ctx)
	if waiting := srv.awaitHandlers(ctx); err == nil {
		err = waiting
	}
	srv.cancel()
	if srv.stopPeers != nil {
		srv.stopPeers()
	}

	srv.mu.Lock()
	all := make([]*Namespace, 0, len(srv.namespaces))
	for _, ns := range srv.namespaces {
		all = append(all, ns)
	}
	srv.mu.Unlock()
	for _, ns := range all {
		err = errors.Join(err, ns.closeLog(ctx), ns.adapter.Close())
	}
	return err
}

// awaitHandlers waits until no socket has anything to do. It runs once, when no new socket can come.
func (srv *Server) awaitHandlers(ctx context.Context) error {
	if srv.running.Load() == 0 {
		return nil
	}
	const pace = 2 * time.Millisecond
	poll := time.NewTicker(pace)
	defer poll.Stop()
	for srv.running.Load() > 0 {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (srv *Server) closeAdapter(ns *Namespace) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := ns.closeLog(ctx); err != nil {
		srv.opts.Logger.Warn("twine: close log", slog.String("namespace", ns.name), slog.Any("error", err))
	}
	if err := ns.adapter.Close(); err != nil {
		srv.opts.Logger.Warn("twine: close adapter", slog.String("namespace", ns.name), slog.Any("error", err))
	}
}
