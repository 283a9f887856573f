package engineio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// smallBuffers makes the kernel take little from the server, so that writes are cut short.
func smallBuffers(l net.Listener) net.Listener { return smallBufferListener{l} }

type smallBufferListener struct{ net.Listener }

func (l smallBufferListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if tc, ok := nc.(*net.TCPConn); ok {
		_ = tc.SetWriteBuffer(4 << 10)
	}
	return nc, err
}

// narrow makes the kernel take little for a client that does not read.
func (w *wsClient) narrow() *wsClient {
	if tc, ok := w.nc.(*net.TCPConn); ok {
		_ = tc.SetReadBuffer(4 << 10)
	}
	return w
}

// block sends to the session of a client that does not read until its messages stay in the queue, and returns how
// many it sent.
func (w *wsClient) block(m *Message) (sent int) {
	w.t.Helper()
	eventually(w.t, "the connection takes no more", func() bool {
		if w.rec.QueuedBytes() == 0 {
			if err := w.rec.Send(m); err != nil {
				w.t.Fatalf("Send: %v", err)
			}
			sent++
			return false
		}
		if !w.rec.conn.nonblocking() {
			return sent > 100
		}
		// What is queued stays only if nobody is about to write it: the session waits to be writable.
		return w.rec.stuck()
	})
	return sent
}

// stuck reports whether the session's bytes have not moved for a while.
func (s *Session) stuck() bool {
	at := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.queued<<1 + s.queueOff
	}
	before := at()
	timeout := time.NewTimer(20 * time.Millisecond)
	defer timeout.Stop()
	<-timeout.C
	return before > 1 && at() == before
}

