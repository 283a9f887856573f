package engineio

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestAfterClose(t *testing.T) {
	h := newHost(t, nil)
	w, p := h.dialWebSocket(), h.dialPolling()
	for _, r := range []*recorder{w.rec, p.rec} {
		before := r.Done()
		select {
		case <-before:
			t.Error("Done before Close")
		default:
		}
		r.Close(ReasonForcedClose)
		r.Close(ReasonServerShutdown) // the first reason stays
		<-before
		<-r.Done()
		if err := r.Send(NewText([]byte("late"))); !errors.Is(err, ErrClosed) {
			t.Errorf("Send after Close: %v", err)
		}
		r.expectClosed(t, ReasonForcedClose)
		if r.err != nil {
			t.Errorf("error %v for an orderly close", r.err)
		}
	}
	w.expectCloseFrame(1000)
	w.write(clientClose(1000))
	p.expectGet("1")
	eventually(t, "sessions gone", func() bool { return h.ClientsCount() == 0 })
	<-w.rec.Done() // also where nobody had asked before the end
}

func TestCloseFlushes(t *testing.T) {
	h := newHost(t, nil, withListener(smallBuffers))
	large := strings.Repeat("z", 300_000)
	w := h.dialWebSocket()
	for range 10 {
		_ = w.rec.Send(NewText([]byte(large)))
	}
	w.rec.Close(ReasonForcedClose)
	for range 10 {
		w.expectText("4" + large)
	}
	w.expectCloseFrame(1000)
	w.expectEnd()
}

// What a client sends after the server has begun to close is dropped, and does not disturb the close.
func TestInputWhileClosing(t *testing.T) {
	h := newHost(t, nil)
	w := h.dialWebSocket()
	w.rec.Close(ReasonForcedClose)
	w.rec.expectClosed(t, ReasonForcedClose)
	w.write(frames(clientFrame(ws.OpText, true, "4late"), clientFrame(ws.OpPing, true, "late"), clientFrame(ws.OpText, true, "3")))
	w.expectCloseFrame(1000)
	w.write(clientClose(1000))
	w.expectEnd()
	if got := w.rec.got(); len(got) != 0 {
		t.Errorf("received %q", got)
	}
}

func TestCloseTimeout(t *testing.T) {
	h := newHost(t, &Options{CloseTimeout: 30 * time.Millisecond}, withListener(smallBuffers))
	w, p := h.dialWebSocket().narrow(), h.dialPolling()
	w.block(NewText(make([]byte, 64<<10)))
	w.rec.Close(ReasonForcedClose) // it does not read
	p.rec.Close(ReasonForcedClose) // it does not poll
	eventually(t, "sessions gone", func() bool { return h.ClientsCount() == 0 })
	w.rec.expectClosed(t, ReasonForcedClose)
	p.rec.expectClosed(t, ReasonForcedClose)
}

// A handler that blocks keeps neither its own session from ending nor others from anything, and Closed waits for it.
func TestCloseWhileHandlerBlocks(t *testing.T) {
	for name, end := range map[string]func(w *wsClient){
		"by the server":   func(w *wsClient) { w.rec.Close(ReasonForcedClose) },
		"by the client":   func(w *wsClient) { _ = w.nc.Close(); w.rec.endLocking(ReasonTransportClose, nil) },
		"as slow":         func(w *wsClient) { w.rec.endLocking(ReasonSlowConsumer, errSlowConsumer) },
		"by the deadline": func(w *wsClient) { w.rec.endLocking(ReasonPingTimeout, errPingTimeout) },
	} {
		t.Run(name, func(t *testing.T) {
			entered, leave := make(chan struct{}), make(chan struct{})
			h := newHost(t, nil, withMessage(func(r *recorder, data []byte, _ bool) error {
				if string(data) != "block" {
					return echo(r, data, false)
				}
				close(entered)
				<-leave
				return nil
			}))
			w, other := h.dialWebSocket(), h.dialWebSocket()
			w.send("4block")
			<-entered
			w.send("4more")
			end(w)
			<-w.rec.Done() // what a blocked handler can wait for
			other.send("4hello")
			other.expectText("4hello")
			if w.rec.isClosed() {
				t.Error("Closed before Message had returned")
			}
			close(leave)
			eventually(t, "Closed", w.rec.isClosed)
			if got := w.rec.got(); len(got) != 1 {
				t.Errorf("received %q after the end", got[1:])
			}
		})
	}
}

