package engineio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestWebSocketMessages(t *testing.T) {
	h := newHost(t, nil, withEcho)
	w := h.dialWebSocket()
	for _, n := range []int{0, 1, 124, 125, 126, 127, 65534, 65535, 65536, 65537, 200_000} {
		text := strings.Repeat("é", n/2) + strings.Repeat("x", n%2)
		w.send("4" + text)
		w.expectText("4" + text)
		w.sendBinary(text)
		if f := w.mustFrame(); f.Header.OpCode != ws.OpBinary || string(f.Payload) != text {
			t.Fatalf("binary message of %d bytes came back with opcode %x, %d bytes", n, f.Header.OpCode, len(f.Payload))
		}
	}
}

// frames concatenates frames.
func frames(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// longFrame is a text frame of the given length in the 64-bit form whose payload does not follow.
func longFrameHeader(length uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{0x81, 0xff}, length), 1, 2, 3, 4)
}

func TestBadFrames(t *testing.T) {
	const limit = 1000
	tests := []struct {
		name   string
		bytes  []byte
		reason Reason
		code   ws.StatusCode
	}{
		{"unmasked", ws.MustCompileFrame(ws.NewTextFrame([]byte("4x"))), ReasonTransportError, 1002},
		{"RSV1", frames([]byte{0xc1, 0x80, 0, 0, 0, 0}), ReasonTransportError, 1002},
		{"RSV2", frames([]byte{0xa1, 0x80, 0, 0, 0, 0}), ReasonTransportError, 1002},
		{"RSV3", frames([]byte{0x91, 0x80, 0, 0, 0, 0}), ReasonTransportError, 1002},
		{"RSV on a ping", frames([]byte{0xc9, 0x80, 0, 0, 0, 0}), ReasonTransportError, 1002},
		{"data opcode 3", []byte{0x83, 0x80, 0, 0, 0, 0}, ReasonTransportError, 1002},
		{"control opcode 11", []byte{0x8b, 0x80, 0, 0, 0, 0}, ReasonTransportError, 1002},
		{"fragmented ping", []byte{0x09, 0x80, 0, 0, 0, 0}, ReasonTransportError, 1002},
		{"fragmented close", []byte{0x08, 0x80, 0, 0, 0, 0}, ReasonTransportError, 1002},
		{"ping of 126 bytes", frames([]byte{0x89, 0xfe, 0, 126, 0, 0, 0, 0}, make([]byte, 126)), ReasonTransportError, 1002},
		{"continuation of nothing", clientFrame(ws.OpContinuation, true, "4x"), ReasonTransportError, 1002},
		{"text inside a fragmented message", frames(clientFrame(ws.OpText, false, "4x"), clientFrame(ws.OpText, true, "4x")), ReasonTransportError, 1002},
		{"length with the highest bit", longFrameHeader(1 << 63), ReasonTransportError, 1002},
		{"announced too large", longFrameHeader(limit + 1), ReasonTransportError, 1009},
		{"announced 2^62", longFrameHeader(1 << 62), ReasonTransportError, 1009},
		{"too large", clientFrame(ws.OpText, true, strings.Repeat("4", limit+1)), ReasonTransportError, 1009},
		{"too large in fragments", frames(clientFrame(ws.OpText, false, strings.Repeat("4", limit)), clientFrame(ws.OpContinuation, true, "4")), ReasonTransportError, 1009},
		{"invalid UTF-8", clientFrame(ws.OpText, true, "4\xff"), ReasonParseError, 1007},
		{"half a rune", clientFrame(ws.OpText, true, "4\xe2\x82"), ReasonParseError, 1007},
		{"surrogate", clientFrame(ws.OpText, true, "4\xed\xa0\x80"), ReasonParseError, 1007},
		{"invalid UTF-8 across fragments", frames(clientFrame(ws.OpText, false, "4\xe2"), clientFrame(ws.OpContinuation, true, "\x28\xa1")), ReasonParseError, 1007},
		{"empty packet", clientFrame(ws.OpText, true, ""), ReasonParseError, 1000},
		{"unknown packet type", clientFrame(ws.OpText, true, "9"), ReasonParseError, 1000},
		{"ping right after the handshake", clientFrame(ws.OpText, true, "2"), ReasonTransportError, 1002},
		{"close frame with one byte", clientFrame(ws.OpClose, true, "x"), ReasonTransportError, 1002},
		{"close frame with code 1005", clientClose(1005), ReasonTransportError, 1002},
		{"close frame with code 999", clientClose(999), ReasonTransportError, 1002},
		{"close frame with invalid UTF-8", clientFrame(ws.OpClose, true, "\x03\xe8\xff"), ReasonTransportError, 1002},
	}
	h := newHost(t, &Options{MaxHTTPBufferSize: limit, CloseTimeout: 10 * patience}, withEcho)
	bystander := h.dialWebSocket()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := h.dialWebSocket()
			w.t = t
			w.send("4before")
			w.expectText("4before")
			w.write(frames(tt.bytes, clientFrame(ws.OpText, true, "4after")))
			w.expectCloseFrame(tt.code)
			w.expectEnd() // without waiting for the client
			_ = w.nc.Close()
			w.rec.expectClosed(t, tt.reason)
			if got := w.rec.got(); !slices.Equal(got, []string{"before"}) {
				t.Errorf("received %.100q", got)
			}
			if w.rec.err == nil {
				t.Error("closed without an error")
			}
		})
	}
	bystander.send("4still here")
	bystander.expectText("4still here")
}

