package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// openClient opens a connection and joins the main namespace.
func openClient(t *testing.T, query string) (w *webSocket, sid string) {
	t.Helper()
	h := newHost(t, "socketio-client", calm)
	w = h.mustDial("EIO=4&transport=websocket" + query)
	w.opened = parseOpen(t, w.text())
	return w, w.connect("", "")
}

// expectEvent returns the arguments of the next packet, which has to be the event. What connection state recovery adds
// to an event, its offset, is left out.
func (w *webSocket) expectEvent(prefix, event string, args int) []any {
	w.t.Helper()
	got := w.text()
	content, ok := strings.CutPrefix(got, prefix)
	var data []any
	if !ok || json.Unmarshal([]byte(content), &data) != nil || len(data) < 1+args || len(data) > 2+args || data[0] != event {
		w.t.Fatalf("got %q, want %s%q with %d arguments", got, prefix, event, args)
	}
	return data[1 : 1+args]
}

func TestClientTimings(t *testing.T) {
	w := newHost(t, "socketio-client", suites["socketio-client"].timing).openWebSocket()
	checkOpened(t, w.opened, opened{"", []string{}, 2000, 20_000, 1_000_000})
}

func TestClientEvents(t *testing.T) {
	w, sid := openClient(t, "")
	w.send(`42["hi"]`)
	w.expectEvent("42", "hi", 0)
	w.send(`42["false"]`)
	if got := w.expectEvent("42", "false", 1); got[0] != false {
		t.Errorf("got %v", got)
	}
	w.send(`421["echo",{"a":[1,null]}]`)
	w.expect(`431[{"a":[1,null]}]`)
	w.send(`422["getId"]`)
	w.expect(`432["` + sid + `"]`)

	w.send(`42["getUtf8"]`)
	for _, want := range []string{"てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"} {
		if got := w.expectEvent("42", "takeUtf8", 1); got[0] != want {
			t.Errorf("got %q, want %q", got[0], want)
		}
	}
}

// Events are answered in the order in which they came.
func TestClientOrder(t *testing.T) {
	w, _ := openClient(t, "")
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		w.send("42" + id + `["echo",` + id + `]`)
	}
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		w.expect("43" + id + "[" + id + "]")
	}
}

var dates = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

func isDate(v any) bool {
	text, ok := v.(string)
	return ok && dates.MatchString(text)
}

func TestClientDates(t *testing.T) {
	w, _ := openClient(t, "")
	w.send(`421["getAckDate",{"test":true}]`)
	got, _ := strings.CutPrefix(w.text(), "431")
	var ack []any
	if json.Unmarshal([]byte(got), &ack) != nil || len(ack) != 1 || !isDate(ack[0]) {
		t.Errorf("got %q", got)
	}
	w.send(`42["getDate"]`)
	if got := w.expectEvent("42", "takeDate", 1); !isDate(got[0]) {
		t.Errorf("got %v", got)
	}
	w.send(`42["getDateObj"]`)
	if got, _ := w.expectEvent("42", "takeDateObj", 1)[0].(map[string]any); !isDate(got["date"]) {
		t.Errorf("got %v", got)
	}
}

var askForAcks = regexp.MustCompile(`^42(\d+)\["ack"\]$`)

// The server's own question may be answered late or never, and other events come first.
func TestClientIsAsked(t *testing.T) {
	w, _ := openClient(t, "")
	asked := func() string {
		t.Helper()
		w.send(`42["ack"]`)
		got := w.text()
		id := askForAcks.FindStringSubmatch(got)
		if id == nil {
			t.Fatalf("got %q, want an event that asks for an acknowledgement", got)
		}
		return id[1]
	}
	_, first, second := asked(), asked(), asked()
	w.send("43" + second + `[5,{"test":true}]`)
	w.expectEvent("42", "got it", 0)
	w.send("43" + first + `[5,{"test":false}]`)
	w.send(`42["hi"]`)
	w.expectEvent("42", "hi", 0)
	w.send("43999999[]") // an answer to nothing is ignored
	w.send(`42["hi"]`)
	w.expectEvent("42", "hi", 0)
}

