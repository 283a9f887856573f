package engineio

import (
	"bufio"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// parked reports whether no goroutine reads the connection of s.
func (s *Session) parked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil && s.conn.reader.Load() == connParked
}

// park waits until no goroutine reads w's connection at the server.
func (w *wsClient) park() *wsClient {
	w.t.Helper()
	eventually(w.t, "parked", w.rec.parked)
	return w
}

// watched returns how many connections the server's poller knows of, and the pages that it has for them.
func (h *host) watched() (conns, pages int) {
	h.poller.mu.Lock()
	defer h.poller.mu.Unlock()
	for _, p := range h.poller.pages {
		conns += p.used
		if p.conns != nil {
			pages++
		}
	}
	return conns, pages
}

func (h *host) expectNothingWatched() {
	h.t.Helper()
	eventually(h.t, "nothing watched", func() bool {
		conns, pages := h.watched()
		return conns == 0 && pages == 0
	})
}

// withCtl puts f in front of the system call. It gets the real one.
func withCtl(f func(op, fd int, real func() error) error) hostOption {
	return func(h *host) {
		h.newPoller = func() *poller {
			p := newPoller()
			p.ctl = func(ep, op, fd int, generation uint32) error {
				return f(op, fd, func() error { return epollCtl(ep, op, fd, generation) })
			}
			return p
		}
	}
}

// soon is eventually for other goroutines than the test's own.
func (h *host) soon(what string, ok func() bool) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			h.t.Errorf("waited in vain: %s", what)
			return
		case <-tick.C:
		}
	}
}

func readable(fd int) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0
}

func (w *wsClient) reset() {
	_ = w.nc.(*net.TCPConn).SetLinger(0)
	_ = w.nc.Close()
}

// readers returns how many goroutines read connections.
func readers() int {
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 2)
	return strings.Count(b.String(), "engineio.(*conn).read(") + strings.Count(b.String(), "engineio.(*Session).readOn(")
}

func TestIdleConnectionsHaveNoGoroutine(t *testing.T) {
	h := newHost(t, nil, withEcho)
	var all []*wsClient
	for range 20 {
		all = append(all, h.dialWebSocket())
	}
	for round := range 3 {
		for _, w := range all {
			w.park()
		}
		eventually(t, "no reader", func() bool { return readers() == 0 })
		if conns, _ := h.watched(); conns != len(all) {
			t.Errorf("%d connections are watched", conns)
		}
		for i, w := range all {
			w.send("4" + numbered(i+round))
		}
		for i, w := range all {
			w.expectText("4" + numbered(i+round))
		}
	}
	for _, w := range all {
		_ = w.nc.Close()
		w.rec.expectClosed(t, ReasonTransportClose)
	}
	h.expectNothingWatched()
}