func TestLargestMessage(t *testing.T) {
	h := newHost(t, &Options{MaxHTTPBufferSize: 1000}, withEcho)
	w := h.dialWebSocket()
	message := "4" + strings.Repeat("x", 999)
	w.send(message)
	w.expectText(message)
	w.write(frames(clientFrame(ws.OpText, false, message[:500]), clientFrame(ws.OpContinuation, true, message[500:])))
	w.expectText(message)
}

func TestFragments(t *testing.T) {
	h := newHost(t, nil, withEcho)
	w := h.dialWebSocket()
	w.write(frames(
		clientFrame(ws.OpText, false, "4€"[:2]),
		clientFrame(ws.OpPing, true, "between"),
		clientFrame(ws.OpContinuation, false, ""),
		clientFrame(ws.OpPong, true, "unasked"),
		clientFrame(ws.OpContinuation, true, "4€"[2:]),
		clientFrame(ws.OpBinary, false, ""),
		clientFrame(ws.OpContinuation, true, "\x00\x01"),
	))
	if f := w.mustFrame(); f.Header.OpCode != ws.OpPong || string(f.Payload) != "between" {
		t.Errorf("got %x %q, want the pong", f.Header.OpCode, f.Payload)
	}
	w.expectText("4€")
	if f := w.mustFrame(); f.Header.OpCode != ws.OpBinary || string(f.Payload) != "\x00\x01" {
		t.Errorf("got %x %q", f.Header.OpCode, f.Payload)
	}
}

// chunked feeds data to a session's reader in the given pieces, without a network.
func TestFrameHeaderSplitAtEveryByte(t *testing.T) {
	for _, n := range []int{2, 200, 70_000} {
		message := "4" + strings.Repeat("m", n-1)
		stream := frames(clientFrame(ws.OpText, true, message), clientFrame(ws.OpText, true, "4end"))
		for cut := 1; cut <= 20; cut++ {
			got, err := feed(t, newConn(sink{}), stream, []int{cut})
			if err != nil || !slices.Equal(got, []string{message[1:], "end"}) {
				t.Fatalf("%d bytes, cut at %d: %v, %.50q", n, cut, err, got)
			}
		}
	}
}

func TestSplitAtEveryByteOverTheNetwork(t *testing.T) {
	h := newHost(t, nil, withEcho)
	w := h.dialWebSocket()
	text := strings.Repeat("dribble", 20)
	for _, b := range clientFrame(ws.OpText, true, "4"+text) {
		w.write([]byte{b})
	}
	w.expectText("4" + text)
}

