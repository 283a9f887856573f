package engineio

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/cors"
)

const upgradeHeaders = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// rawRequest sends a request as it stands and returns the answer.
func (h *host) rawRequest(method, query, headers string) (*http.Response, string) {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.http.Listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, method+" /engine.io/?"+query+" HTTP/1.1\r\nHost: test\r\n"+headers+"\r\n"); err != nil {
		h.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res, string(body)
}

func TestRefusedRequests(t *testing.T) {
	var mu sync.Mutex
	var codes []ErrorCode
	deny := func(r *http.Request) error {
		if r.URL.Query().Has("deny") {
			return errors.New("not today")
		}
		return nil
	}
	h := newHost(t, &Options{AllowRequest: deny, ConnectionError: func(_ *http.Request, code ErrorCode, err error) {
		mu.Lock()
		defer mu.Unlock()
		codes = append(codes, code)
		if err == nil {
			t.Errorf("code %d without an error", code)
		}
	}})
	polling, socket := h.dialPolling().SID, h.dialWebSocket().SID
	tests := []struct {
		name, method, query, headers string
		status                       int
		code                         ErrorCode
		message                      string
	}{
		{"no transport", "GET", "EIO=4", "", 400, 0, "Transport unknown"},
		{"unknown transport", "GET", "EIO=4&transport=pigeon", "", 400, 0, "Transport unknown"},
		{"property of Object", "GET", "EIO=4&transport=constructor", "", 400, 0, "Transport unknown"},
		{"unknown transport, upgrade", "GET", "EIO=4&transport=pigeon", upgradeHeaders, 400, 0, "Transport unknown"},
		{"unknown sid", "GET", "EIO=4&transport=polling&sid=nope", "", 400, 1, "Session ID unknown"},
		{"unknown sid, POST", "POST", "EIO=4&transport=polling&sid=nope", "Content-Length: 2\r\n\r\n4a", 400, 1, "Session ID unknown"},
		{"unknown sid, upgrade", "GET", "EIO=4&transport=websocket&sid=nope", upgradeHeaders, 400, 1, "Session ID unknown"},
		{"handshake by POST", "POST", "EIO=4&transport=polling", "Content-Length: 0\r\n", 400, 2, "Bad handshake method"},
		{"handshake by OPTIONS", "OPTIONS", "EIO=4&transport=polling", "", 400, 2, "Bad handshake method"},
		{"WebSocket without upgrade", "GET", "EIO=4&transport=websocket", "", 400, 3, "Bad request"},
		{"polling with upgrade", "GET", "EIO=4&transport=polling", upgradeHeaders, 400, 3, "Bad request"},
		{"wrong transport", "GET", "EIO=4&transport=polling&sid=" + socket, "", 400, 3, "Bad request"},
		{"wrong transport, POST", "POST", "EIO=4&transport=polling&sid=" + socket, "Content-Length: 2\r\n\r\n4a", 400, 3, "Bad request"},
		{"session's transport is polling", "GET", "EIO=4&transport=websocket&sid=" + polling, "", 400, 3, "Bad request"},
		{"unknown method", "PUT", "EIO=4&transport=polling&sid=" + polling, "", 400, 3, "Bad request"},
		{"forbidden", "GET", "EIO=4&transport=polling&deny=1", "", 403, 4, "not today"},
		{"forbidden, upgrade", "GET", "EIO=4&transport=websocket&deny=1", upgradeHeaders, 400, 4, "not today"},
		{"no version", "GET", "transport=polling", "", 400, 5, "Unsupported protocol version"},
		{"version 3", "GET", "EIO=3&transport=polling", "", 400, 5, "Unsupported protocol version"},
		{"version 5", "GET", "EIO=5&transport=websocket", upgradeHeaders, 400, 5, "Unsupported protocol version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mu.Lock()
			codes = nil
			mu.Unlock()
			res, body := h.rawRequest(tt.method, tt.query, tt.headers)
			if res.StatusCode != tt.status {
				t.Errorf("status %d, want %d", res.StatusCode, tt.status)
			}
			mu.Lock()
			if len(codes) != 1 || codes[0] != tt.code {
				t.Errorf("ConnectionError was told %v, want %d once", codes, tt.code)
			}
			mu.Unlock()
			if strings.HasPrefix(tt.headers, "Connection") {
				if body != tt.message || !res.Close {
					t.Errorf("answer %q (close %v), want %q", body, res.Close, tt.message)
				}
				return
			}
			var answer struct {
				Code    *ErrorCode
				Message string
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Code == nil {
				t.Fatalf("answer %q: %v", body, err)
			}
			if *answer.Code != tt.code || answer.Message != tt.message || res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("answer %s (%s)", body, res.Header.Get("Content-Type"))
			}
		})
	}
	if n := h.ClientsCount(); n != 2 {
		t.Errorf("%d sessions, want the two from before", n)
	}
}

