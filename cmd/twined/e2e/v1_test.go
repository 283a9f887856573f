//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// metric returns the value of a metric without labels.
func metric(t *testing.T, d *daemon, name string) string {
	t.Helper()
	response, text := d.do(t, "GET", "/metrics", http.Header{"Authorization": {"Bearer " + d.key}}, nil)
	if response.StatusCode != 200 {
		t.Fatalf("metrics: %s", response.Status)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("there is no metric %s", name)
	return ""
}

// v1 asks the new interface, wants the given status, and decodes the answer into v unless that is nil.
func v1(t *testing.T, d *daemon, method, path, body string, status int, v any) {
	t.Helper()
	response, text := d.do(t, method, "/v1/"+path, http.Header{"Authorization": {"Bearer " + d.key}}, strings.NewReader(body))
	if response.StatusCode != status {
		t.Fatalf("%s /v1/%s: %s %s", method, path, response.Status, text)
	}
	if status >= 400 && response.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s /v1/%s: %s", method, path, response.Header.Get("Content-Type"))
	}
	if v != nil {
		if err := json.Unmarshal([]byte(text), v); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// TestV1 uses every route, with a stock client on the other side.
func TestV1(t *testing.T) {
	d := startDaemon(t)
	n := startNode(t, "subscriber.mjs", d.url(), `{"package": "socket.io-client", "rooms": ["news/today", "orders"]}`)
	n.waitEvent("roomJoined", 2)
	id := n.waitEvent("connect", 1).text(1)

	var sent struct{ Results []struct{ Offset string } }
	v1(t, d, "POST", "publish", `{"messages": [
		{"rooms": ["news/today", "orders"], "event": "headline", "args": ["Zażółć", {"n": 1}]},
		{"room": "orders", "data": {"n": 2}}, {"room": "nobody", "data": 3}]}`, 201, &sent)
	headline, order := n.waitEvent("headline", 1), n.waitEvent("message", 1)
	if len(headline) != 4 || headline.text(1) != "Zażółć" || headline.text(3) != sent.Results[0].Offset ||
		string(order[1]) != `{"n":2}` || order.text(2) != sent.Results[1].Offset {
		t.Errorf("received %s and %s, sent %+v", headline, order, sent)
	}
	var page historyPage
	v1(t, d, "GET", "rooms/news%2Ftoday/history", "", 200, &page)
	if len(page.Entries) != 1 || page.Entries[0].Offset != sent.Results[0].Offset || page.More {
		t.Errorf("history %+v", page)
	}
	var rooms struct {
		Rooms []struct {
			Room    string
			Sockets int
		}
	}
	v1(t, d, "GET", "rooms", "", 200, &rooms)
	if fmt.Sprint(rooms.Rooms) != "[{news/today 1} {orders 1}]" {
		t.Errorf("rooms are %v", rooms)
	}
	var one struct{ Sockets int }
	v1(t, d, "GET", "rooms/orders", "", 200, &one)
	var in struct{ Sockets []string }
	v1(t, d, "GET", "rooms/orders/sockets", "", 200, &in)
	if one.Sockets != 1 || fmt.Sprint(in.Sockets) != "["+id+"]" {
		t.Errorf("in the room are %d: %q, want %s", one.Sockets, in.Sockets, id)
	}
	if got := roomsOf(t, d, id); fmt.Sprint(got) != "[news/today orders]" {
		t.Errorf("the socket is in %q", got)
	}
	v1(t, d, "DELETE", "sockets/"+id, "", 204, nil)
	if reason := n.waitEvent("disconnect", 1).text(1); reason != "io server disconnect" {
		t.Errorf("the client is disconnected with %q", reason)
	}
	v1(t, d, "GET", "sockets/"+id, "", 404, nil)
	v1(t, d, "GET", "nothing", "", 404, nil)
	v1(t, d, "PUT", "publish", "", 405, nil)
	v1(t, d, "POST", "publish", `{"room": "r", "event": "disconnect"}`, 400, nil)
}

// TestIdempotencyKey sends messages again, also after a restart, by either interface.
func TestIdempotencyKey(t *testing.T) {
	d := launch(t, t.TempDir())
	key := func(key string, keys ...string) http.Header {
		return http.Header{"Authorization": {d.key}, "Idempotency-Key": append(keys, key)}
	}
	send := func(path, body string, header http.Header, status int) {
		t.Helper()
		if response, text := d.do(t, "POST", path, header, strings.NewReader(body)); response.StatusCode != status {
			t.Errorf("%s %s with %q: %s %s, want %d", path, body, header["Idempotency-Key"], response.Status, text, status)
		}
	}
	listener := dialRaw(t, d, "")
	listener.subscribe("r")
	const message, other = `{"room_id":"r","payload":{"n":1,"a":{"b":[1,2]}}}`, `{"room":"r","data":{"n":2}}`
	both := func() {
		t.Helper()
		send("/api/twine", message, key("first"), 201)
		send("/api/twine", ` { "payload" : {"a":{"b":[1,2]}, "n":1}, "room_id":"r" } `, key("first"), 201)
		send("/v1/publish", other, key("second"), 201)
		send("/v1/publish", `{"rooms":["r"],"args":[{"n":2}],"id":"second"}`, http.Header{"Authorization": {d.key}}, 201)
		for _, wrong := range []string{`{"room_id":"q","payload":{"n":1,"a":{"b":[1,2]}}}`, `{"room_id":"r","payload":{"n":1,"a":{"b":[2,1]}}}`, `{"room_id":"r","payload":{}}`} {
			send("/api/twine", wrong, key("first"), 422)
			send("/api/twine", wrong, key("second"), 422)
		}
		for _, wrong := range []string{`{"room":"q","data":{"n":2}}`, `{"room":"r","data":{"n":3}}`, `{"room":"r","event":"x","data":{"n":2}}`} {
			send("/v1/publish", wrong, key("second"), 422)
			send("/v1/publish", wrong, key("first"), 422)
		}
		for _, header := range []http.Header{key(""), key(strings.Repeat("k", 256)), key("a", "b"), key("first", "first")} {
			send("/api/twine", message, header, 400)
			send("/v1/publish", other, header, 400)
		}
	}
	both()
	d.kill()
	d = d.again()
	both()
	d.stop()
	d = d.again()
	both()
	page := history(t, d, "r", "")
	if len(page.Entries) != 2 || page.Entries[0].n(t) != 1 || page.Entries[1].n(t) != 2 {
		t.Errorf("in the history is %+v", page)
	}
	if got := numbersOf(listener.waitMessages(2)); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("delivered were %v", got)
	}
	d.stop()
}
