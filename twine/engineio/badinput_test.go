package engineio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// What a client can do to hold memory or time, many times over. That each of these is handled is tested elsewhere; here
// it is counted what is left of it.

// heap returns the bytes that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // so that what a sync.Pool held is gone, too
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// expectHeap waits until no more than limit bytes are in use beyond what was before.
func expectHeap(t *testing.T, before, limit int64) {
	t.Helper()
	var more int64
	defer func() {
		if more > limit {
			t.Errorf("%d bytes are held, want at most %d", more, limit)
		}
	}()
	eventually(t, "memory is given back", func() bool { more = heap() - before; return more <= limit })
}

func (h *host) dialTCP() net.Conn {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.http.Listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// Handshakes that come one byte at a time never become sessions. They are the http.Server's to end: see Server.ServeHTTP.
func TestSlowLorisHandshakes(t *testing.T) {
	const lorises = 100
	h := newHost(t, nil, func(h *host) { h.http.Config.ReadHeaderTimeout = 200 * time.Millisecond })
	before := heap()
	ended := make(chan error, lorises)
	for range lorises {
		nc := h.dialTCP()
		go func() {
			for _, b := range []byte("GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nUpgrade: websocket\r\nX: " + strings.Repeat("x", 1<<20)) {
				_ = nc.SetReadDeadline(time.Now().Add(5 * time.Millisecond)) // the time until the next byte
				if _, err := nc.Read(make([]byte, 100)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				if _, err := nc.Write([]byte{b}); err != nil {
					break
				}
			}
			_ = nc.Close()
			ended <- nil
		}()
	}
	deadline := time.After(patience)
	for range lorises {
		select {
		case <-ended:
		case <-deadline:
			t.Fatal("slow handshakes are still there")
		}
	}
	if n := len(h.all()); n != 0 {
		t.Errorf("%d of them became sessions", n)
	}
	expectHeap(t, before, 1<<20)
}

// A client that asks for polls, on one connection after the other, and reads none of the answers, is bounded by
// MaxQueueBytes as a client without a poll is. Regression: what was on its way in an answer did not count.
func TestPollsThatNeverRead(t *testing.T) {
	const (
		bound   = 4 << 20
		message = 512 << 10 // far more than the kernel takes
		enough  = 50
	)
	h := newHost(t, &Options{PingInterval: time.Hour, PingTimeout: patience, MaxQueueBytes: bound}, withListener(smallBuffers))
	p := h.dialPolling()
	before := heap()
	sent := 0
	for ; sent < enough && p.rec.Send(NewText(bytes.Repeat([]byte("x"), message))) == nil; sent++ {
		nc := h.dialTCP()
		_, _ = nc.Write([]byte("GET /engine.io/?" + p.query() + " HTTP/1.1\r\nHost: x\r\n\r\n"))
		eventually(t, "the poll is being answered", func() bool {
			p.rec.Session.mu.Lock()
			defer p.rec.Session.mu.Unlock()
			return p.rec.state != stateOpen || len(p.rec.queue) == 0
		})
	}
	if sent == enough {
		t.Fatalf("%d messages were taken for a client that reads nothing", sent)
	}
	p.rec.expectClosed(t, ReasonSlowConsumer)
	expectHeap(t, before, 4*bound)
	eventually(t, "session gone", func() bool { return h.ClientsCount() == 0 })
}

// Clients that never answer a ping are gone after PingInterval and PingTimeout, whatever they sent and did not read.
func TestClientsThatNeverAnswerPings(t *testing.T) {
	const clients = 300
	h := newHost(t, &Options{PingInterval: 50 * time.Millisecond, PingTimeout: 50 * time.Millisecond})
	before := heap()
	half := clientFrame(ws.OpText, true, "4"+strings.Repeat("x", 20_000))[:10_000]
	start := time.Now()
	for i := range clients {
		if i%2 == 0 {
			h.request("GET", "EIO=4&transport=polling", "")
			continue
		}
		_, _ = h.dialRaw("EIO=4&transport=websocket").nc.Write(half)
	}
	eventually(t, "all are gone", func() bool { return h.ClientsCount() == 0 })
	t.Logf("gone %v after the first came", time.Since(start))
	for _, r := range h.all() {
		r.expectClosed(t, ReasonPingTimeout)
	}
	h.mu.Lock()
	h.accepted = nil // the test's own record of them
	h.mu.Unlock()
	expectHeap(t, before, 2<<20)
}

// Upgrades that stop half-way end after UpgradeTimeout, and what they had sent goes with them.
func TestUpgradesThatStopHalfway(t *testing.T) {
	const clients = 30
	h := newHost(t, &Options{UpgradeTimeout: time.Second, PingInterval: time.Hour}, withEcho)
	half := clientFrame(ws.OpText, true, strings.Repeat("x", 500_000))[:400_000]
	var polls []*pollClient
	before := heap()
	for range clients {
		p := h.dialPolling()
		polls = append(polls, p)
		w := p.probe()
		w.write(half)
		go func() { _, _ = io.Copy(io.Discard, w.nc) }()
	}
	for _, p := range polls {
		eventually(t, "the upgrade has ended", func() bool { return !p.rec.probing() })
		p.expectPost("4still polling")
		p.expectGet("4still polling")
	}
	expectHeap(t, before, 4<<20)
}

// Regression: the timer of an upgrade kept what had arrived on a connection that was long closed, so that one client
// could pile up a megabyte with each upgrade that it broke off.
func TestUpgradesThatAreBrokenOff(t *testing.T) {
	const upgrades = 30
	h := newHost(t, &Options{UpgradeTimeout: time.Hour, PingInterval: time.Hour}, withEcho)
	p := h.dialPolling()
	half := clientFrame(ws.OpText, true, strings.Repeat("x", 900_000))[:800_000]
	before := heap()
	for range upgrades {
		w := p.probe()
		w.write(half)
		_ = w.nc.Close()
		eventually(t, "the upgrade has ended", func() bool { return !p.rec.probing() })
	}
	expectHeap(t, before, 4<<20)
	p.expectPost("4still polling")
	p.expectGet("4still polling")
}

// A body that is announced and never sent holds one goroutine of the HTTP server until PingInterval and PingTimeout have
// passed, and the session cannot be used for a second one.
func TestPostsThatNeverEnd(t *testing.T) {
	const clients = 50
	h := newHost(t, &Options{PingInterval: 100 * time.Millisecond, PingTimeout: 100 * time.Millisecond})
	before := heap()
	for range clients {
		p := h.dialPolling()
		_, _ = h.dialTCP().Write([]byte("POST /engine.io/?" + p.query() + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n4half"))
	}
	eventually(t, "all are gone", func() bool { return h.ClientsCount() == 0 })
	h.mu.Lock()
	h.accepted = nil
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if res, _, err := h.try(ctx, http.MethodGet, "EIO=4&transport=polling", ""); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("another client gets %v, %v", res, err)
	}
	expectHeap(t, before, 2<<20)
}
