package engineio

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPollingMessages(t *testing.T) {
	h := newHost(t, nil)
	p := h.dialPolling()
	p.expectPost("4hello\x1ebAQID\x1e4wörld\x1e4\x1eb\x1e6")
	if got, want := p.rec.got(), []string{"hello", "b:\x01\x02\x03", "wörld", "", "b:"}; !slices.Equal(got, want) {
		t.Errorf("received %q, want %q", got, want)
	}
	if err := p.rec.Send(NewText([]byte("a")), NewBinary([]byte{1, 2, 3, 4}), NewText(nil), NewBinary(nil)); err != nil {
		t.Fatal(err)
	}
	p.expectGet("4a\x1ebAQIDBA==\x1e4\x1eb")
	waiting := p.getAsync(t.Context())
	_ = p.rec.Send(NewText([]byte("late")))
	if a := <-waiting; a.body != "4late" {
		t.Errorf("waiting poll answered %+v", a)
	}
}

// Every length of binary, because base64 is decoded in place.
func TestPollingBinaryRoundTrip(t *testing.T) {
	h := newHost(t, nil, withEcho)
	p := h.dialPolling()
	var body, want []string
	for n := range 300 {
		b := bytes.Repeat([]byte{0xff, 0, byte(n)}, n)[:n]
		body = append(body, "b"+base64.StdEncoding.EncodeToString(b))
		want = append(want, "b:"+string(b))
	}
	p.expectPost(strings.Join(body, "\x1e"))
	if got := p.rec.got(); !slices.Equal(got, want) {
		t.Error("binary messages were received otherwise than sent")
	}
	_, back := p.get()
	if got := decodePayload(t, back); !slices.Equal(got, want) {
		t.Error("binary messages came back otherwise than sent")
	}
}

func TestPollingResponseHeaders(t *testing.T) {
	h := newHost(t, nil)
	p := h.dialPolling()
	_ = p.rec.Send(NewText([]byte("x")))
	res, _ := p.request("GET", p.query(), "")
	if res.Header.Get("Content-Type") != "text/plain; charset=UTF-8" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("GET: %v", res.Header)
	}
	res, _ = p.request("POST", p.query(), "4x")
	if res.Header.Get("Content-Type") != "text/html" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("POST: %v", res.Header)
	}
}

func TestMalformedPayloads(t *testing.T) {
	tests := []struct {
		name, body string
		reason     Reason
		received   []string
	}{
		{"empty", "", ReasonParseError, nil},
		{"unknown type", "7x", ReasonParseError, nil},
		{"letter", "abc", ReasonParseError, nil},
		{"version 3 framing", "6:4hello", ReasonTransportClose, nil}, // a noop in version 4; see below
		{"trailing separator", "4a\x1e", ReasonParseError, []string{"a"}},
		{"double separator", "4a\x1e\x1e4b", ReasonParseError, []string{"a"}},
		{"bad base64", "b!!", ReasonParseError, nil},
		{"unpadded base64", "bAQ", ReasonParseError, nil},
		{"invalid UTF-8", "4\xff\xfe", ReasonParseError, nil},
		{"ping right after the handshake", "2", ReasonTransportError, nil},
		{"close, then more", "4a\x1e1\x1e4b", ReasonTransportClose, []string{"a"}},
	}
	h := newHost(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := h.dialPolling()
			status, _ := p.post(tt.body)
			if tt.name == "version 3 framing" {
				if status != 200 || p.rec.isClosed() {
					t.Errorf("status %d", status)
				}
				return
			}
			if want := map[bool]int{true: 200, false: 400}[tt.reason == ReasonTransportClose]; status != want {
				t.Errorf("status %d, want %d", status, want)
			}
			p.rec.expectClosed(t, tt.reason)
			if got := p.rec.got(); !slices.Equal(got, tt.received) {
				t.Errorf("received %q, want %q", got, tt.received)
			}
		})
	}
}

func TestHandlerErrorClosesPolling(t *testing.T) {
	refused := errors.New("refused")
	h := newHost(t, nil, withMessage(func(*recorder, []byte, bool) error { return refused }))
	p := h.dialPolling()
	if status, _ := p.post("4a\x1e4b"); status != 400 {
		t.Errorf("status %d", status)
	}
	p.rec.expectClosed(t, ReasonParseError)
	if !errors.Is(p.rec.err, refused) || len(p.rec.got()) != 1 {
		t.Errorf("error %v, received %q", p.rec.err, p.rec.got())
	}
}