func TestSlowConsumerDelaysNobody(t *testing.T) {
	const slow, fast, messages = 8, 8, 200
	h := newHost(t, &Options{MaxQueueBytes: 8 << 20}, withListener(smallBuffers))
	var slows, fasts []*wsClient
	for range slow {
		slows = append(slows, h.dialWebSocket().narrow())
	}
	for range fast {
		fasts = append(fasts, h.dialWebSocket())
	}
	filler := NewText(bytes.Repeat([]byte("f"), 16<<10))
	for _, w := range slows {
		w.block(filler)
	}
	// All the flushers have slow sessions now. Everybody else gets all messages while those still wait.
	for i := range messages {
		m := NewText([]byte(numbered(i)))
		for _, w := range append(slows, fasts...) {
			if err := w.rec.Send(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, w := range fasts {
		for i := range messages {
			w.expectText("4" + numbered(i))
		}
	}
	for _, w := range slows {
		if w.rec.QueuedBytes() < messages*queueOverhead {
			t.Error("the slow consumer was not slow")
		}
	}
	// Past the bound the slow are closed, with their own reason, and the others are not.
	eventually(t, "slow consumers closed", func() bool {
		closed := true
		for _, w := range slows {
			for range 20 {
				closed = w.rec.Send(filler) != nil && closed
			}
		}
		return closed
	})
	for _, w := range slows {
		w.rec.expectClosed(t, ReasonSlowConsumer)
		if !errors.Is(w.rec.err, errSlowConsumer) {
			t.Errorf("error %v", w.rec.err)
		}
	}
	for _, w := range fasts {
		_ = w.rec.Send(NewText([]byte("end")))
		w.expectText("4end")
	}
}

func TestQueueBound(t *testing.T) {
	const bound = 10_000
	h := newHost(t, &Options{MaxQueueBytes: bound})
	payload := bytes.Repeat([]byte("q"), 1000)
	t.Run("many messages", func(t *testing.T) {
		p := h.dialPolling()
		n := 0
		for p.rec.Send(NewText(payload)) == nil {
			n++
			if q := p.rec.QueuedBytes(); q > bound {
				t.Fatalf("%d bytes are queued", q)
			}
		}
		if n != 9 {
			t.Errorf("%d messages were accepted, want 9", n)
		}
		p.rec.expectClosed(t, ReasonSlowConsumer)
	})
	t.Run("empty messages count too", func(t *testing.T) {
		p := h.dialPolling()
		n := 0
		for p.rec.Send(NewBinary(nil)) == nil {
			n++
		}
		if n > bound/queueOverhead {
			t.Errorf("%d empty messages were accepted", n)
		}
	})
	t.Run("one message of any size", func(t *testing.T) {
		p := h.dialPolling()
		if err := p.rec.Send(NewText(bytes.Repeat(payload, 100))); err != nil {
			t.Fatal(err)
		}
		if _, body := p.get(); len(body) != 100*len(payload)+1 {
			t.Errorf("got %d bytes", len(body))
		}
		eventually(t, "the server knows that it has left", func() bool { return p.rec.QueuedBytes() == 0 })
		_ = p.rec.Send(NewText(payload))
		if _, body := p.get(); len(body) != len(payload)+1 {
			t.Errorf("got %d bytes", len(body))
		}
	})
}

// streamTo sends messages of all sizes to a client that reads through tiny buffers and checks each byte.
func streamTo(t *testing.T, h *host, messages, largest int) {
	w := h.dialWebSocket()
	sizes := make([]int, messages)
	for i := range sizes {
		sizes[i] = rand.IntN(1 << rand.IntN(bitLen(largest)))
	}
	sizes[messages/2] = largest
	content := func(i int) []byte { return bytes.Repeat([]byte{'a' + byte(i%26)}, sizes[i]) }
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range sizes {
			if w.rec.WaitQueue(t.Context(), 100_000) != nil || w.rec.Send(NewText(content(i))) != nil {
				t.Errorf("message %d was not sent", i)
				return
			}
		}
	})
	for i := range sizes {
		if got := w.text(); got[0] != '4' || got[1:] != string(content(i)) {
			t.Fatalf("message %d: got %d bytes %.20q, want %d bytes %.20q", i, len(got)-1, got, sizes[i], content(i))
		}
	}
	wg.Wait()
	eventually(t, "nothing is queued", func() bool { return w.rec.QueuedBytes() == 0 })
}

func bitLen(n int) (bits int) {
	for ; n > 0; n >>= 1 {
		bits++
	}
	return bits
}

func TestPartialWrites(t *testing.T) {
	h := newHost(t, nil, withListener(smallBuffers))
	streamTo(t, h, 300, 1<<19)
}

func TestPartialWritesOverTLS(t *testing.T) {
	h := newHost(t, nil, withTLS, withListener(smallBuffers))
	streamTo(t, h, 200, 1<<18)
}

func TestTLS(t *testing.T) {
	h := newHost(t, nil, withTLS, withEcho)
	p := h.dialPolling()
	w := p.probe()
	w.send("5")
	for i := range 100 {
		w.send("4" + numbered(i))
	}
	for i := range 100 {
		w.expectText("4" + numbered(i))
	}
	if !p.rec.Handshake().Secure {
		t.Error("the handshake is not known as secure")
	}
	w.write(clientClose(1001))
	w.expectCloseFrame(1001)
	w.expectEnd()
	p.rec.expectClosed(t, ReasonTransportClose)

	w = h.dialWebSocket()
	w.rec.Close(ReasonForcedClose)
	w.expectCloseFrame(1000)
	w.write(clientClose(1000))
	w.expectEnd()
}

func TestSlowConsumerOverTLS(t *testing.T) {
	h := newHost(t, &Options{MaxQueueBytes: 1 << 20}, withTLS, withListener(smallBuffers))
	slow, fast := h.dialWebSocket().narrow(), h.dialWebSocket()
	filler := NewText(bytes.Repeat([]byte("f"), 64<<10))
	eventually(t, "closed", func() bool {
		return slow.rec.Send(filler) != nil
	})
	slow.rec.expectClosed(t, ReasonSlowConsumer)
	_ = fast.rec.Send(NewText([]byte("unimpressed")))
	fast.expectText("4unimpressed")
}

// stubborn is a connection that takes its time to close, as TLS does when its goodbye does not fit the send buffer.
type stubborn struct {
	net.Conn
	release <-chan struct{}
}

func (c stubborn) Close() error {
	<-c.release
	return c.Conn.Close()
}

type stubbornListener struct {
	net.Listener
	release <-chan struct{}
}

func (l stubbornListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return stubborn{nc, l.release}, nil
}

// Regression: the connection was closed with the session's lock held, so that a TLS client that did not read could hold
// up a broadcaster and the heartbeats of everyone for seconds.
func TestClosingDoesNotWait(t *testing.T) {
	release := make(chan struct{})
	h := newHost(t, nil, withListener(func(l net.Listener) net.Listener { return stubbornListener{l, release} }))
	defer close(release)
	w := h.dialWebSocket()
	w.rec.endLocking(ReasonPingTimeout, nil) // waits for release, if it waits
	p := h.dialPolling()
	p.probe()
	p.rec.endLocking(ReasonPingTimeout, nil)
	if n := h.ClientsCount(); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// Messages of concurrent senders arrive once and in the order of each; those of one Send stay together.
func TestConcurrentSend(t *testing.T) {
	const senders, each = 8, 500
	h := newHost(t, nil)
	w := h.dialWebSocket()
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				_ = w.rec.Send(NewText(fmt.Appendf(nil, "%d %d", s, i)), NewBinary(fmt.Appendf(nil, "%d %d", s, i)))
			}
		})
	}
	next := make([]int, senders)
	for range senders * each {
		header := w.text()
		var s, i int
		if _, err := fmt.Sscanf(header, "4%d %d", &s, &i); err != nil || next[s] != i {
			t.Fatalf("got %q, %v, want message %d", header, err, next[s])
		}
		next[s]++
		if f := w.mustFrame(); string(f.Payload) != header[1:] {
			t.Fatalf("%q was followed by %q", header, f.Payload)
		}
	}
	wg.Wait()
}

