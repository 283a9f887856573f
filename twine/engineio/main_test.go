package engineio

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds every wait of the tests. It is long because a loaded machine must not fail them.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually polls until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// recorder is a Handler that keeps what it is told.
type recorder struct {
	*Session
	onMessage func(r *recorder, data []byte, binary bool) error

	mu       sync.Mutex
	messages []string
	closed   int
	late     int // messages after Closed
	reason   Reason
	err      error
}

func (r *recorder) Message(data []byte, binary bool) error {
	r.mu.Lock()
	if r.closed > 0 {
		r.late++
	}
	kind := ""
	if binary {
		kind = "b:"
	}
	r.messages = append(r.messages, kind+string(data))
	r.mu.Unlock()
	if r.onMessage != nil {
		return r.onMessage(r, data, binary)
	}
	return nil
}

func (r *recorder) Closed(reason Reason, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed++
	r.reason, r.err = reason, err
}

func (r *recorder) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

func (r *recorder) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed > 0
}

// expectClosed waits for the end of the session and checks its reason.
func (r *recorder) expectClosed(t testing.TB, want Reason) {
	t.Helper()
	eventually(t, "Closed("+string(want)+")", r.isClosed)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != want {
		t.Errorf("closed with %q (%v), want %q", r.reason, r.err, want)
	}
}

func echo(r *recorder, data []byte, binary bool) error {
	if binary {
		_ = r.Send(NewBinary(data))
	} else {
		_ = r.Send(NewText(data))
	}
	return nil
}

// host is a Server under test with its HTTP server and all the sessions that it has accepted.
type host struct {
	*Server
	t      testing.TB
	http   *httptest.Server
	client *http.Client

	onAccept  func(r *recorder)
	onMessage func(r *recorder, data []byte, binary bool) error

	mu       sync.Mutex
	accepted []*recorder
}

type hostOption func(h *host)

func withEcho(h *host) { h.onMessage = echo }

func withMessage(f func(r *recorder, data []byte, binary bool) error) hostOption {
	return func(h *host) { h.onMessage = f }
}

func withAccept(f func(r *recorder)) hostOption { return func(h *host) { h.onAccept = f } }

func withTLS(h *host) { h.http.TLS = &tls.Config{} }

func withListener(wrap func(net.Listener) net.Listener) hostOption {
	return func(h *host) { h.http.Listener = wrap(h.http.Listener) }
}

// newHost starts a server. When the test ends it closes the server and checks what must hold after any test: nothing
// is registered, each session was told of its end once and last, and no goroutine is left.
func newHost(t testing.TB, opts *Options, options ...hostOption) *host {
	t.Helper()
	if opts == nil {
		opts = &Options{}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	before := goleak.IgnoreCurrent()
	h := &host{t: t}
	h.Server = NewServer(opts, h.accept)
	h.http = httptest.NewUnstartedServer(h.Server)
	h.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	for _, o := range options {
		o(h)
	}
	if h.http.TLS != nil {
		h.http.TLS = nil
		h.http.StartTLS()
	} else {
		h.http.Start()
	}
	h.client = &http.Client{Transport: h.http.Client().Transport, Timeout: patience}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_ = h.Close(ctx)
		h.client.CloseIdleConnections()
		h.http.CloseClientConnections()
		h.http.Close()
		eventually(t, "all sessions told of their end", func() bool {
			for _, r := range h.all() {
				if !r.isClosed() {
					return false
				}
			}
			return true
		})
		for _, r := range h.all() {
			r.mu.Lock()
			if r.closed != 1 || r.late != 0 {
				t.Errorf("session was told of its end %d times, got %d messages after it", r.closed, r.late)
			}
			r.mu.Unlock()
		}
		if n := h.ClientsCount(); n != 0 {
			t.Errorf("%d sessions are still registered", n)
		}
		if err := goleak.Find(before); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *host) accept(s *Session) Handler {
	r := &recorder{Session: s, onMessage: h.onMessage}
	h.mu.Lock()
	h.accepted = append(h.accepted, r)
	h.mu.Unlock()
	if h.onAccept != nil {
		h.onAccept(r)
	}
	return r
}

func (h *host) all() []*recorder {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.accepted)
}

// session returns the handler of the session with the given id. Over WebSocket the open packet may arrive before it.
func (h *host) session(id string) (r *recorder) {
	h.t.Helper()
	eventually(h.t, "session "+id, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		i := slices.IndexFunc(h.accepted, func(r *recorder) bool { return r.ID() == id })
		if i >= 0 {
			r = h.accepted[i]
		}
		return i >= 0
	})
	return r
}

// request sends an HTTP request to the server and returns the answer with its body read.
func (h *host) request(method, query, body string, header ...string) (*http.Response, string) {
	h.t.Helper()
	res, answer, err := h.try(context.Background(), method, query, body, header...)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, query, err)
	}
	return res, answer
}

func (h *host) try(ctx context.Context, method, query, body string, header ...string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.http.URL+"/engine.io/?"+query, bodyOf(body))
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res, string(answer), err
}

func numbered(i int) string { return fmt.Sprintf("message %d", i) }
