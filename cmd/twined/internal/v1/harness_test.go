package v1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/cmd/twined/internal/openapi/openapitest"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine"
)

// faultyLog is a log that can be told to fail.
type faultyLog struct {
	recovery.Log
	mu      sync.Mutex
	failure error
}

func (l *faultyLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
}

func (l *faultyLog) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return l.failure
	}
	return l.Log.Append(ctx, ns, entries)
}

// service is the API before a server with its history on disk, of which only the newest few KB are in memory too.
type service struct {
	t      *testing.T
	server *httptest.Server
	log    *faultyLog
	fates  chan fate

	document *openapitest.Document // exchanges are checked against it,
	checked  map[string]int        // so many of a kind
	remote   *remote
}

// remote is an adapter that pretends to have one more server, with sockets of which it only has the description.
type remote struct {
	*adapter.InProcess
	mu           sync.Mutex
	sockets      []adapter.Details
	failure      error
	disconnected []adapter.Options
}

func (r *remote) start(h adapter.Host) (adapter.Adapter, error) {
	a := adapter.NewInProcess(h)
	if h.Name() != namespace {
		return a, nil
	}
	r.InProcess = a
	return r, nil
}

func (r *remote) FetchSockets(ctx context.Context, o adapter.Options) ([]adapter.Details, error) {
	found, err := r.InProcess.FetchSockets(ctx, o)
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(found, r.sockets...), errors.Join(err, r.failure)
}

func (r *remote) DisconnectSockets(ctx context.Context, o adapter.Options, closeTransport bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if closeTransport {
		r.disconnected = append(r.disconnected, o)
	}
	return r.InProcess.DisconnectSockets(ctx, o, closeTransport)
}

// fate is what the API has told of a message.
type fate struct {
	duplicate bool
	err       error
}

