package engineio

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// pipeLimit is the largest message of FuzzWebSocketReader's server, small so that the fuzzer gets past it.
const pipeLimit = 1000

// FuzzWebSocketReader sends bytes to a real session, from the HTTP request on, through a pipe. The handler must receive
// what a reader that works another way finds in them, what is kept of an unfinished message must be bounded, all that the
// server answers must be well-formed, and the session must end when the client is gone.
func FuzzWebSocketReader(f *testing.F) {
	hello := clientFrame(ws.OpText, true, "4hello")
	f.Add(hello, []byte{1}, false)
	f.Add(frames(hello, clientFrame(ws.OpPing, true, "p"), hello, clientClose(1000), hello), []byte{3, 200}, false)
	f.Add(frames(clientFrame(ws.OpText, false, "4a"), clientFrame(ws.OpContinuation, false, "b"), clientFrame(ws.OpContinuation, true, "")), []byte{5, 5}, false)
	f.Add(frames(clientFrame(ws.OpBinary, false, strings.Repeat("x", 600)), clientFrame(ws.OpContinuation, true, strings.Repeat("y", 401))), []byte{0, 7}, false)
	f.Add(clientFrame(ws.OpBinary, true, strings.Repeat("x", pipeLimit))[:900], []byte{}, false)
	f.Add(frames(clientFrame(ws.OpText, true, "bAQ=="), clientFrame(ws.OpText, true, "1"), hello), []byte{}, false)
	f.Add(frames(clientFrame(ws.OpText, true, "2"), hello), []byte{}, false)
	f.Add(frames(clientFrame(ws.OpText, true, "4\xff"), hello), []byte{}, false)
	f.Add(frames(longFrameHeader(1<<63), hello), []byte{9}, false)
	f.Add(frames(hello, []byte{0xc1, 0x80, 0, 0, 0, 0}), []byte{2}, true)
	f.Add(frames(deflatedFrame("4hello, hello, hello"), hello), []byte{2}, true)
	f.Add(frames(deflatedFrame("4"+strings.Repeat("x", 20*pipeLimit)), hello), []byte{}, true)
	f.Add(deflatedFrame("4hello"), []byte{}, false)

	accepted := make(chan *pipeHandler, 1)
	sv := NewServer(&Options{
		PingInterval: time.Hour, MaxHTTPBufferSize: pipeLimit, PerMessageDeflate: &PerMessageDeflate{}, Logger: slog.New(slog.DiscardHandler),
	}, func(s *Session) Handler {
		h := &pipeHandler{session: s, closed: make(chan struct{})}
		accepted <- h
		return h
	})
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := sv.Close(ctx); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, stream, cuts []byte, deflate bool) {
		client, server := net.Pipe()
		defer client.Close()
		answers := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(client)
			answers <- all
		}()
		conn := &countedConn{Conn: server, waits: make(chan int, 1)}
		sv.ServeHTTP(hijacked{httptest.NewRecorder(), conn}, webSocketRequest(deflate))
		h := <-accepted
		conn.handler.Store(h)

		writeInPieces(client, stream, cuts)
		waiting := conn.await(t, len(stream), h.closed)
		h.mu.Lock()
		got := h.messages
		h.mu.Unlock()
		if want := messagesOf(stream, pipeLimit); !deflate && !slices.Equal(got, want) {
			t.Errorf("received %q, want %q", got, want)
		}
		if n := len(strings.Join(got, "")); n > pipeLimit*len(stream) {
			t.Errorf("%d bytes became %d", len(stream), n)
		}
		if waiting {
			if left, parts := conn.left.Load(), conn.parts.Load(); left > 2*(pipeLimit+ws.MaxHeaderSize+readSize) || parts > 2*pipeLimit {
				t.Errorf("the reader keeps %d and %d bytes", left, parts)
			}
		}

		client.Close()
		within(t, "the session ends", h.closed)
		checkAnswers(t, <-answers)
	})
}

// deflatedFrame returns a compressed text message as a client sends it.
func deflatedFrame(text string) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = w.Write([]byte(text))
	_ = w.Flush()
	frame := clientFrame(ws.OpText, true, strings.TrimSuffix(b.String(), "\x00\x00\xff\xff"))
	frame[0] |= 0x40
	return frame
}

// within waits for a channel to be closed, without the delay of eventually.
func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		t.Fatal("waited in vain: " + what)
	}
}

type pipeHandler struct {
	session *Session
	closed  chan struct{}

	mu       sync.Mutex
	messages []string
}

func (h *pipeHandler) Message(data []byte, binary bool) error {
	kind := ""
	if binary {
		kind = "b:"
	}
	h.mu.Lock()
	h.messages = append(h.messages, kind+string(data))
	h.mu.Unlock()
	return nil
}

func (h *pipeHandler) Closed(Reason, error) { close(h.closed) }

func (h *pipeHandler) conn() *conn {
	h.session.mu.Lock()
	defer h.session.mu.Unlock()
	if h.session.conn == nil {
		return new(conn)
	}
	return h.session.conn
}