func TestClientReceivesBinary(t *testing.T) {
	w, _ := openClient(t, "")
	for event, answer := range map[string]string{"doge": "doge", "getbin": "takebin"} {
		w.send(`42["` + event + `"]`)
		got, _ := w.expectEvent("451-", answer, 1)[0].(map[string]any)
		if got["_placeholder"] != true || got["num"] != 0.0 {
			t.Errorf("got %v", got)
		}
		w.expectBinary("asdfasdf")
	}
}

func TestClientSendsBinary(t *testing.T) {
	const bin = `{"_placeholder":true,"num":0}`
	w, _ := openClient(t, "")
	sendBinary := func(event, arg string) {
		t.Helper()
		w.send(`451-["` + event + `",` + arg + `]`)
		w.sendBinary("asdfasdf")
	}
	for event, answer := range map[string]string{"buffa": "buffack", "blob": "back"} {
		sendBinary(event, bin)
		w.expectEvent("42", answer, 0)
	}
	for event, answer := range map[string]string{"jsonbuff": "jsonbuff-ack", "jsonblob": "jsonblob-ack"} {
		sendBinary(event, `{"hello":"lol","message":`+bin+`,"goodbye":"gotcha"}`)
		w.expectEvent("42", answer, 0)
	}
	sendBinary("abuff1", bin)
	w.send(`42["abuff2","please arrive second"]`)
	w.expectEvent("42", "abuff2-ack", 0)
	sendBinary("blob1", bin)
	w.send(`42["blob2","second"]`)
	sendBinary("blob3", bin)
	w.expectEvent("42", "blob3-ack", 0)
}

// What is no binary value, or comes out of order, is not answered.
func TestClientSendsNoBinary(t *testing.T) {
	w, _ := openClient(t, "")
	w.send(`42["buffa","YXNkZg=="]`)
	w.send(`42["jsonbuff",{"hello":"lol","message":"x","goodbye":"gotcha"}]`)
	w.send(`42["abuff2","too early"]`)
	w.send(`42["blob2","second"]`)
	w.send(`42["hi"]`)
	w.expectEvent("42", "hi", 0)
}

func TestClientNamespaces(t *testing.T) {
	w, main := openClient(t, "")
	for _, namespace := range []string{"/foo", "/valid", "/asd", "/timeout_socket"} {
		if sid := w.connect(namespace, ""); sid == main {
			t.Errorf("%s: the socket has the id of another namespace's", namespace)
		}
	}
	w.send(`41/foo,`)
	sid := w.connect("/foo", "")
	w.send(`42/foo,7["getId"]`)
	w.expect(`43/foo,7["` + sid + `"]`)
	w.send("40/unknown,")
	w.expect(`44/unknown,{"message":"Invalid namespace"}`)
	// Leaving one leaves the others alone.
	w.send("41/foo,")
	w.send(`42["hi"]`)
	w.expectEvent("42", "hi", 0)
}

type handshake struct {
	Headers map[string]string `json:"headers"`
	Time    string            `json:"time"`
	Address string            `json:"address"`
	XDomain bool              `json:"xdomain"`
	Secure  bool              `json:"secure"`
	Issued  int64             `json:"issued"`
	URL     string            `json:"url"`
	Query   map[string]string `json:"query"`
	Auth    map[string]any    `json:"auth"`
}

func parseHandshake(t *testing.T, packet, prefix string) handshake {
	t.Helper()
	content, ok := strings.CutPrefix(packet, prefix)
	var data []json.RawMessage
	if !ok || json.Unmarshal([]byte(content), &data) != nil {
		t.Fatalf("got %q", packet)
	}
	if strings.HasPrefix(prefix, "42") && len(data) > 1 {
		data = data[1:] // the name of the event
	}
	var h handshake
	if err := json.Unmarshal(data[0], &h); err != nil {
		t.Fatalf("got %q: %v", packet, err)
	}
	if h.Address != "127.0.0.1" || h.Secure || h.XDomain || h.Issued == 0 || h.Time == "" || h.Headers["host"] == "" &&
		h.Headers["upgrade"] == "" || !strings.HasPrefix(h.URL, "/socket.io/?") {
		t.Errorf("got %s", data[0])
	}
	return h
}