func TestTrySend(t *testing.T) {
	h := newHost(t, nil, withListener(smallBuffers))
	message := NewText([]byte("volatile"))
	p := h.dialPolling()
	if p.rec.TrySend(message) {
		t.Error("was queued although no poll waits")
	}
	waiting := p.getAsync(t.Context())
	if !p.rec.TrySend(message) {
		t.Error("was dropped although a poll waits")
	}
	if a := <-waiting; a.body != "4volatile" {
		t.Errorf("poll answered %+v", a)
	}

	w := h.dialWebSocket().narrow()
	eventually(t, "nothing is queued", func() bool { return w.rec.QueuedBytes() == 0 })
	if !w.rec.TrySend(message) {
		t.Error("was dropped although the connection takes it")
	}
	w.expectText("4volatile")
	w.block(NewText(bytes.Repeat([]byte("x"), 64<<10)))
	if w.rec.TrySend(message) {
		t.Error("was queued behind what waits")
	}
	w.rec.Close(ReasonForcedClose)
	if w.rec.TrySend(message) {
		t.Error("was queued after Close")
	}
}

func TestWaitQueue(t *testing.T) {
	h := newHost(t, nil)
	p := h.dialPolling()
	if err := p.rec.WaitQueue(t.Context(), 0); err != nil {
		t.Errorf("nothing queued: %v", err)
	}
	_ = p.rec.Send(NewText(make([]byte, 1000)))
	if err := p.rec.WaitQueue(t.Context(), 2000); err != nil {
		t.Errorf("below the bound: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.rec.WaitQueue(ctx, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	result := make(chan error, 1)
	wait := func() {
		go func() { result <- p.rec.WaitQueue(t.Context(), 10) }()
		eventually(t, "waiting", func() bool {
			p.rec.Session.mu.Lock()
			defer p.rec.Session.mu.Unlock()
			return p.rec.wait != nil && p.rec.wait.drained != nil
		})
	}
	wait()
	p.get()
	if err := <-result; err != nil {
		t.Errorf("drained: %v", err)
	}
	_ = p.rec.Send(NewText(make([]byte, 1000)))
	wait()
	p.rec.Close(ReasonForcedClose)
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("closed while waiting: %v", err)
	}
	if err := p.rec.WaitQueue(t.Context(), 10); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