func TestPanicInMessage(t *testing.T) {
	h := newHost(t, &Options{CloseTimeout: 10 * patience}, withMessage(func(r *recorder, data []byte, binary bool) error {
		if string(data) == "panic" {
			panic("in Message")
		}
		return echo(r, data, binary)
	}))
	bystander := h.dialWebSocket()
	t.Run("WebSocket", func(t *testing.T) {
		w := h.dialWebSocket()
		w.write(frames(clientFrame(ws.OpText, true, "4a"), clientFrame(ws.OpText, true, "4panic"), clientFrame(ws.OpText, true, "4b")))
		w.expectText("4a")
		w.expectCloseFrame(1000)
		w.expectEnd()
		w.rec.expectClosed(t, ReasonForcedClose)
		if got := w.rec.got(); !slices.Equal(got, []string{"a", "panic"}) {
			t.Errorf("received %q", got)
		}
		_ = w.nc.Close()
	})
	// Regression: over polling the panic went to net/http, and the session stayed.
	t.Run("polling", func(t *testing.T) {
		p := h.dialPolling()
		if status, _ := p.post("4a\x1e4panic\x1e4b"); status != 400 {
			t.Errorf("status %d", status)
		}
		p.rec.expectClosed(t, ReasonForcedClose)
		if got := p.rec.got(); !slices.Equal(got, []string{"a", "panic"}) {
			t.Errorf("received %q", got)
		}
	})
	eventually(t, "sessions gone", func() bool { return h.ClientsCount() == 1 })
	bystander.send("4fine")
	bystander.expectText("4fine")
}

func TestServerClose(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := newHost(t, nil, withMessage(func(_ *recorder, data []byte, _ bool) error {
		if string(data) == "block" {
			close(entered)
			<-leave
		}
		return nil
	}))
	socket := h.dialWebSocket()
	_ = socket.rec.Send(NewText([]byte("last")))
	waiting := h.dialPolling()
	poll := waiting.getAsync(t.Context())
	absent := h.dialPolling()
	upgrading := h.dialPolling()
	probe := upgrading.probe()
	blocked := h.dialWebSocket()
	blocked.send("4block")
	<-entered

	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- h.Close(ctx) }()
	socket.expectText("4last")
	socket.expectCloseFrame(1000)
	socket.write(clientClose(1000))
	socket.expectEnd()
	if a := <-poll; a.body != "1" {
		t.Errorf("the waiting poll answered %+v", a)
	}
	probe.expectEnd()
	for _, r := range []*recorder{socket.rec, waiting.rec, absent.rec, upgrading.rec} {
		r.expectClosed(t, ReasonServerShutdown)
	}
	// New sessions are refused.
	if res, _ := h.request("GET", "EIO=4&transport=polling", ""); res.StatusCode != 503 {
		t.Errorf("handshake while closing: %d", res.StatusCode)
	}
	if w, err := h.tryDial("EIO=4&transport=websocket"); err == nil {
		w.expectEnd()
	}
	select {
	case err := <-result:
		t.Errorf("Close returned %v while sessions were left", err)
	default:
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	if n := h.ClientsCount(); n != 0 {
		t.Errorf("%d sessions left", n)
	}
	close(leave)
	blocked.rec.expectClosed(t, ReasonServerShutdown)
	if err := h.Close(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

func TestServerCloseWaitsForHandlers(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := newHost(t, nil, withMessage(func(*recorder, []byte, bool) error {
		close(entered)
		<-leave
		return nil
	}))
	w := h.dialWebSocket()
	w.send("4x")
	<-entered
	result := make(chan error, 1)
	go func() { result <- h.Close(t.Context()) }()
	w.expectCloseFrame(1000)
	_ = w.nc.Close()
	close(leave)
	if err := <-result; err != nil {
		t.Errorf("Close: %v", err)
	}
	if !w.rec.isClosed() {
		t.Error("Close returned before the handler was told")
	}
}

func TestCloseOfAnUnusedServer(t *testing.T) {
	if err := NewServer(nil, nil).Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Sessions that come, talk and go in every way at once, while the server closes.
func TestServerCloseUnderChurn(t *testing.T) {
	h := newHost(t, &Options{PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond, CloseTimeout: 20 * time.Millisecond}, withEcho)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w, err := h.tryDial("EIO=4&transport=websocket")
				if err != nil {
					continue
				}
				_, _ = w.nc.Write(frames(clientFrame(ws.OpText, true, "4x"), clientClose(1000))[:1+i])
				_ = w.nc.SetReadDeadline(time.Now().Add(time.Duration(i) * time.Millisecond))
				_, _ = w.br.ReadByte()
				_ = w.nc.Close()
			}
		})
	}
	eventually(t, "some sessions", func() bool { return len(h.all()) > 500 })
	if err := h.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	close(stop)
	wg.Wait()
}
