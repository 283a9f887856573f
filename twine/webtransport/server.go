package webtransport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	wt "github.com/quic-go/webtransport-go"

	"github.com/twine-realtime/twine/twine/engineio"
)

// DefaultPath is where Socket.IO clients look for the server.
const DefaultPath = "/socket.io/"

const (
	defaultHandshakeTimeout = 10 * time.Second
	// keepAlive is below the 30 s after which both ends give up a silent connection, and pings of Engine.IO may be rarer.
	keepAlive = 15 * time.Second
	// A connection has one request, one stream of packets and HTTP/3's own three; browsers add a few that mean nothing.
	maxStreams     = 8
	maxHeaderBytes = 64 << 10
	// What a connection may hold in memory for a handler that is busy, in bytes.
	streamWindow     = 1 << 20
	connectionWindow = 3 << 19
)

// Server accepts WebTransport sessions and hands the stream of packets in each to an Engine.IO server. Its fields must not
// be changed once it serves. The methods may be called concurrently.
type Server struct {
	// Engine serves the streams. It is required, and must have engineio.WebTransport among its Options.Transports.
	Engine *engineio.Server
	// TLSConfig has the certificate, which QUIC can't do without. It is required. Its NextProtos are not used.
	TLSConfig *tls.Config
	// Addr is the UDP address for ListenAndServe. Empty means ":443".
	Addr string
	// Path is where sessions are accepted, with or without the slash at its end. Empty means DefaultPath.
	Path string
	// CheckOrigin tells whether a page may open a session. The Origin header is checked here alone: Engine.IO's CORS option
	// is for the requests of polling. Nil means that the header, if there is one, must have the host and port of the request.
	CheckOrigin func(r *http.Request) bool
	// HandshakeTimeout is how long a connection may be without a session and a session without its stream. Zero means 10 s.
	HandshakeTimeout time.Duration

	mu       sync.Mutex
	running  map[*listener]struct{}
	closed   bool
	handlers sync.WaitGroup // a Serve and the connections that it has accepted
}

// listener is one call of Serve.
type listener struct {
	quic     *quic.EarlyListener
	sessions *wt.Server
}

// ListenAndServe listens on Addr and calls Serve.
func (sv *Server) ListenAndServe() error {
	addr := sv.Addr
	if addr == "" {
		addr = ":443"
	}
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return fmt.Errorf("webtransport: %w", err)
	}
	defer conn.Close()
	return sv.Serve(conn)
}

// Serve accepts sessions on a UDP socket, which stays the caller's to close, until Close is called or the socket fails. It
// always returns an error, [http.ErrServerClosed] after Close.
func (sv *Server) Serve(conn net.PacketConn) error {
	if sv.Engine == nil || sv.TLSConfig == nil {
		return errors.New("webtransport: Engine and TLSConfig are required")
	}
	transport := &quic.Transport{Conn: conn}
	defer transport.Close()
	ln, err := transport.ListenEarly(http3.ConfigureTLSConfig(sv.TLSConfig), &quic.Config{
		MaxIncomingStreams:               maxStreams,
		MaxIncomingUniStreams:            maxStreams,
		MaxStreamReceiveWindow:           streamWindow,
		MaxConnectionReceiveWindow:       connectionWindow,
		KeepAlivePeriod:                  keepAlive,
		EnableDatagrams:                  true, // not used, but required by the protocol
		EnableStreamResetPartialDelivery: true,
	})
	if err != nil {
		return fmt.Errorf("webtransport: %w", err)
	}
	l := &listener{quic: ln, sessions: sv.newSessions()}
	if !sv.add(l) {
		_ = ln.Close()
		return http.ErrServerClosed
	}
	defer sv.handlers.Done()
	for {
		conn, err := ln.Accept(context.Background())
		if err != nil {
			return sv.remove(l, err)
		}
		sv.handlers.Go(func() { sv.serveConn(l, conn) })
	}
}