func TestManyFramesInOneRead(t *testing.T) {
	h := newHost(t, nil)
	w := h.dialWebSocket()
	var stream []byte
	var want []string
	for i := range 5000 {
		stream = append(stream, clientFrame(ws.OpText, true, "4"+numbered(i))...)
		want = append(want, numbered(i))
	}
	w.write(stream)
	eventually(t, "all messages", func() bool { return len(w.rec.got()) == len(want) })
	if !slices.Equal(w.rec.got(), want) {
		t.Error("messages were reordered")
	}
}

// The frame that a client sends right behind its handshake is in net/http's buffer already.
func TestFrameBehindTheHandshake(t *testing.T) {
	h := newHost(t, nil)
	nc, err := net.Dial("tcp", h.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	request := "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\n" + upgradeHeaders + "\r\n"
	frame := clientFrame(ws.OpText, true, "4"+strings.Repeat("early", 100))
	_, _ = nc.Write(append([]byte(request), frame[:50]...))
	eventually(t, "session", func() bool { return len(h.all()) == 1 })
	_, _ = nc.Write(frame[50:])
	r := h.all()[0]
	eventually(t, "message", func() bool { return len(r.got()) == 1 })
	if r.got()[0] != strings.Repeat("early", 100) {
		t.Errorf("received %.20q", r.got()[0])
	}
}

func TestMegabyteByteDribbled(t *testing.T) {
	message := "4" + strings.Repeat("0123456789", 99_999)
	stream := clientFrame(ws.OpText, true, message)
	for _, size := range []int{1, 7, 1000} {
		var cuts []int
		for n := 0; n < len(stream); n += size {
			cuts = append(cuts, size)
		}
		got, err := feed(t, newConn(sink{}), stream, cuts)
		if err != nil || len(got) != 1 || got[0] != message[1:] {
			t.Fatalf("chunks of %d: %v, %d messages", size, err, len(got))
		}
	}
}

func TestClientClosesWebSocket(t *testing.T) {
	h := newHost(t, nil)
	for _, code := range []ws.StatusCode{0, 1000, 1001, 4321} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			w := h.dialWebSocket()
			w.write(clientClose(code))
			w.expectCloseFrame(code)
			w.expectEnd()
			w.rec.expectClosed(t, ReasonTransportClose)
			if w.rec.err != nil {
				t.Errorf("error %v for an orderly close", w.rec.err)
			}
		})
	}
	t.Run("close packet", func(t *testing.T) {
		w := h.dialWebSocket()
		w.send("1")
		w.expectEnd()
		w.rec.expectClosed(t, ReasonTransportClose)
	})
	t.Run("cut", func(t *testing.T) {
		w := h.dialWebSocket()
		_ = w.nc.Close()
		w.rec.expectClosed(t, ReasonTransportClose)
	})
	t.Run("reset", func(t *testing.T) {
		w := h.dialWebSocket()
		_ = w.nc.(*net.TCPConn).SetLinger(0)
		_ = w.nc.Close()
		w.rec.expectClosed(t, ReasonTransportClose)
	})
}

// Regression: a client that closed right behind a message got no close frame, because the flusher was not yet done with
// that message, or because something was queued.
func TestCloseIsAnsweredBehindMessages(t *testing.T) {
	for name, options := range map[string][]hostOption{"TCP": nil, "TLS": {withTLS}} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, nil, append(options, withEcho)...)
			for range 100 {
				w := h.dialWebSocket()
				w.write(frames(clientFrame(ws.OpText, true, "4a"), clientFrame(ws.OpText, true, "4b"), clientClose(1000)))
				w.expectText("4a")
				w.expectText("4b")
				w.expectCloseFrame(1000)
				w.expectEnd()
				w.rec.expectClosed(t, ReasonTransportClose)
			}
		})
	}
}

