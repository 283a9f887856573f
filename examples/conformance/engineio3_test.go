package main

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"
)

// openPolling3 opens a session with revision 3 of the protocol. Without binary, binary messages are base64.
func (h *host) openPolling3(binary bool) *polling {
	h.t.Helper()
	p := &polling{host: h, eio: "3"}
	if !binary {
		p.extra = "&b64=1"
	}
	got := h.request("GET", "EIO=3&transport=polling"+p.extra, "")
	length, packet, _ := strings.Cut(got.body, ":") // text, whatever the client can read
	if length != strconv.Itoa(len(packet)) {
		h.t.Errorf("payload %q is not %s long", got.body, length)
	}
	if got.status != 200 {
		h.t.Fatalf("handshake: %d %q", got.status, got.body)
	}
	p.opened = parseOpen(h.t, packet)
	return p
}

func (h *host) openWebSocket3() *webSocket {
	h.t.Helper()
	w := h.mustDial("EIO=3&transport=websocket")
	w.opened = parseOpen(h.t, w.text())
	return w
}

func TestOpen3(t *testing.T) {
	h := newHost(t, "engineio-v3", suites["engineio-v3"].timing)
	checkOpened(t, h.openPolling3(false).opened, opened{"", []string{"websocket"}, 300, 200, 1_000_000})
	checkOpened(t, h.openPolling3(true).opened, opened{"", []string{"websocket"}, 300, 200, 1_000_000})
	checkOpened(t, h.openWebSocket3().opened, opened{"", []string{}, 300, 200, 1_000_000})
}

func TestOpen3Refused(t *testing.T) {
	h := newHost(t, "engineio-v3", calm)
	h.expectRefused(h.request("GET", "EIO=3", ""), 400, refusal{0, "Transport unknown"})
	h.expectRefused(h.request("GET", "EIO=3&transport=abc", ""), 400, refusal{0, "Transport unknown"})
	h.expectRefused(h.request("POST", "EIO=3&transport=polling", ""), 400, refusal{2, "Bad handshake method"})
	for _, query := range []string{"EIO=3", "EIO=3&transport=abc"} {
		if _, err := h.dial(query); err == nil {
			t.Errorf("%s: got a WebSocket", query)
		}
	}
}

// A server for both revisions speaks each client's own.
func TestOpenBoth(t *testing.T) {
	h := newHost(t, "engineio-v3", calm)
	p := h.openPolling()
	p.post("4hello")
	p.expect("4hello")
}

func TestEchoPolling3(t *testing.T) {
	for name, tt := range map[string]struct {
		binary            bool
		payload, expected string
	}{
		"one packet":                {false, "6:4hello", "6:4hello"},
		"several packets":           {false, "6:4test16:4test26:4test3", "6:4test16:4test26:4test3"},
		"base64":                    {false, "6:4hello10:b4AQIDBA==", "6:4hello10:b4AQIDBA=="},
		"binary":                    {true, "6:4hello10:b4AQIDBA==", "\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04"},
		"text to a binary client":   {true, "6:4hello", "6:4hello"},
		"length in UTF-16":          {false, "4:4é👍", "4:4é👍"},
		"length in UTF-16, several": {false, "2:4é2:4x", "2:4é2:4x"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newHost(t, "engineio-v3", calm).openPolling3(tt.binary)
			p.post(tt.payload)
			p.expect(tt.expected)
		})
	}
}

// A client may send binary payloads, too.
func TestBinaryPayload3(t *testing.T) {
	p := newHost(t, "engineio-v3", calm).openPolling3(false)
	got := p.request("POST", p.query(), "\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04", "Content-Type", "application/octet-stream")
	if got.status != 200 || got.body != "ok" {
		t.Fatalf("got %d %q", got.status, got.body)
	}
	p.expect("6:4hello10:b4AQIDBA==")
}

func TestEchoWebSocket3(t *testing.T) {
	w := newHost(t, "engineio-v3", calm).openWebSocket3()
	w.send("4hello")
	w.expect("4hello")
	w.sendBinary("\x04\x01\x02\x03\x04")
	w.expectBinary("\x04\x01\x02\x03\x04")
	w.send("b4AQIDBA==")
	w.expectBinary("\x04\x01\x02\x03\x04")
}

func TestInvalidPacket3(t *testing.T) {
	h := newHost(t, "engineio-v3", calm)
	for _, payload := range []string{"abc", "3:4", "1:x", "0:", ":4", "99999999999999999999:4"} {
		p := h.openPolling3(false)
		if got := p.request("POST", p.query(), payload); got.status != 400 {
			t.Errorf("%q: got %d %q, want 400", payload, got.status, got.body)
		}
		p.expectGone()
	}
	w := h.openWebSocket3()
	w.send("abc")
	w.expectClosed()
}

func TestPollTwice3(t *testing.T) {
	p := newHost(t, "engineio-v3", calm).openPolling3(false)
	first, second := p.poll(context.Background()), p.poll(context.Background())
	got := []response{await(t, "first poll", first), await(t, "second poll", second)}
	if got[0].status != 200 {
		got[0], got[1] = got[1], got[0]
	}
	if got[0].status != 200 || got[0].body != "1:1" || got[1].status != 400 {
		t.Errorf("got %d %q and %d", got[0].status, got[0].body, got[1].status)
	}
	p.expectGone()
}

// In revision 3 it is the client that pings.
func TestHeartbeat3(t *testing.T) {
	h := newHost(t, "engineio-v3", calm)
	p := h.openPolling3(false)
	for range 3 {
		p.post("1:2")
		p.expect("1:3")
	}
	p.post("6:2probe")
	p.expect("6:3probe")
	w := h.openWebSocket3()
	for range 3 {
		w.send("2")
		w.expect("3")
	}
}

func TestPingTimeout3(t *testing.T) {
	h := newHost(t, "engineio-v3", timing{20 * time.Millisecond, 20 * time.Millisecond, 0})
	p := h.openPolling3(false)
	if got := p.get(); got.status != 400 && got.body != "1:1" { // it waits for the end, or comes after it
		t.Errorf("got %d %q", got.status, got.body)
	}
	if got := p.request("POST", p.query(), "1:2"); got.status != 400 {
		t.Errorf("ping of a closed session: got %d %q, want 400", got.status, got.body)
	}
	h.openWebSocket3().expectClosed()
}

func TestClose3(t *testing.T) {
	h := newHost(t, "engineio-v3", calm)
	p := h.openPolling3(false)
	answer := p.poll(context.Background())
	p.post("1:1")
	if got := await(t, "poll", answer); got.status != 200 || got.body != "1:6" {
		t.Errorf("got %d %q, want a noop packet", got.status, got.body)
	}
	p.expectGone()
	w := h.openWebSocket3()
	w.send("1")
	w.expectClosed()
}

func TestUpgrade3(t *testing.T) {
	h := newHost(t, "engineio-v3", calm)
	p := h.openPolling3(false)
	answer := p.poll(context.Background())
	w := h.probe(p)
	if got := await(t, "poll", answer); got.status != 200 || got.body != "1:6" {
		t.Errorf("got %d %q, want a noop packet", got.status, got.body)
	}
	p.post("7:4before")
	w.send("5")
	w.expect("4before")
	w.send("4hello")
	w.expect("4hello")
	p.expectGone()
	second, err := h.dial("EIO=3&transport=websocket&sid=" + p.SID)
	if err != nil {
		t.Fatal(err)
	}
	second.expectClosed()
	w.send("4still here")
	w.expect("4still here")
}