func TestOctetStreamIsRefused(t *testing.T) {
	h := newHost(t, nil)
	p := h.dialPolling()
	res, _ := p.request("POST", p.query(), "\x01\x02", "Content-Type", "application/octet-stream")
	if res.StatusCode != 400 {
		t.Errorf("status %d", res.StatusCode)
	}
	p.rec.expectClosed(t, ReasonTransportError)
}

func TestOverlappingPolls(t *testing.T) {
	h := newHost(t, nil)
	p := h.dialPolling()
	first := p.getAsync(t.Context())
	if status, body := p.get(); status != 400 || !strings.Contains(body, `"code":3`) {
		t.Errorf("second poll: %d %s", status, body)
	}
	if a := <-first; a.status != 200 || a.body != "1" {
		t.Errorf("first poll: %+v", a)
	}
	p.rec.expectClosed(t, ReasonTransportError)
	if status, body := p.get(); status != 400 || !strings.Contains(body, `"code":1`) {
		t.Errorf("poll after the end: %d %s", status, body)
	}
}

func TestOverlappingPosts(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := newHost(t, nil, withMessage(func(*recorder, []byte, bool) error {
		close(entered)
		<-leave
		return nil
	}))
	p := h.dialPolling()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.post("4slow\x1e4never")
	}()
	<-entered
	if status, body := p.post("4second"); status != 400 || !strings.Contains(body, `"code":3`) {
		t.Errorf("second POST: %d %s", status, body)
	}
	if p.rec.isClosed() {
		t.Error("Closed came before Message returned")
	}
	close(leave)
	<-done
	p.rec.expectClosed(t, ReasonTransportError)
	if got := p.rec.got(); !slices.Equal(got, []string{"slow"}) {
		t.Errorf("received %q", got)
	}
}

func TestPollAbortedByClient(t *testing.T) {
	h := newHost(t, nil)
	p := h.dialPolling()
	ctx, cancel := context.WithCancel(t.Context())
	waiting := p.getAsync(ctx)
	cancel()
	<-waiting
	p.rec.expectClosed(t, ReasonTransportError)
}