func startService(t *testing.T) *service {
	t.Helper()
	store, err := disk.Open(filepath.Join(t.TempDir(), "log.db"), disk.Options{SegmentBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, log: &faultyLog{Log: store.Log()}, fates: make(chan fate, 5000), remote: &remote{}, checked: map[string]int{}}
	hot := memory.NewLog(memory.LogOptions{MaxBytes: 10_000})
	quiet := slog.New(slog.DiscardHandler)
	srv := twine.NewServer(&twine.Options{Logger: quiet, Adapter: s.remote.start, Recovery: &twine.Recovery{Log: s.log, Hot: hot, Sessions: store.Sessions()}})
	srv.OnConnect(func(socket *twine.Socket) {
		var auth struct{ Rooms []string }
		if err := socket.Handshake().BindAuth(&auth); err != nil {
			t.Error(err)
		}
		socket.Join(auth.Rooms...)
		if err := socket.Unlogged().Emit("joined"); err != nil {
			t.Error(err)
		}
	})
	api := &API{
		Twine: srv, History: recovery.Tiers(hot, s.log), Authorized: func(key string) bool { return key == "secret" },
		Published: func(_ time.Time, duplicate bool, err error) { s.fates <- fate{duplicate, err} }, Log: quiet,
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", api.Handler())
	mux.Handle("/socket.io/", srv)
	s.server = httptest.NewServer(ExactPaths(mux))
	if s.document, err = openapitest.Load(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := errors.Join(srv.Close(ctx), store.Close())
		s.server.Close()
		if err != nil {
			t.Error(err)
		}
	})
	return s
}

// answer is what the API has answered.
type answer struct {
	*http.Response
	body []byte
}

// ask sends a request with a valid key.
func (s *service) ask(method, path, body string, header ...string) answer {
	s.t.Helper()
	return s.send(method, path, strings.NewReader(body), append([]string{"Authorization", "Bearer secret"}, header...)...)
}

func (s *service) send(method, path string, body io.Reader, header ...string) answer {
	s.t.Helper()
	var sent bytes.Buffer
	if body != nil {
		body = io.TeeReader(body, &sent)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.server.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	// Many of a kind tell no more, and each takes a millisecond.
	kind := method + request.URL.Path + response.Status
	if s.checked[kind]++; s.checked[kind] > 50 {
		return answer{response, text}
	}
	documented, err := s.document.Check(request, sent.Bytes(), response.StatusCode, response.Header, text)
	if !documented {
		err = s.document.CheckProblem(text)
	}
	if err != nil {
		s.t.Errorf("%s %.100s: %.200s: %v", method, path, sent.Bytes(), err)
	}
	return answer{response, text}
}

// into decodes an answer that has the wanted status.
func (a answer) into(t *testing.T, status int, v any) {
	t.Helper()
	if a.StatusCode != status || a.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s %s: %s %s %.300s", a.Request.Method, a.Request.URL, a.Status, a.Header.Get("Content-Type"), a.body)
	}
	decoder := json.NewDecoder(bytes.NewReader(a.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
}

// problem checks that an answer is a problem document with the wanted status, and returns it.
func (a answer) problem(t *testing.T, status int) (p Problem) {
	t.Helper()
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%s %s: %s %.300s: %v", a.Request.Method, a.Request.URL, a.Status, a.body, err)
	}
	if a.StatusCode != status || p.Status != status || a.Header.Get("Content-Type") != "application/problem+json" ||
		p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Detail == "" || len(p.Detail) > 300 {
		t.Errorf("%s %.100s: %s %s %.300s, want a problem of status %d", a.Request.Method, a.Request.URL, a.Status, a.Header.Get("Content-Type"), a.body, status)
	}
	if (status == 503) != (a.Header.Get("Retry-After") != "") {
		t.Errorf("%s with Retry-After %q", a.Status, a.Header.Get("Retry-After"))
	}
	return p
}

func (s *service) publish(body string, header ...string) (r Result) {
	s.t.Helper()
	s.ask("POST", "/v1/publish", body, header...).into(s.t, 201, &r)
	return r
}

type historyPage struct {
	Entries []Entry
	Next    string
	More    bool
}

func (s *service) history(room, query string) (page historyPage) {
	s.t.Helper()
	s.ask("GET", "/v1/rooms/"+room+"/history"+query, "").into(s.t, 200, &page)
	return page
}

// client is a Socket.IO client.
type client struct {
	t       *testing.T
	conn    io.ReadWriteCloser
	id      string
	packets chan string // closed when the connection is over
}

// connect opens a client that is in the given rooms.
func (s *service) connect(rooms ...string) *client {
	s.t.Helper()
	conn, early, _, err := ws.Dial(s.t.Context(), strings.Replace(s.server.URL, "http", "ws", 1)+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		s.t.Fatal(err)
	}
	c := &client{t: s.t, conn: conn, packets: make(chan string, 1000)}
	var ends struct {
		io.Reader
		io.Writer
	}
	ends.Reader, ends.Writer = conn, conn
	if early != nil {
		ends.Reader = early
	}
	auth, _ := json.Marshal(map[string]any{"rooms": rooms})
	if err := wsutil.WriteClientText(conn, append([]byte("40"), auth...)); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(c.packets)
		for {
			data, err := wsutil.ReadServerText(ends)
			if err != nil {
				return
			}
			c.packets <- string(data)
		}
	}()
	s.t.Cleanup(func() { conn.Close() })
	opened := c.next("40{")
	var connected struct{ SID string }
	if err := json.Unmarshal([]byte(opened[2:]), &connected); err != nil {
		s.t.Fatal(err)
	}
	c.id = connected.SID
	c.next(`42["joined"`)
	return c
}

// next returns the next packet, less those of the heartbeat and the opening, which has to begin with prefix.
func (c *client) next(prefix string) string {
	c.t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case packet, ok := <-c.packets:
			switch {
			case !ok:
				c.t.Fatalf("the connection is over, want %s", prefix)
			case packet == "2" || packet[0] == '0':
			case !strings.HasPrefix(packet, prefix):
				c.t.Fatalf("got %s, want %s", packet, prefix)
			default:
				return packet
			}
		case <-timeout:
			c.t.Fatalf("nothing comes, want %s", prefix)
		}
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatal("still not so: " + what)
		case <-tick.C:
		}
	}
}
