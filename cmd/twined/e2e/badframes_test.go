//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func text(packets ...string) (frames []ws.Frame) {
	for _, packet := range packets {
		frames = append(frames, ws.MaskFrame(ws.NewTextFrame([]byte(packet))))
	}
	return frames
}

func masked(frames ...ws.Frame) []ws.Frame {
	for i := range frames {
		frames[i] = ws.MaskFrame(frames[i])
	}
	return frames
}

// TestBadFrames sends what no client would over a WebSocket, which ends.
func TestBadFrames(t *testing.T) {
	d := startDaemon(t)
	watchBystander(t, d)
	reserved := ws.NewTextFrame([]byte("40"))
	reserved.Header.Rsv = ws.Rsv(true, false, false)
	for name, test := range map[string]struct {
		connected bool // to the main namespace
		frames    []ws.Frame
		code      ws.StatusCode // of the close frame; 0 stands for any, or none
	}{
		// Engine.IO
		"empty message":                {false, text(""), 0},
		"unknown packet":               {false, text("9"), 0},
		"ping right after the opening": {false, text("2"), 0},
		"letters":                      {false, text("hello"), 0},
		// Socket.IO
		"bare event":                     {true, text("42"), 0},
		"bare ack":                       {true, text("43"), 0},
		"bare binary event":              {true, text("450-"), 0},
		"unknown packet type":            {true, text("49"), 0},
		"event before connecting":        {false, text(`42["subscribe","r"]`), 0},
		"event elsewhere":                {true, text(`42/nowhere,["subscribe","r"]`), 0},
		"event without a name":           {true, text(`42[]`), 0},
		"event named by an object":       {true, text(`42[{}]`), 0},
		"event with a reserved name":     {true, text(`42["disconnect"]`), 0},
		"event cut short":                {true, text(`42["subscribe","r"`), 0},
		"event that is an object":        {true, text(`42{}`), 0},
		"ack that is no array":           {true, text(`431{}`), 0},
		"connect with an array":          {false, text(`40[]`), 0},
		"huge ack id":                    {true, text(`42` + strings.Repeat("9", 400) + `["x"]`), 0},
		"too deep":                       {true, text(`42["x",` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `]`), 0},
		"too many attachments":           {true, text(`4511-["x"]`), 0},
		"negative attachments":           {true, text(`45-1-["x"]`), 0},
		"text in place of an attachment": {true, text(`451-["x",{"_placeholder":true,"num":0}]`, `42["x"]`), 0},
		"attachment nobody announced":    {true, masked(ws.NewBinaryFrame([]byte{1, 2, 3})), 0},
		"placeholder out of range":       {true, masked(ws.NewTextFrame([]byte(`451-["x",{"_placeholder":true,"num":7}]`)), ws.NewBinaryFrame([]byte{1})), 0},
		// WebSocket
		"unmasked":               {false, []ws.Frame{ws.NewTextFrame([]byte("40"))}, ws.StatusProtocolError},
		"fragmented ping":        {false, masked(ws.NewFrame(ws.OpPing, false, []byte("x"))), ws.StatusProtocolError},
		"large ping":             {false, masked(ws.NewPingFrame(bytes.Repeat([]byte("x"), 126))), ws.StatusProtocolError},
		"reserved opcode":        {false, masked(ws.NewFrame(3, true, nil)), ws.StatusProtocolError},
		"reserved bit":           {false, masked(reserved), ws.StatusProtocolError},
		"end of nothing":         {false, masked(ws.NewFrame(ws.OpContinuation, true, nil)), ws.StatusProtocolError},
		"start within a start":   {false, masked(ws.NewFrame(ws.OpText, false, []byte("4")), ws.NewFrame(ws.OpText, true, []byte("0"))), ws.StatusProtocolError},
		"close with half a code": {false, masked(ws.NewCloseFrame([]byte{3})), 0},
		"invalid UTF-8":          {true, text("42[\"x\",\"\xff\xfe\"]"), ws.StatusInvalidFramePayloadData},
		"oversized message":      {false, text("4" + strings.Repeat("x", 1_000_001)), ws.StatusMessageTooBig},
		"oversized by parts":     {false, masked(ws.NewFrame(ws.OpText, false, bytes.Repeat([]byte("x"), 600_000)), ws.NewFrame(ws.OpContinuation, true, bytes.Repeat([]byte("x"), 600_000))), ws.StatusMessageTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dialWebSocket(t, d)
			if test.connected {
				if err := connectMain(conn); err != nil {
					t.Fatal(err)
				}
			}
			for _, frame := range test.frames {
				if err := ws.WriteFrame(conn, frame); err != nil {
					break // it may hang up before it has heard everything
				}
			}
			if code := readClose(t, conn); test.code != 0 && code != test.code {
				t.Errorf("closed with %d, want %d", code, test.code)
			}
		})
	}
}

