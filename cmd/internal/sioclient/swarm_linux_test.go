package sioclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// testServer answers every CONNECT and remembers who is there.
type testServer struct {
	addr  string
	pongs atomic.Int64
	auth  atomic.Value

	mu      sync.Mutex
	clients []*engineio.Session
}

type testHandler struct {
	server  *testServer
	session *engineio.Session
}

func (h testHandler) Message(data []byte, _ bool) error {
	if string(data) != "0" {
		return fmt.Errorf("unexpected %q", data)
	}
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	h.server.clients = append(h.server.clients, h.session)
	return h.session.Send(engineio.NewText([]byte(`0{"sid":"x"}`)))
}

func (testHandler) Closed(engineio.Reason, error) {}
func (testHandler) BeforePing()                   {}
func (h testHandler) Pong()                       { h.server.pongs.Add(1) }

func newTestServer(t *testing.T, opts *engineio.Options) *testServer {
	t.Helper()
	s := &testServer{}
	engine := engineio.NewServer(opts, func(session *engineio.Session) engineio.Handler {
		s.auth.Store(session.Handshake().Header().Get("Authorization"))
		return testHandler{s, session}
	})
	front := httptest.NewServer(engine)
	s.addr = front.Listener.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			t.Error(err)
		}
		front.Close()
	})
	return s
}

func (s *testServer) send(data string) {
	m := engineio.NewText([]byte(data))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		_ = c.Send(m)
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestSwarmCountsEveryDeliveryInOrder(t *testing.T) {
	const connections, messages = 300, 100
	server := newTestServer(t, nil)
	next := make([]int, connections)
	s, err := Dial(deadline(t), Options{
		Addr: server.addr, Connections: connections, Parallel: 10, Header: map[string]string{"Authorization": "key"},
		OnEvent: func(i int, data []byte) error {
			if want := fmt.Sprintf(`["m",%d]`, next[i]); string(data) != want {
				return fmt.Errorf("got %s, want %s", data, want)
			}
			next[i]++
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if auth := server.auth.Load(); auth != "key" {
		t.Errorf("header Authorization: %q", auth)
	}
	for i := range messages {
		server.send(fmt.Sprintf(`2["m",%d]`, i))
	}
	if err := s.Wait(deadline(t), connections*messages); err != nil {
		t.Fatal(err)
	}
	if n := s.Delivered(); n != connections*messages || s.Err() != nil || s.Connections() != connections {
		t.Errorf("%d deliveries to %d, %v", n, s.Connections(), s.Err())
	}
	s.Close()
	s.Close()
}

func TestSwarmAnswersPings(t *testing.T) {
	server := newTestServer(t, &engineio.Options{PingInterval: 20 * time.Millisecond, PingTimeout: 5 * time.Second})
	s, err := Dial(deadline(t), Options{Addr: server.addr, Connections: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx := deadline(t); server.pongs.Load() < 9; <-tick.C {
		if ctx.Err() != nil || s.Err() != nil {
			t.Fatalf("%d pongs, %v", server.pongs.Load(), s.Err())
		}
	}
}

func TestSwarmReportsFailures(t *testing.T) {
	server := newTestServer(t, nil)
	bad := errors.New("bad event")
	s, err := Dial(deadline(t), Options{Addr: server.addr, Connections: 5, OnEvent: func(int, []byte) error { return bad }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server.send(`2["m"]`)
	if err := s.Wait(deadline(t), 6); !errors.Is(err, bad) {
		t.Errorf("Wait: %v", err)
	}
	if !errors.Is(s.Err(), bad) {
		t.Errorf("Err: %v", s.Err())
	}
}

func TestSwarmNoticesThatTheServerLeaves(t *testing.T) {
	server := newTestServer(t, nil)
	s, err := Dial(deadline(t), Options{Addr: server.addr, Connections: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server.mu.Lock()
	server.clients[2].Close(engineio.ReasonForcedClose)
	server.mu.Unlock()
	if err := s.Wait(deadline(t), 1); !errors.Is(err, errServerClosed) {
		t.Errorf("got %v", err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	server := newTestServer(t, nil)
	s, err := Dial(deadline(t), Options{Addr: server.addr, Connections: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestDialFails(t *testing.T) {
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	unused, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unused.Close()

	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		addr string
		says string
	}{
		"no Socket.IO": {deadline(t), refusing.Listener.Addr().String(), "404"},
		"no listener":  {deadline(t), unused.Addr().String(), "connection refused"},
		"no answer":    {short, silent.Addr().String(), "0 of 100 connections"},
		"no number":    {deadline(t), "localhost:80", "localhost"},
		"IPv6":         {deadline(t), "[::1]:80", "not an IPv4 address"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Dial(test.ctx, Options{Addr: test.addr, Connections: 100})
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A server that ends right after the handshake, in the middle of a frame.
func TestSwarmNoticesACutFrame(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = http.ReadRequest(bufio.NewReader(c))
		}
		if err == nil {
			_, err = io.WriteString(c, switching+text("0{}")[:2])
			c.Close()
		}
		served <- err
	}()
	_, err = Dial(deadline(t), Options{Addr: l.Addr().String(), Connections: 1})
	if !errors.Is(err, errServerClosed) {
		t.Errorf("got %v", err)
	}
	l.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
