package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/parser"
	"github.com/twine-realtime/twine/twine/parser/msgpack"
)

// What socket.io-client sends with socket.io-msgpack-parser 3.0.2, in hex.
const (
	msgpackConnect = "83a47479706500a464617461d40000a36e7370a12f"
	// {type: 2, data: ["echo", <Buffer 01 02 03>, new Date(1700000000123), undefined], options: {compress: true}, nsp: "/"}
	msgpackEcho = "84a47479706502a46461746194a46563686fc403010203d7000000018bcfe5687bd40000" +
		"a76f7074696f6e7381a8636f6d7072657373c3a36e7370a12f"
)

func msgpackServer() server {
	srv := twine.NewServer(&twine.Options{Codec: msgpack.Codec})
	srv.On("echo", func(_ context.Context, s *twine.Socket, e *twine.Event) {
		if args, err := arguments(e); err == nil {
			_ = s.Emit("echo", args...)
		}
	})
	return server{srv, socketIOPath, srv.Close}
}

func decodeMsgpack(t *testing.T, message string) *parser.Packet {
	t.Helper()
	p, err := msgpack.Codec.NewDecoder().Decode([]byte(message), true)
	if err != nil {
		t.Fatalf("got %x: %v", message, err)
	}
	return p
}

func checkMsgpackEcho(t *testing.T, connected, echoed string) {
	t.Helper()
	if p := decodeMsgpack(t, connected); p.Type != parser.Connect || !strings.HasPrefix(string(p.Data), `{"sid":"`) {
		t.Errorf("got %v %s", p.Type, p.Data)
	}
	const want = `["echo",{"_placeholder":true,"num":0},"2023-11-14T22:13:20.123Z",null]`
	if p := decodeMsgpack(t, echoed); string(p.Data) != want || len(p.Attachments) != 1 || string(p.Attachments[0]) != "\x01\x02\x03" {
		t.Errorf("got %s with %x", p.Data, p.Attachments)
	}
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every packet of a client that uses MessagePack is one binary message.
func TestMsgpackWebSocket(t *testing.T) {
	w := hostOf(t, "msgpack", msgpackServer()).openWebSocket()
	w.sendBinary(unhex(t, msgpackConnect))
	connected, _, err := w.read()
	if err != nil {
		t.Fatal(err)
	}
	w.sendBinary(unhex(t, msgpackEcho))
	echoed, _, err := w.read()
	if err != nil {
		t.Fatal(err)
	}
	checkMsgpackEcho(t, connected, echoed)

	w.send(`42["echo"]`)
	w.expectClosed()
}

func TestMsgpackPolling(t *testing.T) {
	p := hostOf(t, "msgpack", msgpackServer()).openPolling()
	post := func(message string) { p.post("b" + base64.StdEncoding.EncodeToString([]byte(unhex(t, message)))) }
	get := func() string {
		got := p.get()
		message, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(got.body, "b"))
		if got.status != 200 || err != nil {
			t.Fatalf("got %d %q: %v", got.status, got.body, err)
		}
		return string(message)
	}
	post(msgpackConnect)
	connected := get()
	post(msgpackEcho)
	checkMsgpackEcho(t, connected, get())
}
