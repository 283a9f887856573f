package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestGreeting(t *testing.T) {
	h := newHost(t, "engineio-client", calm)
	h.openWebSocket().expect("4hi")

	got := h.request("GET", "EIO=4&transport=polling", "")
	first, rest, _ := strings.Cut(got.body, "\x1e")
	p := &polling{host: h, opened: parseOpen(t, first), eio: "4"}
	if rest == "" {
		rest = p.get().body
	}
	if rest != "4hi" {
		t.Errorf("got %q, want the greeting", rest)
	}
}

func TestClientTiming(t *testing.T) {
	p := newHost(t, "engineio-client", suites["engineio-client"].timing).openPolling()
	checkOpened(t, p.opened, opened{"", []string{"websocket"}, 500, 20_000, 100})
}

// openGreeted opens a session and takes the greeting.
func (h *host) openGreeted() *webSocket {
	h.t.Helper()
	w := h.openWebSocket()
	w.expect("4hi")
	return w
}

// openPollingGreeted does so over polling, where the greeting comes with the handshake or behind it.
func (h *host) openPollingGreeted() *polling {
	h.t.Helper()
	got := h.request("GET", "EIO=4&transport=polling", "")
	first, _, greeted := strings.Cut(got.body, "\x1e")
	p := &polling{host: h, opened: parseOpen(h.t, first), eio: "4"}
	if !greeted {
		p.expect("4hi")
	}
	return p
}

func TestOracle(t *testing.T) {
	const utf8 = "4пойду спать всем спокойной ночи"
	h := newHost(t, "engineio-client", calm)

	w := h.openGreeted()
	w.send("4give binary")
	w.expectBinary("\x00\x01\x02\x03\x04")
	w.send("4give utf8")
	w.expect(utf8)
	w.send("4\U0001f1fa\U0001f1f8 and 👨‍👩‍👧‍👦")
	w.expect("4\U0001f1fa\U0001f1f8 and 👨‍👩‍👧‍👦")
	w.sendBinary("\x05\xff")
	w.expectBinary("\x05\xff")

	p := h.openPollingGreeted()
	p.post("4give binary\x1e4give utf8\x1ebBf8=\x1e4cash money €€€")
	p.expect("bAAECAwQ=\x1e" + utf8 + "\x1ebBf8=\x1e4cash money €€€")
}

// A client that cannot send binary frames, or does not want to, sends base64 over a WebSocket too.
func TestBase64OverWebSocket(t *testing.T) {
	h := newHost(t, "engineio-client", calm)
	w := h.mustDial("EIO=4&transport=websocket&b64=1")
	parseOpen(t, w.text())
	w.expect("4hi")
	w.send("bAAECAwQ=")
	got, op, err := w.read()
	if err != nil || op == ws.OpText && got != "bAAECAwQ=" || op == ws.OpBinary && got != "\x00\x01\x02\x03\x04" {
		t.Errorf("got %q (opcode %x, %v)", got, op, err)
	}
}

func TestHeadersOfPost(t *testing.T) {
	p := newHost(t, "engineio-client", calm).openPollingGreeted()
	if got := p.request("POST", p.query(), "4sendHeaders", "X-Custom", "a", "Content-Type", "text/plain;charset=UTF-8"); got.body != "ok" {
		t.Fatalf("got %d %q", got.status, got.body)
	}
	var headers map[string]string
	if body := p.get().body; json.Unmarshal([]byte(strings.TrimPrefix(body, "4")), &headers) != nil ||
		headers["x-custom"] != "a" || headers["content-type"] != "text/plain;charset=UTF-8" {
		t.Errorf("got %q", body)
	}
}

func TestDenied(t *testing.T) {
	h := newHost(t, "engineio-client", calm)
	h.expectRefused(h.request("GET", "EIO=4&transport=polling&deny", ""), 403, refusal{4, "Forbidden"})
	h.expectRefused(h.request("GET", "EIO=4&transport=polling&deny=1", ""), 403, refusal{4, "Forbidden"})
	if _, err := h.dial("EIO=4&transport=websocket&deny=1"); err != ws.StatusError(400) {
		t.Errorf("WebSocket: got %v, want HTTP 400", err)
	}
}

func TestUnknownSession(t *testing.T) {
	h := newHost(t, "engineio-client", calm)
	h.expectRefused(h.request("GET", "EIO=4&transport=polling&sid=abc", ""), 400, refusal{1, "Session ID unknown"})
	h.expectRefused(h.request("POST", "EIO=4&transport=polling&sid=abc", "4x"), 400, refusal{1, "Session ID unknown"})
	if _, err := h.dial("EIO=4&transport=websocket&sid=abc"); err != ws.StatusError(400) {
		t.Errorf("WebSocket: got %v, want HTTP 400", err)
	}
}

func TestCookies(t *testing.T) {
	h := newHost(t, "engineio-client", calm)
	got := h.request("GET", "EIO=4&transport=polling", "")
	var cookies []http.Cookie
	for _, c := range (&http.Response{Header: got.header}).Cookies() {
		cookies = append(cookies, *c)
	}
	if len(cookies) != 4 {
		t.Fatalf("got %q", got.header["Set-Cookie"])
	}
	if c := cookies[0]; c.Name != "1" || c.Value != "1" || c.MaxAge != 86_400 {
		t.Errorf("got %v", c)
	}
	if c := cookies[1]; c.Name != "2" || c.Value != "2" || c.Path != "/" || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode {
		t.Errorf("got %v", c)
	}
	if c := cookies[2]; c.Name != "3" || c.MaxAge >= 0 || !strings.Contains(c.Raw, "Max-Age=0") {
		t.Errorf("got %v", c)
	}
	if c := cookies[3]; c.Name != "4" || c.Expires.IsZero() || c.Expires.After(time.Now()) {
		t.Errorf("got %v", c)
	}

	// Later answers do not set them again.
	first, _, greeted := strings.Cut(got.body, "\x1e")
	p := &polling{host: h, opened: parseOpen(t, first), eio: "4"}
	if greeted {
		p.post("4x")
	}
	if set := p.get().header["Set-Cookie"]; set != nil {
		t.Errorf("a poll sets %q", set)
	}
}

// What is too large is refused, over polling without ending the session.
func TestTooLarge(t *testing.T) {
	h := newHost(t, "engineio-client", calm)
	limit := strings.Repeat("a", 99)

	p := h.openPollingGreeted()
	if got := p.request("POST", p.query(), "4"+limit+"a"); got.status != 413 || got.body != "" {
		t.Errorf("got %d %q, want 413 without a body", got.status, got.body)
	}
	p.post("4" + limit)
	p.expect("4" + limit)

	w := h.openGreeted()
	w.send("4" + limit)
	w.expect("4" + limit)
	w.send("4" + limit + "a")
	if code := w.expectClosed(); code != ws.StatusMessageTooBig {
		t.Errorf("closed with %d, want 1009", code)
	}
}

// A client that leaves in the middle of its upgrade gets what was sent before, and the close.
func TestCloseWhileUpgrading(t *testing.T) {
	h := newHost(t, "engineio-client", calm)
	p := h.openPollingGreeted()
	w := h.probe(p)
	w.send("5")
	w.send("4hello")
	w.expect("4hello")
	w.send("1")
	w.expectClosed()
	p.expectGone()
}
