package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// polling is a client of HTTP long-polling that does what it is told, right or wrong.
type polling struct {
	*host
	opened
	eio   string // the protocol's revision
	extra string // more of the query
}

// openPolling opens a session with revision 4 of the protocol.
func (h *host) openPolling() *polling {
	h.t.Helper()
	got := h.request("GET", "EIO=4&transport=polling", "")
	if got.status != 200 {
		h.t.Fatalf("handshake: %d %s", got.status, got.body)
	}
	first, _, _ := strings.Cut(got.body, "\x1e")
	return &polling{host: h, opened: parseOpen(h.t, first), eio: "4"}
}

func (p *polling) query() string { return "EIO=" + p.eio + "&transport=polling&sid=" + p.SID + p.extra }

func (p *polling) get() response { p.t.Helper(); return p.request("GET", p.query(), "") }

// post sends a payload and expects it to be taken.
func (p *polling) post(payload string) {
	p.t.Helper()
	if got := p.request("POST", p.query(), payload, "Content-Type", "text/plain;charset=UTF-8"); got.status != 200 || got.body != "ok" {
		p.t.Fatalf("POST %q: got %d %q, want 200 ok", payload, got.status, got.body)
	}
}

// expect polls until all of a payload has come, which may take several answers.
func (p *polling) expect(want string) {
	p.t.Helper()
	var got string
	for len(got) < len(want) {
		res := p.get()
		if res.status != 200 {
			p.t.Fatalf("poll: got %d %q after %q", res.status, res.body, got)
		}
		if got != "" && p.eio == "4" {
			got += "\x1e"
		}
		got += res.body
	}
	if got != want {
		p.t.Fatalf("got %q, want %q", got, want)
	}
}

// expectGone checks that the session does not exist any more.
func (p *polling) expectGone() {
	p.t.Helper()
	if got := p.get(); got.status != 400 {
		p.t.Errorf("poll of a closed session: got %d %q, want 400", got.status, got.body)
	}
}

// poll starts a GET whose answer will come from the channel.
func (p *polling) poll(ctx context.Context) <-chan response {
	answer := make(chan response, 1)
	go func() {
		got, err := p.try(ctx, "GET", p.query(), "")
		if err != nil {
			got.body = err.Error()
		}
		answer <- got
	}()
	return answer
}

func await[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("waited in vain: ", what)
	}
	return v
}

// webSocket is a WebSocket client that does what it is told, right or wrong.
type webSocket struct {
	opened
	t    testing.TB
	conn net.Conn
	r    io.Reader
}

// dial opens a WebSocket, which need not become a session.
func (h *host) dial(query string) (*webSocket, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, buffered, _, err := ws.Dial(ctx, "ws"+strings.TrimPrefix(h.url, "http")+"?"+query)
	if err != nil {
		return nil, err
	}
	h.t.Cleanup(func() { conn.Close() })
	w := &webSocket{t: h.t, conn: conn, r: conn}
	if buffered != nil {
		w.r = buffered
	} else {
		w.r = bufio.NewReader(conn)
	}
	return w, conn.SetDeadline(time.Now().Add(2 * patience))
}

func (h *host) mustDial(query string) *webSocket {
	h.t.Helper()
	w, err := h.dial(query)
	if err != nil {
		h.t.Fatal("WebSocket: ", err)
	}
	return w
}

// openWebSocket opens a session with revision 4 of the protocol.
func (h *host) openWebSocket() *webSocket {
	h.t.Helper()
	w := h.mustDial("EIO=4&transport=websocket")
	w.opened = parseOpen(h.t, w.text())
	return w
}

func (w *webSocket) send(text string) { w.t.Helper(); w.write(ws.OpText, text) }

func (w *webSocket) sendBinary(data string) { w.t.Helper(); w.write(ws.OpBinary, data) }

func (w *webSocket) write(op ws.OpCode, data string) {
	w.t.Helper()
	if err := wsutil.WriteClientMessage(w.conn, op, []byte(data)); err != nil {
		w.t.Fatalf("send %q: %v", data, err)
	}
}

func (w *webSocket) read() (string, ws.OpCode, error) {
	data, op, err := wsutil.ReadServerData(struct {
		io.Reader
		io.Writer
	}{w.r, w.conn})
	return string(data), op, err
}

// text returns the next message, which has to be text.
func (w *webSocket) text() string {
	w.t.Helper()
	got, op, err := w.read()
	if err != nil || op != ws.OpText {
		w.t.Fatalf("got %q (opcode %x, %v), want text", got, op, err)
	}
	return got
}

func (w *webSocket) expect(want string) {
	w.t.Helper()
	if got := w.text(); got != want {
		w.t.Fatalf("got %q, want %q", got, want)
	}
}

func (w *webSocket) expectBinary(want string) {
	w.t.Helper()
	got, op, err := w.read()
	if err != nil || op != ws.OpBinary || got != want {
		w.t.Fatalf("got %q (opcode %x, %v), want %q", got, op, err, want)
	}
}

// expectClosed checks that the server closes the connection, whatever it sends before, and returns the code that it
// closes it with, or 0.
func (w *webSocket) expectClosed() ws.StatusCode {
	w.t.Helper()
	for {
		_, _, err := w.read()
		var closed wsutil.ClosedError
		switch {
		case err == nil:
		case errors.As(err, &closed):
			return closed.Code
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
			return 0
		default:
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				w.t.Fatal("the server keeps the connection")
			}
			return 0 // reset
		}
	}
}

// probe upgrades the session p to the WebSocket, but for the last packet.
func (h *host) probe(p *polling) *webSocket {
	h.t.Helper()
	w := h.mustDial("EIO=" + p.eio + "&transport=websocket&sid=" + p.SID)
	w.send("2probe")
	w.expect("3probe")
	return w
}
