//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestBadRequests: each gets an answer that says what is wrong, and nobody else notices.
func TestBadRequests(t *testing.T) {
	d := startDaemon(t)
	watchBystander(t, d)
	key := http.Header{"Authorization": {d.key}}
	const engine = "/socket.io/?EIO=4&transport="
	for name, test := range map[string]struct {
		method, path string
		header       http.Header
		body         string
		status       int
		want         string // in the body
	}{
		"no key":                  {"POST", "/api/twine", nil, `{}`, 401, "no API key"},
		"wrong key":               {"POST", "/api/twine", http.Header{"Authorization": {"wrong"}}, `{}`, 401, "wrong API key"},
		"GET on publish":          {"GET", "/api/twine", key, "", 405, ""},
		"POST on set-cookie":      {"POST", "/set-cookie", nil, "", 405, ""},
		"not JSON":                {"POST", "/api/twine", key, "room_id=r", 400, "not valid JSON"},
		"empty body":              {"POST", "/api/twine", key, "", 400, "not valid JSON"},
		"room missing":            {"POST", "/api/twine", key, `{"payload":{}}`, 400, "room_id is missing"},
		"room empty":              {"POST", "/api/twine", key, `{"room_id":"","payload":{}}`, 400, "room_id is empty"},
		"room a number":           {"POST", "/api/twine", key, `{"room_id":7,"payload":{}}`, 400, "room_id is not a string"},
		"payload missing":         {"POST", "/api/twine", key, `{"room_id":"r"}`, 400, "payload is missing"},
		"payload a string":        {"POST", "/api/twine", key, `{"room_id":"r","payload":"x"}`, 400, "payload is not an object"},
		"payload nested too deep": {"POST", "/api/twine", key, `{"room_id":"r","payload":{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}}`, 400, "nested too deep"},
		"unknown keys":            {"POST", "/api/twine", key, `{"room_id":"r","payload":{},"x":1,"__proto__":{}}`, 201, "ok"},
		"10 MB of JSON":           {"POST", "/api/twine", key, `{"room_id":"r","payload":{"x":"` + strings.Repeat("x", 10_000_000) + `"}}`, 413, "larger than"},
		"10 MB and a wrong key":   {"POST", "/api/twine", nil, strings.Repeat("x", 10_000_000), 401, "no API key"},
		"unknown session":         {"GET", engine + "polling&sid=unknown", nil, "", 400, `{"code":1,"message":"Session ID unknown"}`},
		"unknown session, POST":   {"POST", engine + "polling&sid=unknown", nil, "40", 400, `{"code":1,"message":"Session ID unknown"}`},
		"unknown transport":       {"GET", engine + "pigeon", nil, "", 400, `{"code":0,"message":"Transport unknown"}`},
		"no transport":            {"GET", "/socket.io/?EIO=4", nil, "", 400, `{"code":0,"message":"Transport unknown"}`},
		"POST as handshake":       {"POST", engine + "polling", nil, "40", 400, `{"code":2,"message":"Bad handshake method"}`},
		"no WebSocket handshake":  {"GET", engine + "websocket", nil, "", 400, `{"code":3,"message":"Bad request"}`},
		"old protocol":            {"GET", "/socket.io/?EIO=3&transport=polling", nil, "", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		"large header":            {"GET", "/", http.Header{"X-Large": {strings.Repeat("x", 100_000)}}, "", 431, ""},
	} {
		t.Run(name, func(t *testing.T) {
			response, text := d.do(t, test.method, test.path, test.header, strings.NewReader(test.body))
			if response.StatusCode != test.status || !strings.Contains(text, test.want) || len(text) > 200 {
				t.Errorf("got %s %.200q, want %d with %q", response.Status, text, test.status, test.want)
			}
			if test.status == 405 && response.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
}

// TestBadPolling sends what no client would, within a session over polling. The session ends, unless the request was
// refused unread for its size.
func TestBadPolling(t *testing.T) {
	d := startDaemon(t)
	watchBystander(t, d)
	for name, test := range map[string]struct {
		contentType, body string
		status            int
	}{
		"oversized":          {"text/plain", "4" + strings.Repeat("x", 1_000_001), 413},
		"10 MB":              {"text/plain", "4" + strings.Repeat("x", 10_000_000), 413},
		"binary body":        {"application/octet-stream", "\x04\x00", 400},
		"unknown packet":     {"text/plain", "9", 0},
		"ping by the client": {"text/plain", "2", 0},
		"bare event":         {"text/plain", "42", 0},
		"bare ack":           {"text/plain", "43", 0},
		"bad base64":         {"text/plain", "b!!!", 0},
		"binary, not asked":  {"text/plain", "bAAAA", 0},
		"empty packets":      {"text/plain", "\x1e\x1e\x1e", 0},
		"invalid UTF-8":      {"text/plain", "42[\"\xff\"]", 0},
	} {
		t.Run(name, func(t *testing.T) {
			sid := openPolling(t, d)
			session := "/socket.io/?EIO=4&transport=polling&sid=" + sid
			response, text := d.do(t, "POST", session, http.Header{"Content-Type": {test.contentType}}, strings.NewReader(test.body))
			if test.status != 0 && response.StatusCode != test.status || response.StatusCode >= 500 {
				t.Errorf("got %s %.200q, want %d", response.Status, text, test.status)
			}
			if test.status == 413 {
				if text != "" {
					t.Errorf("413 with body %.200q", text)
				}
				if response, text := d.do(t, "POST", session, nil, strings.NewReader("3")); response.StatusCode != 200 {
					t.Errorf("the session is over: %s %s", response.Status, text)
				}
				return
			}
			eventually(t, "the session is gone", func() bool {
				response, text := d.do(t, "GET", session, nil, nil)
				return response.StatusCode == 400 && strings.Contains(text, `"code":1`)
			})
		})
	}
}

// openPolling opens a session over polling, connected to the main namespace.
func openPolling(t *testing.T, d *daemon) (sid string) {
	t.Helper()
	_, text := d.do(t, "GET", "/socket.io/?EIO=4&transport=polling", nil, nil)
	if _, err := fmt.Sscanf(text, `0{"sid":%q`, &sid); err != nil {
		t.Fatalf("handshake %q: %v", text, err)
	}
	session := "/socket.io/?EIO=4&transport=polling&sid=" + sid
	if response, text := d.do(t, "POST", session, nil, strings.NewReader("40")); response.StatusCode != 200 || text != "ok" {
		t.Fatalf("POST: %s %q", response.Status, text)
	}
	if _, text := d.do(t, "GET", session, nil, nil); !strings.HasPrefix(text, `40{"sid":"`) {
		t.Fatalf("poll: %q", text)
	}
	return sid
}

// TestNoHTTP: whatever comes in on the port, it is answered or dropped, and in time.
func TestNoHTTP(t *testing.T) {
	d := startDaemon(t)
	watchBystander(t, d)
	for name, test := range map[string]struct{ sent, want string }{
		"noise":         {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},
		"no host":       {"GET / HTTP/1.1\r\n\r\n", "400"},
		"bad chunk":     {"POST /api/twine HTTP/1.1\r\nHost: x\r\nAuthorization: " + d.key + "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
		"two lengths":   {"POST /api/twine HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
		"slow, no line": {"GET / HTT", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", d.host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			if _, err := conn.Write([]byte(test.sent)); err != nil {
				t.Fatal(err)
			}
			status, err := bufio.NewReader(conn).ReadString('\n')
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Fatal("neither answered nor dropped")
			}
			if !strings.Contains(status, test.want) {
				t.Errorf("got %q, %v", status, err)
			}
		})
	}
}
