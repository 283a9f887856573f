package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// What the suites of both protocols say about the transports.
var enginesOf4 = []string{"engineio-v4", "socketio-v5"}

func eachEngine(t *testing.T, timing timing, f func(t *testing.T, h *host)) {
	for _, name := range enginesOf4 {
		t.Run(name, func(t *testing.T) { f(t, newHost(t, name, timing)) })
	}
}

func TestOpenPolling(t *testing.T) {
	for _, name := range enginesOf4 {
		t.Run(name, func(t *testing.T) {
			p := newHost(t, name, suites[name].timing).openPolling()
			checkOpened(t, p.opened, opened{"", []string{"websocket"}, 300, 200, 1_000_000})
		})
	}
}

func TestOpenWebSocket(t *testing.T) {
	for _, name := range enginesOf4 {
		t.Run(name, func(t *testing.T) {
			w := newHost(t, name, suites[name].timing).openWebSocket()
			checkOpened(t, w.opened, opened{"", []string{}, 300, 200, 1_000_000})
		})
	}
}

func TestOpenRefused(t *testing.T) {
	unknownTransport := refusal{0, "Transport unknown"}
	unsupported := refusal{5, "Unsupported protocol version"}
	badMethod := refusal{2, "Bad handshake method"}
	eachEngine(t, calm, func(t *testing.T, h *host) {
		for _, tt := range []struct {
			method, query string
			want          refusal
		}{
			{"GET", "transport=polling", unsupported},
			{"GET", "EIO=abc&transport=polling", unsupported},
			{"GET", "EIO=3&transport=polling", unsupported},
			{"GET", "EIO=4", unknownTransport},
			{"GET", "EIO=4&transport=abc", unknownTransport},
			{"POST", "EIO=4&transport=polling", badMethod},
			{"PUT", "EIO=4&transport=polling", badMethod},
			{"GET", "EIO=4&transport=polling&sid=nobody", refusal{1, "Session ID unknown"}},
			{"GET", "EIO=4&transport=websocket", refusal{3, "Bad request"}},
		} {
			h.expectRefused(h.request(tt.method, tt.query, ""), 400, tt.want)
		}
	})
}

func TestOpenWebSocketRefused(t *testing.T) {
	eachEngine(t, calm, func(t *testing.T, h *host) {
		for _, query := range []string{
			"transport=websocket",
			"EIO=abc&transport=websocket",
			"EIO=4",
			"EIO=4&transport=abc",
			"EIO=4&transport=polling",
			"EIO=4&transport=websocket&sid=nobody",
		} {
			if _, err := h.dial(query); err != ws.StatusError(400) {
				t.Errorf("%s: got %v, want HTTP 400", query, err)
			}
		}
	})
}

func TestEchoPolling(t *testing.T) {
	for name, payload := range map[string]string{
		"one packet":      "4hello",
		"several packets": "4test1\x1e4test2\x1e4test3",
		"text and binary": "4hello\x1ebAQIDBA==",
		"any language":    "4пойду спать 👍",
		"empty messages":  "4\x1eb\x1e4",
	} {
		t.Run(name, func(t *testing.T) {
			p := newHost(t, "engineio-v4", calm).openPolling()
			p.post(payload)
			p.expect(payload)
		})
	}
}

func TestEchoWebSocket(t *testing.T) {
	w := newHost(t, "engineio-v4", calm).openWebSocket()
	w.send("4hello")
	w.expect("4hello")
	w.sendBinary("\x01\x02\x03\x04")
	w.expectBinary("\x01\x02\x03\x04")
}

func TestInvalidPacket(t *testing.T) {
	t.Run("polling", func(t *testing.T) {
		p := newHost(t, "engineio-v4", calm).openPolling()
		if got := p.request("POST", p.query(), "abc"); got.status != 400 {
			t.Errorf("got %d %q, want 400", got.status, got.body)
		}
		p.expectGone()
	})
	t.Run("websocket", func(t *testing.T) {
		w := newHost(t, "engineio-v4", calm).openWebSocket()
		w.send("abc")
		w.expectClosed()
	})
}

// Two polls at a time are one too many: the first one gets a close packet.
func TestPollTwice(t *testing.T) {
	p := newHost(t, "engineio-v4", calm).openPolling()
	first, second := p.poll(context.Background()), p.poll(context.Background())
	got := []response{await(t, "first poll", first), await(t, "second poll", second)}
	if got[0].status != 200 { // they may have arrived in the other order
		got[0], got[1] = got[1], got[0]
	}
	if got[0].status != 200 || got[0].body != "1" || got[1].status != 400 {
		t.Errorf("got %d %q and %d", got[0].status, got[0].body, got[1].status)
	}
	p.expectGone()
}