func TestClientHandshake(t *testing.T) {
	w, _ := openClient(t, "&key1=value1&key2=%26%3D%3F%20a&"+"%26a=%26%3D%3Fa")
	w.send(`421["getHandshake"]`)
	h := parseHandshake(t, w.text(), "431")
	if q := h.Query; q["key1"] != "value1" || q["key2"] != "&=? a" || q["&a"] != "&=?a" || q["EIO"] != "4" ||
		q["transport"] != "websocket" {
		t.Errorf("query is %v", q)
	}
	if len(h.Auth) != 0 {
		t.Errorf("auth is %v", h.Auth)
	}

	w.send(`40/abc,{"a":"b","c":"d"}`)
	w.expectConnected("40/abc,")
	h = parseHandshake(t, w.text(), "42/abc,")
	if h.Query["key1"] != "value1" || h.Auth["a"] != "b" || h.Auth["c"] != "d" {
		t.Errorf("query is %v, auth is %v", h.Query, h.Auth)
	}
}

func TestClientIsRefused(t *testing.T) {
	h := newHost(t, "socketio-client", calm)
	w := h.mustDial("EIO=4&transport=websocket&fail=true")
	w.opened = parseOpen(t, w.text())
	w.send("40")
	w.expect(`44{"message":"Auth failed (main namespace)"}`)
	w.send("40/no,")
	w.expect(`44/no,{"message":"Auth failed (custom namespace)"}`)
	// It may try again, and elsewhere.
	w.send("40")
	w.expect(`44{"message":"Auth failed (main namespace)"}`)
	w.connect("/foo", "")
}

// Each connection is a new client.
func TestClientsAreStrangers(t *testing.T) {
	h := newHost(t, "socketio-client", calm)
	first, second := h.openWebSocket(), h.openWebSocket()
	if first.connect("", "") == second.connect("", "") {
		t.Error("two sockets have the same id")
	}
	first.send("1")
	first.expectClosed()
	second.send(`42["hi"]`)
	second.expectEvent("42", "hi", 0)
}

// A session that has begun over polling goes on where it was over a WebSocket.
func TestClientUpgrades(t *testing.T) {
	h := newHost(t, "socketio-client", calm)
	p := h.openPolling()
	p.post("40")
	got := p.get().body
	if !strings.HasPrefix(got, "40{") {
		t.Fatalf("got %q", got)
	}
	w := h.probe(p)
	p.post(`421["echo","sent over polling"]`)
	w.send("5")
	w.expect(`431["sent over polling"]`)
	w.send(`422["echo","sent over the WebSocket"]`)
	w.expect(`432["sent over the WebSocket"]`)
}

// A client that was cut off and says where it stopped gets its socket back; one that does not is new.
func TestClientIsRestored(t *testing.T) {
	h := newHost(t, "socketio-client", calm)
	w := h.openWebSocket()
	w.send("40")
	var connected struct{ SID, PID string }
	if got := w.text(); json.Unmarshal([]byte(strings.TrimPrefix(got, "40")), &connected) != nil || connected.PID == "" {
		t.Fatalf("got %q, want a sid and a pid", got)
	}
	w.send(`42["hi"]`)
	var hi []string
	if got := w.text(); json.Unmarshal([]byte(strings.TrimPrefix(got, "42")), &hi) != nil || len(hi) != 2 {
		t.Fatalf("got %q, want an event with its offset", got)
	}
	w.conn.Close()

	w = h.openWebSocket()
	w.send(`40{"pid":"` + connected.PID + `","offset":"` + hi[1] + `"}`)
	w.expect(`40{"sid":"` + connected.SID + `","pid":"` + connected.PID + `"}`)
	w.send(`421["getId"]`)
	w.expect(`431["` + connected.SID + `"]`)

	stranger := h.openWebSocket()
	stranger.send(`40{"pid":"` + connected.PID + `x","offset":"` + hi[1] + `"}`)
	if sid := stranger.expectConnected("40"); sid == connected.SID {
		t.Error("a client without a session got one")
	}
}