// Regression: the client's answer to the server's close frame was answered with a second one.
func TestServerSendsOneCloseFrame(t *testing.T) {
	h := newHost(t, nil)
	w := h.dialWebSocket()
	_ = w.rec.Send(NewText([]byte("last")))
	w.rec.Close(ReasonForcedClose)
	w.expectText("4last")
	w.expectCloseFrame(1000)
	w.rec.expectClosed(t, ReasonForcedClose) // before the client has answered
	w.write(clientClose(1000))
	w.expectEnd()
}

func TestHandlerErrorClosesWebSocket(t *testing.T) {
	refused := errors.New("refused")
	h := newHost(t, nil, withMessage(func(*recorder, []byte, bool) error { return refused }))
	w := h.dialWebSocket()
	w.write(frames(clientFrame(ws.OpText, true, "4a"), clientFrame(ws.OpText, true, "4b")))
	w.expectCloseFrame(1000)
	_ = w.nc.Close()
	w.rec.expectClosed(t, ReasonParseError)
	if !errors.Is(w.rec.err, refused) || len(w.rec.got()) != 1 {
		t.Errorf("error %v, received %q", w.rec.err, w.rec.got())
	}
}

// A flood of pings must not grow the queue without bound.
func TestPingFlood(t *testing.T) {
	h := newHost(t, &Options{MaxQueueBytes: 64 << 10}, withListener(smallBuffers))
	w := h.dialWebSocket()
	flood := bytes.Repeat(clientFrame(ws.OpPing, true, strings.Repeat("p", 125)), 100)
	eventually(t, "closed", func() bool {
		_ = w.nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, err := w.nc.Write(flood)
		return err != nil || w.rec.isClosed()
	})
	w.rec.expectClosed(t, ReasonSlowConsumer)
}

// A client that asks for b64=1 exchanges binary messages as text, over WebSocket too.
func TestBase64OverWebSocket(t *testing.T) {
	h := newHost(t, nil, withEcho)
	dial := func(query string) *wsClient {
		w := h.dialRaw(query)
		w.rec = h.session(parseOpen(t, w.text()).SID)
		return w
	}
	w, plain := dial("EIO=4&transport=websocket&b64=1"), dial("EIO=4&transport=websocket")
	m := NewBinary([]byte{0, 1, 0xff})
	for _, r := range []*recorder{w.rec, plain.rec} {
		_ = r.Send(m)
	}
	w.expectText("bAAH/")
	if f := plain.mustFrame(); f.Header.OpCode != ws.OpBinary || string(f.Payload) != "\x00\x01\xff" {
		t.Errorf("got %+v %q", f.Header, f.Payload)
	}
	for _, packet := range []string{"bAAH/", "b", "b" + strings.Repeat("AAAA", 50_000), "4text"} {
		w.send(packet)
		w.expectText(packet)
	}
	if got, want := w.rec.got()[:2], []string{"b:\x00\x01\xff", "b:"}; !slices.Equal(got, want) {
		t.Errorf("received %q, want %q", got, want)
	}
	// Either form is understood from any client.
	w.sendBinary("\x02")
	w.expectText("bAg==")
	plain.send("bAg==")
	if f := plain.mustFrame(); f.Header.OpCode != ws.OpBinary || string(f.Payload) != "\x02" {
		t.Errorf("got %+v %q", f.Header, f.Payload)
	}
	eventually(t, "nothing is queued", func() bool { return w.rec.QueuedBytes() == 0 })
	w.send("bA")
	w.expectCloseFrame(1000)
	w.rec.expectClosed(t, ReasonParseError)
}

// The wish for base64 outlives an upgrade.
func TestBase64Upgrade(t *testing.T) {
	h := newHost(t, nil)
	_, body := h.request("GET", "EIO=4&transport=polling&b64=1", "")
	p := &pollClient{host: h, opened: parseOpen(t, body)}
	p.rec = h.session(p.SID)
	_ = p.rec.Send(NewBinary([]byte{1}))
	p.expectGet("bAQ==")
	w := p.probe()
	_ = p.rec.Send(NewBinary([]byte{2}))
	w.send("5")
	w.expectText("bAg==")
}