// A client that gives up a poll is gone. One that gives up again and again finds that out.
func TestPollCancelled(t *testing.T) {
	p := newHost(t, "engineio-v4", calm).openPolling()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		got, err := p.try(ctx, "GET", p.query(), "")
		cancel()
		switch {
		case err != nil: // given up
		case got.status == 400:
			return
		default:
			t.Fatalf("got %d %q", got.status, got.body)
		}
	}
	t.Error("the session lives on")
}

func TestHeartbeat(t *testing.T) {
	often := timing{20 * time.Millisecond, patience, patience}
	t.Run("polling", func(t *testing.T) {
		eachEngine(t, often, func(_ *testing.T, h *host) {
			p := h.openPolling()
			for range 3 {
				p.expect("2")
				p.post("3")
			}
		})
	})
	t.Run("websocket", func(t *testing.T) {
		eachEngine(t, often, func(_ *testing.T, h *host) {
			w := h.openWebSocket()
			for range 3 {
				w.expect("2")
				w.send("3")
			}
		})
	})
}

func TestPingTimeout(t *testing.T) {
	soon := timing{20 * time.Millisecond, 20 * time.Millisecond, patience}
	t.Run("polling", func(t *testing.T) {
		eachEngine(t, soon, func(t *testing.T, h *host) {
			p := h.openPolling()
			deadline := time.Now().Add(patience)
			for got := p.get(); got.status == 200; got = p.get() {
				if got.body != "2" && got.body != "1" {
					t.Fatalf("got %q, want a ping and the end", got.body)
				}
				if time.Now().After(deadline) {
					t.Fatal("the session lives on")
				}
			}
		})
	})
	t.Run("websocket", func(t *testing.T) {
		eachEngine(t, soon, func(_ *testing.T, h *host) { h.openWebSocket().expectClosed() })
	})
}

func TestClose(t *testing.T) {
	t.Run("polling", func(t *testing.T) {
		eachEngine(t, calm, func(t *testing.T, h *host) {
			p := h.openPolling()
			answer := p.poll(context.Background())
			p.post("1")
			if got := await(t, "poll", answer); got.status != 200 || got.body != "6" {
				t.Errorf("got %d %q, want a noop packet", got.status, got.body)
			}
			p.expectGone()
		})
	})
	t.Run("websocket", func(t *testing.T) {
		eachEngine(t, calm, func(_ *testing.T, h *host) {
			w := h.openWebSocket()
			w.send("1")
			w.expectClosed()
		})
	})
}

// While a client tries a WebSocket its poll is let go, and afterwards nothing but the WebSocket counts.
func TestUpgrade(t *testing.T) {
	h := newHost(t, "engineio-v4", calm)
	p := h.openPolling()
	answer := p.poll(context.Background())
	w := h.probe(p)
	if got := await(t, "poll", answer); got.status != 200 || got.body != "6" {
		t.Errorf("got %d %q, want a noop packet", got.status, got.body)
	}
	p.post("4still polling")
	p.expect("4still polling")
	p.post("4sent before")
	w.send("5")
	w.expect("4sent before")
	w.send("4hello")
	w.expect("4hello")
}

func TestRequestsAfterUpgrade(t *testing.T) {
	eachEngine(t, calm, func(t *testing.T, h *host) {
		p := h.openPolling()
		w := h.probe(p)
		w.send("5")
		// The upgrade packet and what follows take different ways, so the server may see a probe's poll first.
		for got := p.get(); got.status != 400; got = p.get() {
			if got.status != 200 || got.body != "6" {
				t.Fatalf("poll: got %d %q, want 400", got.status, got.body)
			}
		}
		if got := p.request("POST", p.query(), "4x"); got.status != 400 {
			t.Errorf("POST: got %d %q, want 400", got.status, got.body)
		}
		second, err := h.dial("EIO=4&transport=websocket&sid=" + p.SID)
		if err != nil {
			t.Fatal(err)
		}
		second.expectClosed()
		if h.name == "engineio-v4" {
			w.send("4hello")
			w.expect("4hello")
		}
	})
}

// A client that does not finish its upgrade goes on polling.
func TestUpgradeAbandoned(t *testing.T) {
	h := newHost(t, "engineio-v4", calm)
	p := h.openPolling()
	h.probe(p).conn.Close()
	p.post("4hello")
	p.expect("4hello")
}

// What a polling client cannot have meant must not be taken for text.
func TestOctetStream(t *testing.T) {
	p := newHost(t, "engineio-v4", calm).openPolling()
	if got := p.request("POST", p.query(), "4hello", "Content-Type", "application/octet-stream"); got.status != 400 {
		t.Errorf("got %d %q, want 400", got.status, got.body)
	}
	p.expectGone()
}

func TestPollingIsNotCached(t *testing.T) {
	h := newHost(t, "engineio-v4", calm)
	got := h.request(http.MethodGet, "EIO=4&transport=polling", "")
	if cc := got.header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
		t.Errorf("Cache-Control is %q", cc)
	}
}
