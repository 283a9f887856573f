package engineio

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func bodyOf(s string) io.Reader {
	if s == "" {
		return nil
	}
	return strings.NewReader(s)
}

// opened is the content of an open packet.
type opened struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int      `json:"pingInterval"`
	PingTimeout  int      `json:"pingTimeout"`
	MaxPayload   int      `json:"maxPayload"`
}

func parseOpen(t testing.TB, packet string) opened {
	t.Helper()
	var o opened
	if !strings.HasPrefix(packet, "0") {
		t.Fatalf("%q is not an open packet", packet)
	}
	if err := json.Unmarshal([]byte(packet[1:]), &o); err != nil {
		t.Fatalf("open packet %q: %v", packet, err)
	}
	return o
}

// pollClient is a long-polling client that does what it is told, right or wrong.
type pollClient struct {
	*host
	opened
	rec     *recorder
	initial []string // packets that came with the handshake
}

func (h *host) dialPolling() *pollClient {
	h.t.Helper()
	res, body := h.request("GET", "EIO=4&transport=polling", "")
	if res.StatusCode != http.StatusOK {
		h.t.Fatalf("handshake: %d %s", res.StatusCode, body)
	}
	packets := strings.Split(body, "\x1e")
	p := &pollClient{host: h, opened: parseOpen(h.t, packets[0]), initial: packets[1:]}
	p.rec = h.session(p.SID)
	return p
}

func (p *pollClient) query() string { return "EIO=4&transport=polling&sid=" + p.SID }

func (p *pollClient) get() (int, string) {
	p.t.Helper()
	res, body := p.request("GET", p.query(), "")
	return res.StatusCode, body
}

func (p *pollClient) post(body string) (int, string) {
	p.t.Helper()
	res, answer := p.request("POST", p.query(), body, "Content-Type", "text/plain;charset=UTF-8")
	return res.StatusCode, answer
}

type answer struct {
	status int
	body   string
	err    error
}

// getAsync starts a poll and returns when it waits at the server.
func (p *pollClient) getAsync(ctx context.Context) <-chan answer {
	p.t.Helper()
	ch := make(chan answer, 1)
	go func() {
		res, body, err := p.try(ctx, "GET", p.query(), "")
		if err != nil {
			ch <- answer{err: err}
			return
		}
		ch <- answer{res.StatusCode, body, nil}
	}()
	eventually(p.t, "poll waits", p.rec.polling)
	return ch
}

func (s *Session) polling() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poll != nil
}

func (s *Session) probing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probe != nil
}

func (p *pollClient) expectGet(want string) {
	p.t.Helper()
	if status, body := p.get(); status != http.StatusOK || body != want {
		p.t.Fatalf("poll answered %d %q, want 200 %q", status, body, want)
	}
}

func (p *pollClient) expectPost(body string) {
	p.t.Helper()
	if status, got := p.post(body); status != http.StatusOK || got != "ok" {
		p.t.Fatalf("POST answered %d %q, want 200 ok", status, got)
	}
}

// wsClient is a WebSocket client that does what it is told, right or wrong.
type wsClient struct {
	opened
	t   testing.TB
	nc  net.Conn
	br  *bufio.Reader
	rec *recorder
}

// dialRaw opens a WebSocket with the given query.
func (h *host) dialRaw(query string) *wsClient {
	h.t.Helper()
	w, err := h.tryDial(query)
	if err != nil {
		h.t.Fatalf("WebSocket handshake: %v", err)
	}
	return w
}

