package engineio

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gobwas/ws"
	"github.com/rs/cors"
)

// Server speaks Engine.IO on the path it is mounted at. It is an http.Handler; all methods may be called concurrently.
type Server struct {
	opts    Options
	accept  func(*Session) Handler
	handler http.Handler

	wheel    *wheel
	flushers []*flusher
	next     atomic.Uint32 // the flusher of the next session
	poller   *poller       // nil before the first session, and where there is none

	start     sync.Once
	newPoller func() *poller

	mu       sync.Mutex
	clients  map[string]*Session
	closed   bool
	empty    chan struct{}  // closed when the last client is gone after Close
	sessions sync.WaitGroup // goroutines that belong to sessions, and parked connections
	workers  sync.WaitGroup // flushers and poller
}

// NewServer returns a server that calls accept for each new session, before anything is read from it. accept may send;
// the handler that it returns must not be nil. A nil opts means the defaults.
func NewServer(opts *Options, accept func(*Session) Handler) *Server {
	sv := &Server{opts: opts.withDefaults(), accept: accept, clients: make(map[string]*Session), newPoller: newPoller}
	sv.wheel = newWheel(min(sv.opts.PingInterval, sv.opts.PingTimeout), (*Session).deadline)
	for range runtime.GOMAXPROCS(0) {
		sv.flushers = append(sv.flushers, newFlusher())
	}
	sv.handler = http.HandlerFunc(sv.serve)
	if sv.opts.CORS != nil {
		sv.handler = cors.New(*sv.opts.CORS).Handler(sv.handler)
	}
	return sv
}