func TestEndWhileParked(t *testing.T) {
	heartbeat := &Options{PingInterval: 10 * time.Millisecond, PingTimeout: 10 * time.Millisecond}
	for _, test := range []struct {
		name   string
		opts   *Options
		end    func(w *wsClient)
		reason Reason
	}{
		{"client closes", nil, func(w *wsClient) { _ = w.nc.Close() }, ReasonTransportClose},
		{"client resets", nil, (*wsClient).reset, ReasonTransportClose},
		{"client closes its half", nil, func(w *wsClient) { _ = w.nc.(*net.TCPConn).CloseWrite() }, ReasonTransportClose},
		{"close frame", nil, func(w *wsClient) { w.write(clientClose(1000)); w.expectCloseFrame(1000); w.expectEnd() }, ReasonTransportClose},
		{"close packet", nil, func(w *wsClient) { w.send("1") }, ReasonTransportClose},
		{"bad frame", nil, func(w *wsClient) { w.write([]byte{0x83, 0x80, 0, 0, 0, 0}); w.expectCloseFrame(1002); _ = w.nc.Close() }, ReasonTransportError},
		{"server closes in order", nil, func(w *wsClient) {
			w.rec.Close(ReasonForcedClose)
			w.expectCloseFrame(1000)
			w.write(clientClose(1000))
			w.expectEnd()
		}, ReasonForcedClose},
		{"server closes, no answer", &Options{CloseTimeout: 10 * time.Millisecond}, func(w *wsClient) { w.rec.Close(ReasonForcedClose) }, ReasonForcedClose},
		{"server cuts", nil, func(w *wsClient) { w.rec.endLocking(ReasonSlowConsumer, errSlowConsumer); w.expectEnd() }, ReasonSlowConsumer},
		{"no pong", heartbeat, func(*wsClient) {}, ReasonPingTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, test.opts, withEcho)
			w := h.dialWebSocket()
			if test.opts != heartbeat {
				w.send("4x")
				w.expectText("4x")
				w.park()
			}
			test.end(w)
			w.rec.expectClosed(t, test.reason)
			eventually(t, "session gone", func() bool { return h.ClientsCount() == 0 })
			h.expectNothingWatched()
			if err := h.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

func TestGenerations(t *testing.T) {
	p := newPoller()
	defer p.close()
	p.generation = math.MaxUint32 - 1
	found := func(fd int, generation uint32) *conn {
		for _, c := range p.lookup(nil, []unix.EpollEvent{{Fd: int32(fd), Pad: int32(generation)}}) {
			return c
		}
		return nil
	}
	const fd = pollPageSize + 7
	first, second, third := new(conn), new(conn), new(conn)
	p.add(first, fd)
	stale := first.generation
	if found(fd, stale) != first || found(fd-1, stale) != nil || found(7, stale) != nil {
		t.Error("the first is not found, or something else")
	}
	p.remove(first)
	if found(fd, stale) != nil || found(fd, 0) != nil {
		t.Error("a connection that was removed is found")
	}
	p.add(second, fd)
	if second.generation == 0 || found(fd, second.generation) != second || found(fd, stale) != nil {
		t.Error("the second is not found by its own generation alone")
	}
	p.add(third, fd) // the second's descriptor was closed behind the poller's back
	p.remove(second)
	if found(fd, third.generation) != third {
		t.Error("the third went with the second")
	}
	p.remove(third)
	p.remove(third)
	for i, page := range p.pages {
		if page.conns != nil || page.used != 0 {
			t.Errorf("page %d is kept", i)
		}
	}
}

// Where connections can't be parked, each has a goroutine, and nobody notices.
func TestWithoutPoller(t *testing.T) {
	var calls atomic.Int32
	for name, test := range map[string]struct {
		option hostOption
		parks  bool
	}{
		"no epoll": {func(h *host) { h.newPoller = func() *poller { return nil } }, false},
		"no add":   {withCtl(func(int, int, func() error) error { return unix.ENOSPC }), false},
		"no re-arm": {withCtl(func(op, _ int, real func() error) error {
			if op == unix.EPOLL_CTL_MOD {
				return unix.EPERM
			}
			return real()
		}), false},
		"for a moment": {withCtl(func(op, _ int, real func() error) error {
			if calls.Add(1) <= 20 {
				return unix.ENOMEM
			}
			return real()
		}), true},
		"TLS":     {withTLS, false},
		"wrapped": {withListener(wrapped), false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, nil, withEcho, test.option)
			var all []*wsClient
			for range 10 {
				all = append(all, h.dialWebSocket())
			}
			for i := range 6 {
				for _, w := range all {
					w.send("4" + numbered(i))
				}
				for _, w := range all {
					w.expectText("4" + numbered(i))
				}
			}
			if test.parks {
				for _, w := range all {
					w.park()
				}
			} else {
				eventually(t, "a reader each", func() bool { return readers() >= len(all) })
			}
			for i, w := range all {
				want := ReasonTransportClose
				switch i % 3 {
				case 0:
					_ = w.nc.Close()
				case 1:
					w.rec.endLocking(ReasonForcedClose, nil)
					want = ReasonForcedClose
				default:
					w.write(clientClose(1000))
					w.expectCloseFrame(1000)
				}
				w.rec.expectClosed(t, want)
			}
			if err := h.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
			if h.poller != nil {
				h.expectNothingWatched()
			}
		})
	}
}

// wrapped hides what the connections are.
func wrapped(l net.Listener) net.Listener { return wrappedListener{l} }

type wrappedListener struct{ net.Listener }