func (h *host) tryDial(query string) (*wsClient, error) {
	d := ws.Dialer{Timeout: patience, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	nc, br, _, err := d.Dial(context.Background(), "ws"+strings.TrimPrefix(h.http.URL, "http")+"/engine.io/?"+query)
	if err != nil {
		return nil, err
	}
	if br == nil {
		br = bufio.NewReader(nc)
	}
	w := &wsClient{t: h.t, nc: nc, br: br}
	h.t.Cleanup(func() { _ = nc.Close() })
	return w, nil
}

// dialWebSocket opens a session over WebSocket.
func (h *host) dialWebSocket() *wsClient {
	h.t.Helper()
	w := h.dialRaw("EIO=4&transport=websocket")
	w.opened = parseOpen(h.t, w.text())
	w.rec = h.session(w.SID)
	return w
}

// frame returns the next frame. Control frames are not hidden.
func (w *wsClient) frame() (ws.Frame, error) {
	_ = w.nc.SetReadDeadline(time.Now().Add(patience))
	h, err := ws.ReadHeader(w.br)
	if err != nil {
		return ws.Frame{}, err
	}
	if h.Length > 64<<20 {
		return ws.Frame{}, fmt.Errorf("frame of %d bytes", h.Length)
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(w.br, payload)
	return ws.Frame{Header: h, Payload: payload}, err
}

func (w *wsClient) mustFrame() ws.Frame {
	w.t.Helper()
	f, err := w.frame()
	if err != nil {
		w.t.Fatalf("reading a frame: %v", err)
	}
	if f.Header.Masked || f.Header.Rsv != 0 || !f.Header.Fin {
		w.t.Fatalf("unexpected frame header %+v", f.Header)
	}
	return f
}

// text returns the next frame, which has to be text.
func (w *wsClient) text() string {
	w.t.Helper()
	f := w.mustFrame()
	if f.Header.OpCode != ws.OpText {
		w.t.Fatalf("got opcode %x %q, want text", f.Header.OpCode, f.Payload)
	}
	return string(f.Payload)
}

func (w *wsClient) expectText(want string) {
	w.t.Helper()
	if got := w.text(); got != want {
		w.t.Fatalf("got %.100q, want %.100q", got, want)
	}
}

// expectCloseFrame skips other frames until the close frame and checks its code (0: none) and that its reason is empty.
func (w *wsClient) expectCloseFrame(code ws.StatusCode) {
	w.t.Helper()
	for {
		f := w.mustFrame()
		if f.Header.OpCode != ws.OpClose {
			continue
		}
		got, reason := ws.ParseCloseFrameData(f.Payload)
		if len(f.Payload) == 0 {
			got = 0
		}
		if got != code || reason != "" {
			w.t.Errorf("closed with %d %q, want %d", got, reason, code)
		}
		return
	}
}

// expectEnd checks that the server sends nothing more.
func (w *wsClient) expectEnd() {
	w.t.Helper()
	f, err := w.frame()
	if err == nil {
		w.t.Errorf("got a frame %+v %.100q, want the end of the connection", f.Header, f.Payload)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		w.t.Error("the server keeps the connection")
	}
}

func (w *wsClient) write(b []byte) {
	w.t.Helper()
	_ = w.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := w.nc.Write(b); err != nil {
		w.t.Fatalf("writing: %v", err)
	}
}

func (w *wsClient) send(packet string) { w.t.Helper(); w.write(clientFrame(ws.OpText, true, packet)) }

func (w *wsClient) sendBinary(b string) { w.t.Helper(); w.write(clientFrame(ws.OpBinary, true, b)) }

// clientFrame returns a masked frame.
func clientFrame(op ws.OpCode, fin bool, payload string) []byte {
	f := ws.NewFrame(op, fin, []byte(payload))
	var mask [4]byte
	_, _ = rand.Read(mask[:])
	return ws.MustCompileFrame(ws.MaskFrameInPlaceWith(f, mask))
}

func clientClose(code ws.StatusCode) []byte {
	if code == 0 {
		return clientFrame(ws.OpClose, true, "")
	}
	return clientFrame(ws.OpClose, true, string(ws.NewCloseFrameBody(code, "")))
}

// decodePayload returns the messages of a polling payload as recorder would note them, without other packets.
func decodePayload(t testing.TB, payload string) (messages []string) {
	t.Helper()
	for packet := range strings.SplitSeq(payload, "\x1e") {
		switch {
		case strings.HasPrefix(packet, "b"):
			b, err := base64.StdEncoding.DecodeString(packet[1:])
			if err != nil {
				t.Errorf("packet %q: %v", packet, err)
			}
			messages = append(messages, "b:"+string(b))
		case strings.HasPrefix(packet, "4"):
			messages = append(messages, packet[1:])
		}
	}
	return messages
}