func TestPostAbortedByClient(t *testing.T) {
	h := newHost(t, nil)
	p := h.dialPolling()
	nc, err := net.Dial("tcp", h.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = nc.Write([]byte("POST /engine.io/?" + p.query() + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n4half"))
	eventually(t, "POST under way", func() bool {
		p.rec.Session.mu.Lock()
		defer p.rec.Session.mu.Unlock()
		return p.rec.posting
	})
	_ = nc.Close()
	p.rec.expectClosed(t, ReasonTransportError)
	if got := p.rec.got(); len(got) != 0 {
		t.Errorf("received %q of half a request", got)
	}
}

func TestOversizedPost(t *testing.T) {
	h := newHost(t, &Options{MaxHTTPBufferSize: 100})
	for _, chunked := range []bool{false, true} {
		p := h.dialPolling()
		p.expectPost("4" + strings.Repeat("a", 99))
		req, _ := http.NewRequest("POST", h.http.URL+"/engine.io/?"+p.query(), strings.NewReader("4"+strings.Repeat("b", 100)))
		if chunked {
			req.ContentLength = -1
		}
		res, err := h.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, _ = body.ReadFrom(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge || body.Len() != 0 {
			t.Errorf("chunked %v: %d %q, want 413 without a body", chunked, res.StatusCode, body.String())
		}
		// The session lives on, as with the reference.
		p.expectPost("4after")
		if got := p.rec.got(); len(got) != 2 || got[1] != "after" {
			t.Errorf("received %.20q", got)
		}
	}
}

func TestClosePacketOverPolling(t *testing.T) {
	h := newHost(t, nil)
	t.Run("while a poll waits", func(t *testing.T) {
		p := h.dialPolling()
		waiting := p.getAsync(t.Context())
		p.expectPost("1")
		if a := <-waiting; a.body != "6" {
			t.Errorf("poll answered %+v", a)
		}
		p.rec.expectClosed(t, ReasonTransportClose)
		eventually(t, "session gone", func() bool { return h.ClientsCount() == 0 })
	})
	t.Run("before the next poll", func(t *testing.T) {
		p := h.dialPolling()
		_ = p.rec.Send(NewText([]byte("queued")))
		p.expectPost("1")
		p.rec.expectClosed(t, ReasonTransportClose)
		p.expectGet("4queued\x1e6")
		eventually(t, "session gone", func() bool { return h.ClientsCount() == 0 })
	})
}

// Regression: the answer to a poll was written without a deadline, so that a client that never read a large one held a
// goroutine and the payload for as long as it liked.
func TestPollThatNeverReads(t *testing.T) {
	h := newHost(t, &Options{PingInterval: time.Hour, PingTimeout: 50 * time.Millisecond, MaxQueueBytes: 64 << 20})
	p := h.dialPolling()
	_ = p.rec.Send(NewText(bytes.Repeat([]byte("x"), 32<<20)))
	nc, err := net.Dial("tcp", h.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = nc.Write([]byte("GET /engine.io/?" + p.query() + " HTTP/1.1\r\nHost: x\r\n\r\n"))
	p.rec.expectClosed(t, ReasonTransportError)
	eventually(t, "session gone", func() bool { return h.ClientsCount() == 0 })
}

// The deadline of a poll's answer must not outlive it on a connection that is kept alive, whatever the HTTP server does
// about it.
func TestPollDeadlineDoesNotStay(t *testing.T) {
	h := newHost(t, &Options{PingInterval: time.Hour, PingTimeout: 20 * time.Millisecond})
	h.client.Transport.(*http.Transport).MaxConnsPerHost = 1
	p := h.dialPolling()
	_ = p.rec.Send(NewText([]byte("a")))
	p.expectGet("4a")
	answered := time.Now()
	eventually(t, "the deadline has passed", func() bool { return time.Since(answered) > 30*time.Millisecond })
	p.expectPost("4b")
}

func TestPostThatNeverEnds(t *testing.T) {
	h := newHost(t, &Options{PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond})
	p := h.dialPolling()
	nc, err := net.Dial("tcp", h.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = nc.Write([]byte("POST /engine.io/?" + p.query() + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n4half"))
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	if n, err := nc.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) || n == 0 && errors.Is(err, net.ErrClosed) {
		t.Errorf("the server still waits for the body: %v", err)
	}
}

// The timeouts of the embedding http.Server must not cut what is meant to last.
func TestHTTPServerTimeouts(t *testing.T) {
	const timeout = 50 * time.Millisecond
	h := newHost(t, nil, withEcho, func(h *host) {
		h.http.Config.ReadHeaderTimeout = timeout
		h.http.Config.ReadTimeout = timeout
		h.http.Config.WriteTimeout = timeout
	})
	w, p := h.dialWebSocket(), h.dialPolling()
	waiting := p.getAsync(t.Context())
	loris, err := net.Dial("tcp", h.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer loris.Close()
	_, _ = loris.Write([]byte("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHo"))
	since := time.Now()
	eventually(t, "the timeouts have passed", func() bool { return time.Since(since) > 2*timeout })
	_ = p.rec.Send(NewText([]byte("late")))
	if a := <-waiting; a.body != "4late" {
		t.Errorf("poll answered %+v", a)
	}
	w.send("4late")
	w.expectText("4late")
	_ = loris.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, loris); err != nil {
		t.Errorf("the slow handshake is still there: %v", err)
	}
}

// A browser whose connection breaks sends a request again by itself. The answer to a first poll is lost then, which has to be
// noticed; a first POST has been handled, and is not a second time.
func TestRequestsThatABrowserRepeats(t *testing.T) {
	h := newHost(t, nil)
	p := h.dialPolling()
	for _, body := range []string{"4one", "4one"} {
		if res, got := p.request("POST", p.query()+"&t=1", body); res.StatusCode != http.StatusOK || got != "ok" {
			t.Fatalf("POST: %d %s", res.StatusCode, got)
		}
	}
	p.expectPost("4two")
	p.expectPost("4two")                               // without a t they are what they look like
	for _, body := range []string{"4three", "4four"} { // of a client whose t is always the same
		if res, got := p.request("POST", p.query()+"&t=9", body); res.StatusCode != http.StatusOK || got != "ok" {
			t.Fatalf("POST: %d %s", res.StatusCode, got)
		}
	}
	if got := p.rec.got(); !slices.Equal(got, []string{"one", "two", "two", "three", "four"}) {
		t.Errorf("got %q", got)
	}
	_ = p.rec.Send(NewText([]byte("x")))
	if res, got := p.request("GET", p.query()+"&t=2", ""); res.StatusCode != http.StatusOK || got != "4x" {
		t.Fatalf("poll: %d %s", res.StatusCode, got)
	}
	_ = p.rec.Send(NewText([]byte("y")))
	if res, _ := p.request("GET", p.query()+"&t=2", ""); res.StatusCode != http.StatusBadRequest {
		t.Errorf("a repeated poll: %d", res.StatusCode)
	}
	p.rec.expectClosed(t, ReasonTransportError)
}