func (l wrappedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	return struct{ net.Conn }{nc}, err
}

// Should epoll itself fail, what is parked goes on with goroutines.
func TestPollerFails(t *testing.T) {
	var h *host
	h = newHost(t, nil, withEcho, withCtl(func(_, _ int, real func() error) error {
		if h.poller.stopped.Load() {
			return nil // the set may be as it was, only that nobody waits for it
		}
		return real()
	}))
	w := h.dialWebSocket().park()
	idle := h.dialWebSocket().park()
	h.poller.close()
	eventually(t, "stopped", h.poller.stopped.Load)
	late := h.dialWebSocket()
	for _, w := range []*wsClient{w, late, w} {
		w.send("4x")
		w.expectText("4x")
	}
	_ = w.nc.Close()
	w.rec.expectClosed(t, ReasonTransportClose)
	idle.rec.endLocking(ReasonForcedClose, nil)
	idle.rec.expectClosed(t, ReasonForcedClose)
}

func TestParkedUnixSocket(t *testing.T) {
	h := newHost(t, nil, withEcho)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	h.ServeHTTP(hijacked{httptest.NewRecorder(), server}, webSocketRequest(false))
	w := &wsClient{t: t, nc: client, br: bufio.NewReader(client)}
	if res, err := http.ReadResponse(w.br, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v, %v", res, err)
	}
	w.opened = parseOpen(t, w.text())
	w.rec = h.session(w.SID)
	for range 3 {
		w.park().send("4x")
		w.expectText("4x")
	}
	w.park()
	_ = client.Close()
	w.rec.expectClosed(t, ReasonTransportClose)
	h.expectNothingWatched()
}

// What arrives while a message is handled does not keep the poller busy.
func TestNothingReportedWhileReading(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := newHost(t, nil, withMessage(func(r *recorder, data []byte, _ bool) error {
		if string(data) == "block" {
			close(entered)
			<-leave
		}
		return echo(r, data, false)
	}))
	w := h.dialWebSocket().park()
	w.send("4block")
	<-entered
	w.send("4more")
	eventually(t, "more has arrived", func() (arrived bool) {
		_ = w.rec.conn.raw.Control(func(fd uintptr) { arrived = readable(int(fd)) })
		return arrived
	})
	if n, err := unix.EpollWait(h.poller.ep, make([]unix.EpollEvent, 1), 0); n != 0 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
	close(leave)
	w.expectText("4block")
	w.expectText("4more")
}

// The beginning of a frame waits with the connection.
func TestParkedInAFrame(t *testing.T) {
	var h *host
	var left atomic.Int32
	h = newHost(t, nil, withEcho, withCtl(func(op, _ int, real func() error) error {
		if op == unix.EPOLL_CTL_MOD {
			left.Store(int32(len(h.all()[0].conn.left)))
		}
		return real()
	}))
	w := h.dialWebSocket()
	text := "4" + strings.Repeat("x", 300)
	frame := clientFrame(ws.OpText, true, text)
	for i, cut := range []int{1, 3, 8, 200} {
		w.write(frame[:cut])
		eventually(t, "parked with a part", func() bool { return int(left.Load()) == cut && w.rec.parked() })
		w.write(frame[cut:])
		w.expectText(text)
		if got := len(w.rec.got()); got != i+1 {
			t.Errorf("%d messages", got)
		}
	}
}

// A connection that waits to complete an upgrade is parked too, and its time is bounded.
func TestParkedProbe(t *testing.T) {
	h := newHost(t, &Options{UpgradeTimeout: 50 * time.Millisecond})
	p := h.dialPolling()
	w := h.dialRaw("EIO=4&transport=websocket&sid=" + p.SID)
	eventually(t, "probe parked", func() bool { conns, _ := h.watched(); return conns == 1 })
	w.expectEnd()
	h.expectNothingWatched()
	w = h.dialRaw("EIO=4&transport=websocket&sid=" + p.SID)
	eventually(t, "probe parked", func() bool { conns, _ := h.watched(); return conns == 1 })
	p.rec.endLocking(ReasonForcedClose, nil)
	w.expectEnd()
	h.expectNothingWatched()
}