func TestBrokenWebSocketHandshake(t *testing.T) {
	h := newHost(t, nil)
	for name, headers := range map[string]string{
		"no key":      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
		"short key":   "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: abc\r\n",
		"old version": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
		"no Upgrade":  "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
	} {
		if res, _ := h.rawRequest("GET", "EIO=4&transport=websocket", headers); res.StatusCode/100 != 4 {
			t.Errorf("%s: status %d", name, res.StatusCode)
		}
	}
	if n := len(h.all()); n != 0 {
		t.Errorf("%d sessions were accepted", n)
	}
}

func TestOpenPacket(t *testing.T) {
	h := newHost(t, &Options{PingInterval: 300 * time.Second, PingTimeout: 200 * time.Second, MaxHTTPBufferSize: 1234,
		InitialPacket: "welcome"})
	p := h.dialPolling()
	if len(p.SID) != 20 || len(p.Upgrades) != 1 || p.Upgrades[0] != WebSocket ||
		p.PingInterval != 300_000 || p.PingTimeout != 200_000 || p.MaxPayload != 1234 {
		t.Errorf("polling: %+v", p.opened)
	}
	if len(p.initial) != 1 || p.initial[0] != "4welcome" {
		t.Errorf("initial packets %q", p.initial)
	}
	w := h.dialWebSocket()
	if w.Upgrades == nil || len(w.Upgrades) != 0 {
		t.Errorf("WebSocket: upgrades %v, want an empty list", w.Upgrades)
	}
	w.expectText("4welcome")
	if w.rec.Transport() != WebSocket || p.rec.Transport() != Polling {
		t.Errorf("transports %q, %q", w.rec.Transport(), p.rec.Transport())
	}
}

func TestTransportsOption(t *testing.T) {
	t.Run("WebSocket alone", func(t *testing.T) {
		h := newHost(t, &Options{Transports: []string{WebSocket}})
		if res, body := h.request("GET", "EIO=4&transport=polling", ""); res.StatusCode != 400 || !strings.Contains(body, `"code":0`) {
			t.Errorf("polling: %d %s", res.StatusCode, body)
		}
		h.dialWebSocket()
	})
	t.Run("polling alone", func(t *testing.T) {
		h := newHost(t, &Options{Transports: []string{Polling}})
		if p := h.dialPolling(); len(p.Upgrades) != 0 {
			t.Errorf("upgrades %v", p.Upgrades)
		}
		if _, err := h.tryDial("EIO=4&transport=websocket"); err == nil {
			t.Error("WebSocket was accepted")
		}
	})
	t.Run("no upgrades", func(t *testing.T) {
		h := newHost(t, &Options{DisableUpgrades: true})
		p := h.dialPolling()
		if len(p.Upgrades) != 0 {
			t.Errorf("upgrades %v", p.Upgrades)
		}
		if _, err := h.tryDial("EIO=4&transport=websocket&sid=" + p.SID); err == nil {
			t.Error("the upgrade was accepted")
		}
		h.dialWebSocket()
	})
}