// TestFramesThatPromiseMore announce what never comes. The connection waits; nobody else does.
func TestFramesThatPromiseMore(t *testing.T) {
	d := startDaemon(t)
	watchBystander(t, d)
	for name, sent := range map[string][]byte{
		"attachments that never come": frameBytes(text(`452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)),
		"placeholder without a value": frameBytes(text(`451-["x"]`)),
		"half a frame":                frameBytes(text("40"))[:4],
		"first part of a message":     frameBytes(masked(ws.NewFrame(ws.OpText, false, []byte("42[")))),
		"nothing":                     nil,
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialWebSocket(t, d)
			if err := connectMain(conn); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(sent); err != nil {
				t.Fatal(err)
			}
			neighbour, err := join(d.host, "neighbours")
			if err != nil {
				t.Fatal(err)
			}
			defer neighbour.close()
			if err := d.publish("neighbours", map[string]int{}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a neighbour gets its message", func() bool { return neighbour.count() == 1 })
		})
	}
}

// TestEventsOfWrongTypes: well-formed packets that ask for nonsense are passed over.
func TestEventsOfWrongTypes(t *testing.T) {
	d := startDaemon(t)
	watchBystander(t, d)
	conn := dialWebSocket(t, d)
	send := func(packets ...string) {
		t.Helper()
		for _, frame := range text(packets...) {
			if err := ws.WriteFrame(conn, frame); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := connectMain(conn); err != nil {
		t.Fatal(err)
	}
	send(
		`42["subscribe"]`, `42["subscribe",5]`, `42["subscribe",null]`, `42["subscribe",{"a":1}]`, `42["subscribe",""]`,
		`42["subscribe","`+strings.Repeat("r", 5000)+`"]`,
		`42["unsubscribe"]`, `42["unsubscribe",[[]]]`, `42["unsubscribe","never joined"]`,
		`42["updateSessionTS"]`, `42["updateSessionTS","x"]`, `42["updateSessionTS",-1e400]`, `42["stateRecovery",1,2,3]`,
		`42["unknown","event"]`, `4399999["ack of nothing"]`,
		`42["subscribe","good"]`)
	eventuallyReads(t, conn, `42["roomJoined","You have joined room: good"`)
}

// eventuallyReads reads up to the packet that begins with want, and no other roomJoined may come before.
func eventuallyReads(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	for {
		got, err := wsutil.ReadServerText(conn)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(got, []byte(want)) {
			return
		}
		if bytes.HasPrefix(got, []byte(`42["roomJoined"`)) {
			t.Errorf("unexpected %s", got)
		}
	}
}

func frameBytes(frames []ws.Frame) []byte {
	var out bytes.Buffer
	for _, frame := range frames {
		ws.WriteFrame(&out, frame)
	}
	return out.Bytes()
}

// readClose reads until the server closes, and returns the code of its close frame, or 0 if it sent none.
func readClose(t *testing.T, conn net.Conn) (code ws.StatusCode) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(patience))
	for {
		header, err := ws.ReadHeader(conn)
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Fatal("the server does not close the connection")
		}
		if err != nil {
			return code
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(conn, payload); err != nil {
			return code
		}
		if header.OpCode == ws.OpClose {
			code, _ = ws.ParseCloseFrameData(payload)
			// What a client does next: answer and leave.
			ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(payload)))
			conn.(interface{ CloseWrite() error }).CloseWrite()
		}
	}
}

// watchBystander keeps a client in a room with messages flowing while a test goes on, and checks at its end that the
// client has noticed nothing.
func watchBystander(t *testing.T, d *daemon) {
	t.Helper()
	bystander, err := join(d.host, "bystander")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bystander.close)
	stream := startPacedStream(t, d, "bystander")
	t.Cleanup(func() {
		stream.stop()
		last := stream.last()
		eventually(t, "the bystander has everything", func() bool { return bystander.count() >= last })
		bystander.mu.Lock()
		defer bystander.mu.Unlock()
		if bystander.err != nil && !errors.Is(bystander.err, io.EOF) || len(bystander.messages) != last {
			t.Errorf("the bystander got %d of %d messages, %v", len(bystander.messages), last, bystander.err)
		}
		for i, data := range bystander.messages {
			var m struct{ N int }
			if err := json.Unmarshal(data, &m); err != nil || m.N != i+1 {
				t.Errorf("the bystander's message %d is %s", i+1, data)
			}
		}
	})
}