// countedConn tells how many bytes were read each time that the reader wants more, and how many it keeps then.
type countedConn struct {
	net.Conn
	total       int
	waits       chan int
	handler     atomic.Pointer[pipeHandler]
	left, parts atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	if h := c.handler.Load(); h != nil {
		kept := h.conn() // what it has is the reader's, and so this goroutine's
		c.left.Store(int64(cap(kept.left)))
		c.parts.Store(int64(cap(kept.parts)))
	}
	select {
	case <-c.waits:
	default:
	}
	c.waits <- c.total
	n, err := c.Conn.Read(b)
	c.total += n
	return n, err
}

// await returns when the reader has handled n bytes and waits for more, or, with false, when the session has ended.
func (c *countedConn) await(t *testing.T, n int, ended <-chan struct{}) bool {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case total := <-c.waits:
			if total == n {
				return true
			}
		case <-ended:
			return false
		case <-timer.C:
			t.Fatalf("the reader did not take %d bytes", n)
		}
	}
}

func writeInPieces(w net.Conn, stream, cuts []byte) {
	_ = w.SetWriteDeadline(time.Now().Add(patience))
	for _, n := range append(cuts, 255) {
		n := min(int(n), len(stream))
		if n == 0 {
			continue
		}
		if _, err := w.Write(stream[:n]); err != nil {
			return // the server has closed the connection
		}
		stream = stream[n:]
	}
	if len(stream) > 0 {
		_, _ = w.Write(stream)
	}
}

// hijacked is the response to a request that came over conn.
type hijacked struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

func webSocketRequest(deflate bool) *http.Request {
	r := httptest.NewRequest("GET", "/engine.io/?EIO=4&transport=websocket", nil)
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
		r.Header.Set(name, value)
	}
	if deflate {
		r.Header.Set("Sec-WebSocket-Extensions", "permessage-deflate")
	}
	return r
}

// checkAnswers checks that the server sent its handshake and then nothing but frames, unmasked and in one piece. The last
// one may be cut off because the client left.
func checkAnswers(t *testing.T, answers []byte) {
	t.Helper()
	head, rest, ok := bytes.Cut(answers, []byte("\r\n\r\n"))
	if !ok || !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		t.Fatalf("got %q, want a WebSocket", answers)
	}
	r := bytes.NewReader(rest)
	closed := false
	for r.Len() > 0 {
		h, err := ws.ReadHeader(r)
		if err == io.EOF || err == io.ErrUnexpectedEOF || err == nil && h.Length > int64(r.Len()) {
			return
		}
		if err != nil || h.Masked || !h.Fin || h.Rsv != 0 || h.OpCode.IsReserved() || h.OpCode == ws.OpContinuation || closed {
			t.Fatalf("the server sent %+v (%v), after its close frame: %v", h, err, closed)
		}
		closed = h.OpCode == ws.OpClose
		_, _ = r.Seek(h.Length, io.SeekCurrent)
	}
}

// messagesOf returns the messages of a client's frames, up to where they break a rule or the client closes.
func messagesOf(b []byte, limit int) (messages []string) {
	var parts []byte
	var partOp byte
	for len(b) >= 2 {
		op, fin := b[0]&0xf, b[0]&0x80 != 0
		length, head := uint64(b[1]&0x7f), 2
		switch {
		case length == 126 && len(b) >= 4:
			length, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
		case length == 127 && len(b) >= 10:
			length, head = binary.BigEndian.Uint64(b[2:]), 10
		case length >= 126:
			return messages
		}
		control, continuation := op >= 8, op == 0
		switch {
		case b[0]&0x70 != 0, b[1]&0x80 == 0, op > 2 && op < 8, op > 10:
			return messages
		case control && (!fin || length > 125), !control && continuation != (partOp != 0):
			return messages
		case !control && length > uint64(limit-len(parts)), uint64(len(b)) < uint64(head)+4+length:
			return messages
		}
		mask, payload := b[head:head+4], slices.Clone(b[head+4:head+4+int(length)])
		b = b[head+4+int(length):]
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
		switch {
		case op == 8:
			return messages
		case control:
			continue
		case continuation:
			payload, op = append(parts, payload...), partOp
		}
		if !fin {
			parts, partOp = payload, op
			continue
		}
		parts, partOp = nil, 0
		message, goesOn := messageOf(payload, op == 2)
		messages = append(messages, message...)
		if !goesOn {
			return messages
		}
	}
	return messages
}

// messageOf returns the message that a packet carries, if it does, and whether the session goes on behind it.
func messageOf(packet []byte, isBinary bool) (message []string, goesOn bool) {
	switch {
	case isBinary:
		return []string{"b:" + string(packet)}, true
	case len(packet) == 0, !utf8.Valid(packet):
		return nil, false
	}
	switch packet[0] {
	case '4':
		return []string{string(packet[1:])}, true
	case 'b':
		data, err := base64.StdEncoding.DecodeString(string(packet[1:]))
		if err != nil {
			return nil, false
		}
		return []string{"b:" + string(data)}, true
	case '0', '3', '5', '6':
		return nil, true
	}
	return nil, false
}