// ServeHTTP serves all requests of the protocol, whatever their path. How long a client may take to send the header of a
// request is for the http.Server to bound, with ReadHeaderTimeout. Its ReadTimeout and WriteTimeout do no harm to polls
// and WebSockets, which have deadlines of their own.
func (sv *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { sv.handler.ServeHTTP(w, r) }

// ClientsCount returns the number of sessions that are not closed.
func (sv *Server) ClientsCount() int {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	return len(sv.clients)
}

// Close closes all sessions in order with [ReasonServerShutdown], refuses new ones, and waits until all are gone and
// their handlers have returned. When ctx ends first, the remaining connections are cut and its error is returned.
// Clients of the reference implementation reconnect.
func (sv *Server) Close(ctx context.Context) error {
	sv.mu.Lock()
	if sv.closed {
		sv.mu.Unlock()
		return ErrClosed
	}
	sv.closed = true
	sv.empty = make(chan struct{})
	if len(sv.clients) == 0 {
		close(sv.empty)
	}
	all := sv.all()
	sv.mu.Unlock()
	for _, s := range all {
		s.Close(ReasonServerShutdown)
	}
	var err error
	select {
	case <-sv.empty:
	case <-ctx.Done():
		err = ctx.Err()
		sv.mu.Lock()
		all = sv.all()
		sv.mu.Unlock()
		for _, s := range all {
			s.endLocking(ReasonServerShutdown, err)
		}
	}
	gone := make(chan struct{})
	go func() {
		sv.sessions.Wait()
		sv.wheel.close()
		for _, f := range sv.flushers {
			f.close()
		}
		if sv.poller != nil {
			sv.poller.close()
		}
		sv.workers.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return err
}

func (sv *Server) all() []*Session {
	all := make([]*Session, 0, len(sv.clients))
	for _, s := range sv.clients {
		all = append(all, s)
	}
	return all
}

func (sv *Server) serve(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	transport, sid := query.Get("transport"), query.Get("sid")
	upgrade := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	if !sv.opts.serves(transport) || transport == WebTransport {
		sv.refuse(w, r, CodeUnknownTransport, fmt.Errorf("engineio: transport %q", transport))
		return
	}
	if sid == "" {
		sv.handshake(w, r, query.Get("EIO"), transport, upgrade)
		return
	}
	sv.mu.Lock()
	s := sv.clients[sid]
	sv.mu.Unlock()
	switch {
	case s == nil && sv.opts.UnknownSession != nil && sv.opts.UnknownSession(w, r, sid):
	case s == nil:
		sv.refuse(w, r, CodeUnknownSID, fmt.Errorf("engineio: sid %q", sid))
	case transport == WebSocket && upgrade:
		sv.serveUpgrade(w, r, s)
	case transport == WebSocket:
		sv.refuse(w, r, CodeBadRequest, errors.New("engineio: not a WebSocket request"))
	case r.Method == http.MethodGet:
		s.servePoll(w, r)
	case r.Method == http.MethodPost:
		s.servePost(w, r)
	default:
		sv.refuse(w, r, CodeBadRequest, fmt.Errorf("engineio: method %s", r.Method))
	}
}

func (sv *Server) serveUpgrade(w http.ResponseWriter, r *http.Request, s *Session) {
	if sv.opts.DisableUpgrades {
		sv.refuse(w, r, CodeBadRequest, errNoUpgrades)
		return
	}
	c, first, ok := sv.upgrade(w, r)
	if !ok {
		return
	}
	c.session = s
	if s.startProbe(c) {
		go s.readLoop(c, first)
	}
}

// upgrade makes a WebSocket of the request. On failure it has answered.
func (sv *Server) upgrade(w http.ResponseWriter, r *http.Request) (c *conn, first []byte, ok bool) {
	header := make(http.Header)
	if f := sv.opts.Headers; f != nil {
		f(header, r)
	}
	deflate := sv.deflateNegotiation()
	nc, rw, _, err := ws.HTTPUpgrader{Timeout: sv.opts.UpgradeTimeout, Header: header, Negotiate: negotiate(deflate)}.Upgrade(r, w)
	if err != nil {
		if f := sv.opts.ConnectionError; f != nil {
			f(r, CodeBadRequest, err)
		}
		if nc != nil {
			_ = nc.Close()
		}
		return nil, nil, false
	}
	// What the client sent right behind its request. A copy, so that net/http's buffers can go.
	if n := rw.Reader.Buffered(); n > 0 {
		b, _ := rw.Reader.Peek(n)
		first = slices.Clone(b)
	}
	c = newConn(nc)
	if deflate != nil {
		_, c.deflate = deflate.Accepted()
	}
	return c, first, true
}

func (sv *Server) handshake(w http.ResponseWriter, r *http.Request, version, transport string, upgrade bool) {
	switch {
	case r.Method != http.MethodGet:
		sv.refuse(w, r, CodeBadHandshakeMethod, fmt.Errorf("engineio: method %s", r.Method))
		return
	case (transport == WebSocket) != upgrade:
		sv.refuse(w, r, CodeBadRequest, errors.New("engineio: transport and Upgrade header disagree"))
		return
	case version != "4" && !sv.opts.AllowEIO3:
		sv.refuse(w, r, CodeUnsupportedVersion, fmt.Errorf("engineio: EIO=%q", version))
		return
	}
	if allow := sv.opts.AllowRequest; allow != nil {
		if err := allow(r); err != nil {
			sv.refuse(w, r, CodeForbidden, err)
			return
		}
	}
	s := sv.newSession(r)
	if version != "4" {
		s.hs.Protocol = 3
		s.v3 = true
	}
	s.b64 = r.URL.Query().Has("b64")
	var first []byte
	if transport == WebSocket {
		var ok bool
		if s.conn, first, ok = sv.upgrade(w, r); !ok {
			return
		}
		s.conn.session = s
	}
	if !sv.register(s) {
		if s.conn != nil {
			s.conn.close()
		} else {
			w.Header().Set("Connection", "close")
			http.Error(w, "the server is closing", http.StatusServiceUnavailable)
		}
		return
	}
	sv.open(s, transport)
	if s.conn != nil {
		// The register call has counted this goroutine.
		go s.readLoop(s.conn, first)
		return
	}
	defer sv.sessions.Done()
	s.mu.Lock()
	payload, contentType, size := s.takePayload()
	s.answered(size)
	closing := s.state == stateClosing
	s.mu.Unlock()
	if closing { // by accept: the payload carries the close packet, so no poll will come for it
		defer s.endLocking("", nil)
	}
	if c := sv.opts.Cookie; c != nil {
		cookie := *c
		cookie.Value = s.id
		http.SetCookie(w, &cookie)
	}
	if f := sv.opts.InitialHeaders; f != nil {
		f(w.Header(), r)
	}
	if err := sv.respond(w, r, payload, contentType); err != nil {
		s.endLocking(ReasonTransportError, err)
	}
}

func (sv *Server) newSession(r *http.Request) *Session {
	flusher := sv.flushers[sv.next.Add(1)%uint32(len(sv.flushers))]
	return &Session{server: sv, flusher: flusher, id: sv.newID(), hs: newHandshake(r, 4), handler: noHandler{}}
}

// register makes s known, unless the server is closing, and counts one goroutine for it.
func (sv *Server) register(s *Session) bool {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if sv.closed {
		return false
	}
	sv.start.Do(sv.startWorkers)
	sv.clients[s.id] = s
	sv.sessions.Add(1)
	return true
}

func (sv *Server) forget(s *Session) {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if sv.clients[s.id] != s {
		return
	}
	delete(sv.clients, s.id)
	if sv.closed && len(sv.clients) == 0 {
		close(sv.empty)
	}
}

// open sends the handshake, introduces the session to the application and starts its heartbeat.
func (sv *Server) open(s *Session, transport string) {
	msgs := []*Message{newPacket(packetOpen, `{"sid":"`+s.id+`","upgrades":`+sv.opts.upgradesOf(transport)+
		`,"pingInterval":`+strconv.FormatInt(sv.opts.PingInterval.Milliseconds(), 10)+
		`,"pingTimeout":`+strconv.FormatInt(sv.opts.PingTimeout.Milliseconds(), 10)+
		`,"maxPayload":`+strconv.Itoa(sv.opts.MaxHTTPBufferSize)+`}`)}
	if sv.opts.InitialPacket != "" {
		msgs = append(msgs, NewText([]byte(sv.opts.InitialPacket)))
	}
	// The handler is set before the queue is open to anyone who could close the session.
	s.recv.Lock()
	defer s.recv.Unlock()
	_ = s.Send(msgs...)
	func() {
		var panicked error
		defer sv.guardSession(s, &panicked)
		s.handler = sv.accept(s)
	}()
	s.mu.Lock()
	switch {
	case s.state != stateOpen:
	case s.v3: // the client sends the pings; its silence is the end
		s.awaitingPong = true
		sv.wheel.schedule(s, sv.opts.PingInterval+sv.opts.PingTimeout)
	default:
		sv.wheel.schedule(s, sv.opts.PingInterval)
	}
	s.mu.Unlock()
	// A server that began to close between register and here may have missed the session.
	sv.mu.Lock()
	closed := sv.closed
	sv.mu.Unlock()
	if closed {
		s.Close(ReasonServerShutdown)
	}
}

func (sv *Server) startWorkers() {
	if sv.poller = sv.newPoller(); sv.poller != nil {
		sv.workers.Go(sv.poller.run)
	}
	sv.workers.Add(len(sv.flushers))
	for _, f := range sv.flushers {
		go func() {
			defer sv.workers.Done()
			f.run()
		}()
	}
}

// refuse answers a request that is not part of a session, in the reference's form.
func (sv *Server) refuse(w http.ResponseWriter, r *http.Request, code ErrorCode, cause error) {
	if f := sv.opts.ConnectionError; f != nil {
		f(r, code, cause)
	}
	message := code.String()
	status := http.StatusBadRequest
	if code == CodeForbidden {
		status = http.StatusForbidden
		if cause != nil {
			message = cause.Error()
		}
	}
	header := w.Header()
	if r.Header.Get("Upgrade") != "" {
		header.Set("Connection", "close")
		header.Set("Content-Type", "text/html")
		header.Set("Content-Length", strconv.Itoa(len(message)))
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(message))
		return
	}
	body, _ := json.Marshal(struct {
		Code    ErrorCode `json:"code"`
		Message string    `json:"message"`
	}{code, message})
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// noHandler stands in until accept has returned, and for good if it panicked.
type noHandler struct{}

func (noHandler) Message([]byte, bool) error { return nil }
func (noHandler) Closed(Reason, error)       {}

// guard keeps a panic of the application in one place.
func (sv *Server) guard(method string) {
	if v := recover(); v != nil {
		sv.opts.Logger.Error("engineio: handler panicked", slog.String("method", method), slog.Any("panic", v),
			slog.String("stack", string(debug.Stack())))
	}
}

// guardSession is guard for the goroutines that call Handler.Message: the session that the panic happened in is closed,
// and *err is set.
func (sv *Server) guardSession(s *Session, err *error) {
	if v := recover(); v != nil {
		sv.opts.Logger.Error("engineio: handler panicked", slog.String("method", "Message"), slog.Any("panic", v),
			slog.String("stack", string(debug.Stack())))
		s.Close(ReasonForcedClose)
		*err = errPanic
	}
}

// newID returns 15 random bytes as 20 characters of base64url, behind the server's NodeID and a dot if it has one.
func (sv *Server) newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	id := base64.URLEncoding.EncodeToString(b[:])
	if sv.opts.NodeID != "" {
		id = sv.opts.NodeID + "." + id
	}
	return id
}

// NodeOf returns the NodeID of the server that a session with this id is, or was, on; "" if its server had none.
func NodeOf(sid string) string {
	node, _, found := strings.Cut(sid, ".")
	if !found {
		return ""
	}
	return node
}