func TestUpgradesOf(t *testing.T) {
	for _, test := range []struct {
		opts      Options
		transport string
		want      string
	}{
		{Options{}, Polling, `["websocket"]`},
		{Options{Transports: allTransports}, Polling, `["websocket","webtransport"]`},
		{Options{Transports: []string{WebTransport, Polling}}, Polling, `["webtransport"]`},
		{Options{Transports: allTransports, DisableUpgrades: true}, Polling, `[]`},
		{Options{Transports: allTransports}, WebSocket, `[]`},
		{Options{Transports: allTransports}, WebTransport, `[]`},
	} {
		opts := test.opts.withDefaults()
		if got := opts.upgradesOf(test.transport); got != test.want {
			t.Errorf("%s with %v: %s, want %s", test.transport, test.opts.Transports, got, test.want)
		}
	}
}

// A stream is the only way to WebTransport.
func TestWebTransportOverHTTP(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports})
	p := h.dialPolling()
	for _, query := range []string{"EIO=4&transport=webtransport", "EIO=4&transport=webtransport&sid=" + p.SID} {
		if res, body := h.request("GET", query, ""); res.StatusCode != 400 || !strings.Contains(body, `"code":0`) {
			t.Errorf("%s: %d %s", query, res.StatusCode, body)
		}
	}
}

func TestHandshakeCopiesTheRequest(t *testing.T) {
	h := newHost(t, nil)
	_, body := h.request("GET", "EIO=4&transport=polling&token=a%20b", "", "X-Custom", "yes", "Cookie", "twineid=42; other=1")
	hs := h.session(parseOpen(t, body).SID).Handshake()
	if got := hs.Query().Get("token"); got != "a b" {
		t.Errorf("query %q", got)
	}
	if got := hs.Header().Get("X-Custom"); got != "yes" {
		t.Errorf("header %q", got)
	}
	if got, ok := hs.Cookie("twineid"); got != "42" || !ok {
		t.Errorf("cookie %q %v", got, ok)
	}
	if _, ok := hs.Cookie("absent"); ok {
		t.Error("found a cookie that is not there")
	}
	if hs.URL().Path != "/engine.io/" || hs.Secure || hs.Protocol != 4 || hs.RemoteAddr == "" || hs.Host == "" || hs.Time.IsZero() {
		t.Errorf("%+v", hs)
	}
}

func TestCookie(t *testing.T) {
	h := newHost(t, &Options{Cookie: &http.Cookie{Name: "io", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}})
	res, body := h.request("GET", "EIO=4&transport=polling", "")
	sid := parseOpen(t, body).SID
	if got, want := res.Header.Get("Set-Cookie"), "io="+sid+"; Path=/; HttpOnly; SameSite=Lax"; got != want {
		t.Errorf("cookie %q, want %q", got, want)
	}
	res, _ = h.request("POST", "EIO=4&transport=polling&sid="+sid, "4x")
	if got := res.Header.Get("Set-Cookie"); got != "" {
		t.Errorf("cookie %q after the handshake", got)
	}
}

func TestHeaderHooks(t *testing.T) {
	h := newHost(t, &Options{
		InitialHeaders: func(h http.Header, _ *http.Request) { h.Set("X-Initial", "1") },
		Headers:        func(h http.Header, _ *http.Request) { h.Set("X-Every", "1") },
	})
	res, body := h.request("GET", "EIO=4&transport=polling", "")
	if res.Header.Get("X-Initial") != "1" || res.Header.Get("X-Every") != "1" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("handshake: %v", res.Header)
	}
	res, _ = h.request("POST", "EIO=4&transport=polling&sid="+parseOpen(t, body).SID, "4x")
	if res.Header.Get("X-Initial") != "" || res.Header.Get("X-Every") != "1" {
		t.Errorf("POST: %v", res.Header)
	}
	res, _ = h.rawRequest("GET", "EIO=4&transport=websocket", upgradeHeaders)
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("X-Every") != "1" {
		t.Errorf("WebSocket: %d %v", res.StatusCode, res.Header)
	}
}

