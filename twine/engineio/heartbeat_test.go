package engineio

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestHeartbeat(t *testing.T) {
	h := newHost(t, &Options{PingInterval: 20 * time.Millisecond, PingTimeout: patience})
	t.Run("WebSocket", func(t *testing.T) {
		w := h.dialWebSocket()
		for range 3 {
			w.expectText("2")
			w.send("3")
		}
		_ = w.nc.Close()
	})
	t.Run("polling", func(t *testing.T) {
		p := h.dialPolling()
		for range 3 {
			p.expectGet("2")
			p.expectPost("3")
		}
	})
}

func TestPingTimeout(t *testing.T) {
	h := newHost(t, &Options{PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond})
	t.Run("WebSocket", func(t *testing.T) {
		w := h.dialWebSocket()
		w.expectText("2")
		w.expectEnd()
		w.rec.expectClosed(t, ReasonPingTimeout)
	})
	t.Run("WebSocket, with messages instead of pongs", func(t *testing.T) {
		w := h.dialWebSocket()
		eventually(t, "closed", func() bool {
			_, _ = w.nc.Write(clientFrame(ws.OpText, true, "4x"))
			return w.rec.isClosed()
		})
		w.rec.expectClosed(t, ReasonPingTimeout)
	})
	t.Run("polling, poll waiting", func(t *testing.T) {
		p := h.dialPolling()
		p.expectGet("2")
		p.expectGet("1")
		p.rec.expectClosed(t, ReasonPingTimeout)
	})
	t.Run("polling, no poll", func(t *testing.T) {
		p := h.dialPolling()
		p.rec.expectClosed(t, ReasonPingTimeout)
		if status, _ := p.get(); status != 400 {
			t.Errorf("poll after the end: %d", status)
		}
	})
}

// A pong that nobody asked for must not put off the deadline.
func TestUnaskedPong(t *testing.T) {
	h := newHost(t, &Options{PingInterval: patience, PingTimeout: patience})
	w := h.dialWebSocket()
	due := func() int64 {
		h.wheel.mu.Lock()
		defer h.wheel.mu.Unlock()
		return w.rec.wheelDue
	}
	eventually(t, "first deadline", func() bool { return due() != 0 })
	before, since := due(), time.Now()
	eventually(t, "some ticks", func() bool { return time.Since(since) > 3*h.wheel.tick })
	w.send("3")
	w.send("4behind the pong")
	eventually(t, "message", func() bool { return len(w.rec.got()) == 1 })
	if due() != before {
		t.Error("the deadline moved")
	}
}

type observer struct {
	*recorder
	pings, pongs atomic.Int64
	panics       bool
}

func (o *observer) BeforePing() {
	o.pings.Add(1)
	if o.panics {
		panic("in BeforePing")
	}
}

func (o *observer) Pong() {
	o.pongs.Add(1)
	if o.panics {
		panic("in Pong")
	}
}

// withObserver makes the server's handlers observers.
func withObserver(panics bool, got chan<- *observer) hostOption {
	return func(h *host) {
		accept := h.Server.accept
		h.Server.accept = func(s *Session) Handler {
			o := &observer{recorder: accept(s).(*recorder), panics: panics}
			got <- o
			return o
		}
	}
}

func TestHeartbeatObserver(t *testing.T) {
	observers := make(chan *observer, 1)
	h := newHost(t, &Options{PingInterval: 10 * time.Millisecond, PingTimeout: patience}, withObserver(false, observers))
	w := h.dialWebSocket()
	o := <-observers
	for i := range int64(3) {
		w.expectText("2")
		if pings, pongs := o.pings.Load(), o.pongs.Load(); pings != i+1 || pongs != i {
			t.Errorf("%d pings and %d pongs were announced, want %d and %d", pings, pongs, i+1, i)
		}
		w.send("3")
		eventually(t, "pong", func() bool { return o.pongs.Load() == i+1 })
	}
}

// Regression: BeforePing runs on the goroutine of the wheel, where a panic ended the process.
func TestPanicInHeartbeatObserver(t *testing.T) {
	observers := make(chan *observer, 1)
	h := newHost(t, &Options{PingInterval: 10 * time.Millisecond, PingTimeout: patience}, withObserver(true, observers))
	w := h.dialWebSocket()
	w.expectText("2")
	w.send("3")
	w.expectCloseFrame(1000)
	w.write(clientClose(1000))
	w.rec.expectClosed(t, ReasonForcedClose)
}

func TestHeartbeatsOfAThousandSessions(t *testing.T) {
	const sessions, beats = 1000, 2
	h := newHost(t, &Options{PingInterval: 100 * time.Millisecond, PingTimeout: patience})
	clients := make([]*wsClient, sessions)
	for i := range clients {
		clients[i] = h.dialRaw("EIO=4&transport=websocket")
	}
	done := make(chan bool, sessions)
	for _, w := range clients {
		go func() {
			ok := true
			for range beats + 1 { // the first packet is the open packet
				f, err := w.frame()
				ok = ok && err == nil && len(f.Payload) > 0
				if ok && f.Payload[0] == '2' {
					_, err = w.nc.Write(clientFrame(ws.OpText, true, "3"))
					ok = err == nil
				}
			}
			done <- ok
		}()
	}
	failed := 0
	for range clients {
		if !<-done {
			failed++
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d sessions got no ping", failed, sessions)
	}
	for _, r := range h.all() {
		if r.isClosed() {
			t.Error("a session that answers was closed")
		}
	}
}
