package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

// connect joins a namespace, "" being the main one, and returns the socket's id.
func (w *webSocket) connect(namespace, auth string) (sid string) {
	w.t.Helper()
	prefix := "40"
	if namespace != "" {
		prefix += namespace + ","
	}
	w.send(prefix + auth)
	return w.expectConnected(prefix)
}

// sids are 20 characters of base64url.
var sids = regexp.MustCompile(`^[A-Za-z0-9_-]{20}$`)

// expectConnected checks the answer to a CONNECT, and returns the socket's id.
func (w *webSocket) expectConnected(prefix string) string {
	w.t.Helper()
	got := w.text()
	content, ok := strings.CutPrefix(got, prefix)
	if !ok {
		w.t.Fatalf("got %q, want a CONNECT packet", got)
	}
	var answer struct {
		SID string `json:"sid"`
		PID string `json:"pid,omitempty"` // with connection state recovery alone
	}
	d := json.NewDecoder(strings.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&answer); err != nil || !sids.MatchString(answer.SID) || answer.SID == w.SID {
		w.t.Fatalf("got %q: %v", got, err)
	}
	return answer.SID
}

// openV5 opens a connection and joins the main namespace.
func openV5(t *testing.T) *webSocket {
	t.Helper()
	w := newHost(t, "socketio-v5", calm).openWebSocket()
	w.connect("", "")
	w.expect(`42["auth",{}]`)
	return w
}

func TestConnect(t *testing.T) {
	for name, tt := range map[string]struct{ packet, answer, auth string }{
		"main namespace":                 {"40", "40", `42["auth",{}]`},
		"main namespace, by name":        {"40/,", "40", `42["auth",{}]`},
		"main namespace, with payload":   {`40{"token":"123"}`, "40", `42["auth",{"token":"123"}]`},
		"custom namespace":               {"40/custom,", "40/custom,", `42/custom,["auth",{}]`},
		"custom namespace without comma": {"40/custom", "40/custom,", `42/custom,["auth",{}]`},
		"custom namespace, with payload": {`40/custom,{"token":"abc"}`, "40/custom,", `42/custom,["auth",{"token":"abc"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newHost(t, "socketio-v5", calm).openWebSocket()
			w.send(tt.packet)
			w.expectConnected(tt.answer)
			w.expect(tt.auth)
		})
	}
}

// Without connection state recovery a client must not be told a private id.
func TestConnectWithoutRecovery(t *testing.T) {
	w := newHost(t, "socketio-v5", calm).openWebSocket()
	w.send("40")
	if got := w.text(); strings.Contains(got, "pid") {
		t.Errorf("got %q", got)
	}
}

func TestUnknownNamespace(t *testing.T) {
	w := newHost(t, "socketio-v5", calm).openWebSocket()
	w.send("40/random")
	w.expect(`44/random,{"message":"Invalid namespace"}`)
	w.send("40/random,")
	w.expect(`44/random,{"message":"Invalid namespace"}`)
	w.connect("", "") // the connection is none the worse for it
}

func TestInvalidConnect(t *testing.T) {
	for _, packet := range []string{"4abc", "4", "40[]", `40"token"`, "40{", "42", `42["message"]`, "41"} {
		t.Run(packet, func(t *testing.T) {
			w := newHost(t, "socketio-v5", calm).openWebSocket()
			w.send(packet)
			w.expectClosed()
		})
	}
}

func TestConnectTimeout(t *testing.T) {
	h := newHost(t, "socketio-v5", timing{patience, patience, 20 * time.Millisecond})
	h.openWebSocket().expectClosed()
}

// Being refused is not the same as joining.
func TestConnectTimeoutAfterRefusal(t *testing.T) {
	w := newHost(t, "socketio-v5", timing{patience, patience, 50 * time.Millisecond}).openWebSocket()
	w.send("40/random")
	w.expectClosed()
}

// Who leaves the namespace stays connected, and is not answered.
func TestDisconnectMain(t *testing.T) {
	w := openV5(t)
	w.send("41")
	w.connect("", "")
	w.expect(`42["auth",{}]`)
}

func TestDisconnectCustom(t *testing.T) {
	w := openV5(t)
	w.connect("/custom", "")
	w.expect(`42/custom,["auth",{}]`)
	w.send("41/custom")
	w.send(`42["message","to the main namespace"]`)
	w.expect(`42["message-back","to the main namespace"]`)
}

func TestConnectAgain(t *testing.T) {
	w := openV5(t)
	first := w.connect("/custom", "")
	w.expect(`42/custom,["auth",{}]`)
	w.send("41/custom,")
	if second := w.connect("/custom", ""); second == first {
		t.Error("a new socket has the id of the old one")
	}
	w.expect(`42/custom,["auth",{}]`)
}

func TestMessage(t *testing.T) {
	w := openV5(t)
	for _, args := range []string{
		`,1,"2",{"3":[true]}`,
		``,
		`,null,-1.5e-7,"\u0000\"\\"`,
		`,"てすと 👍"`,
	} {
		w.send(`42["message"` + args + `]`)
		w.expect(`42["message-back"` + args + `]`)
	}
	w.send(`42456["message-with-ack",1,"2",{"3":[false]}]`)
	w.expect(`43456[1,"2",{"3":[false]}]`)
	w.send(`420["message-with-ack"]`)
	w.expect(`430[]`)
}

func TestBinaryMessage(t *testing.T) {
	const args = `{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`
	w := openV5(t)
	w.send(`452-["message",` + args)
	w.sendBinary("\x01\x02\x03")
	w.sendBinary("")
	w.expect(`452-["message-back",` + args)
	w.expectBinary("\x01\x02\x03")
	w.expectBinary("")

	w.send(`452-789["message-with-ack",` + args)
	w.sendBinary("\x01\x02\x03")
	w.sendBinary("\x04\x05\x06")
	w.expect(`462-789[` + args)
	w.expectBinary("\x01\x02\x03")
	w.expectBinary("\x04\x05\x06")
}

// The same over polling, where binary messages are base64.
func TestBinaryMessagePolling(t *testing.T) {
	p := newHost(t, "socketio-v5", calm).openPolling()
	p.post("40")
	var got string
	for !strings.Contains(got, "auth") {
		got += p.get().body
	}
	p.post("451-[\"message\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID")
	p.expect("451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID")
}

func TestInvalidMessage(t *testing.T) {
	for name, packet := range map[string]string{
		"unknown type":          "4abc",
		"payload no array":      "42{}",
		"payload missing":       "42",
		"payload no JSON":       `42["message"`,
		"id no number":          `42abc["message-with-ack",1]`,
		"event without name":    "42[]",
		"event named by null":   "42[null]",
		"reserved event":        `42["disconnect"]`,
		"too many attachments":  `4511-["message"]`,
		"no number of them":     `45-["message"]`,
		"attachment missing":    `451-["message",{"_placeholder":true,"num":1}]`,
		"another namespace":     `42/custom,["message"]`,
		"a namespace by itself": "42/",
		"connected already":     "40",
	} {
		t.Run(name, func(t *testing.T) {
			w := openV5(t)
			w.send(packet)
			w.expectClosed()
		})
	}
}

// Binary messages come behind the packet that announces them and nowhere else.
func TestBinaryOutOfPlace(t *testing.T) {
	t.Run("unannounced", func(t *testing.T) {
		w := openV5(t)
		w.sendBinary("\x01")
		w.expectClosed()
	})
	t.Run("interrupted", func(t *testing.T) {
		w := openV5(t)
		w.send(`451-["message",{"_placeholder":true,"num":0}]`)
		w.send(`42["message"]`)
		w.expectClosed()
	})
}