func (sv *Server) add(l *listener) bool {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if sv.closed {
		return false
	}
	if sv.running == nil {
		sv.running = make(map[*listener]struct{})
	}
	sv.running[l] = struct{}{}
	sv.handlers.Add(1)
	return true
}

func (sv *Server) remove(l *listener, err error) error {
	sv.mu.Lock()
	closed := sv.closed
	delete(sv.running, l)
	sv.mu.Unlock()
	if closed {
		return http.ErrServerClosed
	}
	_ = l.quic.Close()
	_ = l.sessions.Close()
	return fmt.Errorf("webtransport: %w", err)
}

// Close cuts all connections and waits until everything that belongs to the server has ended, [Server.Serve] included. A
// closed server stays so.
func (sv *Server) Close() error {
	sv.mu.Lock()
	sv.closed = true
	running := sv.running
	sv.running = nil
	sv.mu.Unlock()
	var errs []error
	for l := range running {
		errs = append(errs, l.sessions.Close(), l.quic.Close())
	}
	sv.handlers.Wait()
	return errors.Join(errs...)
}

// idle is the context key of the timer that ends a connection without a session.
type idle struct{}

func (sv *Server) newSessions() *wt.Server {
	sessions := &wt.Server{
		H3:                &http3.Server{MaxHeaderBytes: maxHeaderBytes},
		ReorderingTimeout: sv.handshakeTimeout(),
		CheckOrigin:       func(*http.Request) bool { return true }, // accept has checked it
	}
	sessions.H3.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { sv.accept(sessions, w, r) })
	sessions.H3.ConnContext = func(ctx context.Context, conn *quic.Conn) context.Context {
		timer := time.AfterFunc(sv.handshakeTimeout(), func() {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "no session")
		})
		context.AfterFunc(conn.Context(), func() { timer.Stop() })
		return context.WithValue(ctx, idle{}, timer)
	}
	return sessions
}

func (sv *Server) serveConn(l *listener, conn *quic.Conn) {
	// An error says that the connection ended before it could be used.
	if err := l.sessions.ServeQUICConn(conn); err != nil {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeInternalError), "")
	}
}

// accept serves one session until it ends. A connection has one at a time.
func (sv *Server) accept(sessions *wt.Server, w http.ResponseWriter, r *http.Request) {
	check := sv.CheckOrigin
	if check == nil {
		check = sameOrigin
	}
	switch {
	case strings.TrimSuffix(r.URL.Path, "/") != strings.TrimSuffix(sv.path(), "/"):
		http.NotFound(w, r)
		return
	case !check(r):
		http.Error(w, "origin not allowed", http.StatusForbidden)
		return
	}
	accepted, err := sessions.Upgrade(w, r)
	if err != nil {
		http.Error(w, "not a WebTransport request", http.StatusBadRequest)
		return
	}
	session := &session{Session: accepted, connect: w.(http3.HTTPStreamer).HTTPStream()}
	ctx, cancel := context.WithTimeout(session.Context(), sv.handshakeTimeout())
	defer cancel()
	s, err := session.AcceptStream(ctx)
	if err != nil {
		session.close()
		return
	}
	timer := r.Context().Value(idle{}).(*time.Timer)
	timer.Stop()
	defer timer.Reset(sv.handshakeTimeout())
	r.RequestURI = r.URL.RequestURI() // in place of the authority, which is the target of CONNECT otherwise
	// The error was told to Options.ConnectionError, and the client needs none.
	_ = sv.Engine.ServeStream(stream{s, session}, r)
}

func (sv *Server) path() string {
	if sv.Path == "" {
		return DefaultPath
	}
	return sv.Path
}

func (sv *Server) handshakeTimeout() time.Duration {
	if sv.HandshakeTimeout == 0 {
		return defaultHandshakeTimeout
	}
	return sv.HandshakeTimeout
}

// sameOrigin accepts clients that are no browsers, and pages of the host that the request is for.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}