func TestCORS(t *testing.T) {
	h := newHost(t, &Options{CORS: &cors.Options{AllowedOrigins: []string{"https://app.example"}, AllowCredentials: true,
		AllowedHeaders: []string{"X-Token"}}})
	res, _ := h.request("OPTIONS", "EIO=4&transport=polling", "", "Origin", "https://app.example",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-token")
	if res.StatusCode != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != "https://app.example" ||
		res.Header.Get("Access-Control-Allow-Credentials") != "true" || res.Header.Get("Access-Control-Allow-Methods") != "POST" {
		t.Errorf("preflight: %d %v", res.StatusCode, res.Header)
	}
	res, _ = h.request("GET", "EIO=4&transport=polling", "", "Origin", "https://app.example")
	if res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("handshake: %d %v", res.StatusCode, res.Header)
	}
	// An error has to carry the headers too, or the page cannot read the code.
	res, _ = h.request("GET", "EIO=4&transport=pigeon", "", "Origin", "https://app.example")
	if res.StatusCode != 400 || res.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("error: %d %v", res.StatusCode, res.Header)
	}
	res, _ = h.request("GET", "EIO=4&transport=polling", "", "Origin", "https://evil.example")
	if res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("other origin: %v", res.Header)
	}
}

func TestAllowRequestMayBlock(t *testing.T) {
	entered, gone := make(chan struct{}), make(chan struct{})
	h := newHost(t, &Options{AllowRequest: func(r *http.Request) error {
		close(entered)
		<-r.Context().Done()
		close(gone)
		return r.Context().Err()
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = h.try(ctx, "GET", "EIO=4&transport=polling", "")
	}()
	<-entered
	cancel()
	<-gone
	<-done
	if n := len(h.all()); n != 0 {
		t.Errorf("%d sessions were accepted", n)
	}
}

// Regression: the session of a handler that closed it while being accepted stayed until CloseTimeout, because the
// handshake had already carried the close packet.
func TestCloseInAccept(t *testing.T) {
	h := newHost(t, &Options{CloseTimeout: 10 * patience}, withAccept(func(r *recorder) {
		_ = r.Send(NewText([]byte("bye")))
		r.Close(ReasonForcedClose)
	}))
	t.Run("polling", func(t *testing.T) {
		_, body := h.request("GET", "EIO=4&transport=polling", "")
		if !strings.HasSuffix(body, "\x1e4bye\x1e1") {
			t.Errorf("handshake %q", body)
		}
		eventually(t, "session gone", func() bool { return h.ClientsCount() == 0 })
	})
	t.Run("WebSocket", func(t *testing.T) {
		w := h.dialWebSocket()
		w.expectText("4bye")
		w.expectCloseFrame(1000)
		w.write(clientClose(1000))
		eventually(t, "session gone", func() bool { return h.ClientsCount() == 0 })
	})
}

func TestPanicInAccept(t *testing.T) {
	h := newHost(t, &Options{CloseTimeout: 10 * patience}, withAccept(func(r *recorder) {
		if r.Handshake().Query().Has("panic") {
			r.mu.Lock()
			r.closed++ // its handler never gets to the session
			r.mu.Unlock()
			panic("in accept")
		}
	}))
	if res, body := h.request("GET", "EIO=4&transport=polling&panic=1", ""); !strings.HasSuffix(body, "\x1e1") {
		t.Errorf("answer %d %q", res.StatusCode, body)
	}
	w := h.dialRaw("EIO=4&transport=websocket&panic=1")
	parseOpen(t, w.text())
	w.expectCloseFrame(1000)
	w.write(clientClose(1000))
	eventually(t, "sessions gone", func() bool { return h.ClientsCount() == 0 })
	h.dialWebSocket().send("4still alive")
}
