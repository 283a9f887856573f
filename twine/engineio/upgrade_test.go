package engineio

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// probe opens the WebSocket of an upgrade and takes it through the probe.
func (p *pollClient) probe() *wsClient {
	p.t.Helper()
	w := p.dialRaw("EIO=4&transport=websocket&sid=" + p.SID)
	w.opened, w.rec = p.opened, p.rec
	w.send("2probe")
	w.expectText("3probe")
	return w
}

func TestUpgrade(t *testing.T) {
	h := newHost(t, nil, withEcho)
	p := h.dialPolling()
	waiting := p.getAsync(t.Context())
	w := p.probe()
	if a := <-waiting; a.body != "6" {
		t.Errorf("the poll was let go with %+v, want a noop", a)
	}
	if p.rec.Transport() != Polling {
		t.Error("the transport changed before the client asked for it")
	}
	_ = p.rec.Send(NewText([]byte("queued during the probe")))
	w.send("5")
	w.expectText("4queued during the probe")
	w.send("4over WebSocket")
	w.expectText("4over WebSocket")
	if p.rec.Transport() != WebSocket {
		t.Error("the transport did not change")
	}
	for _, method := range []string{"GET", "POST"} {
		if res, body := h.request(method, p.query(), ""); res.StatusCode != 400 || !strings.Contains(body, `"code":3`) {
			t.Errorf("%s after the upgrade: %d %s", method, res.StatusCode, body)
		}
	}
	if p.rec.isClosed() {
		t.Error("a late poll closed the session")
	}
}

func TestMessagesDuringTheProbeStayWithPolling(t *testing.T) {
	h := newHost(t, nil, withEcho)
	p := h.dialPolling()
	w := p.probe()
	p.expectPost("4a")
	p.expectGet("4a")
	_ = p.rec.Send(NewText([]byte("b")))
	p.expectGet("4b")
	p.expectGet("6") // no long wait while the client is about to leave
	w.send("5")
	w.send("4c")
	w.expectText("4c")
	if got := p.rec.got(); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("received %q", got)
	}
}

func TestUpgradeThatStops(t *testing.T) {
	for name, stop := range map[string]func(t *testing.T, p *pollClient){
		"before the probe": func(_ *testing.T, p *pollClient) {
			w := p.dialRaw("EIO=4&transport=websocket&sid=" + p.SID)
			eventually(p.t, "probing", p.rec.probing)
			_ = w.nc.Close()
		},
		"after the probe": func(_ *testing.T, p *pollClient) { _ = p.probe().nc.Close() },
		"with a close frame": func(_ *testing.T, p *pollClient) {
			w := p.probe()
			w.write(clientClose(1000))
			w.expectCloseFrame(1000)
			w.expectEnd()
		},
		"with nonsense": func(_ *testing.T, p *pollClient) {
			w := p.dialRaw("EIO=4&transport=websocket&sid=" + p.SID)
			w.send("4not a probe")
			w.expectEnd()
		},
		"with a binary frame": func(_ *testing.T, p *pollClient) {
			w := p.dialRaw("EIO=4&transport=websocket&sid=" + p.SID)
			w.sendBinary("2probe")
			w.expectEnd()
		},
		"with a frame too large": func(_ *testing.T, p *pollClient) {
			w := p.dialRaw("EIO=4&transport=websocket&sid=" + p.SID)
			w.write(longFrameHeader(1 << 40))
			w.expectEnd()
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, nil, withEcho)
			p := h.dialPolling()
			stop(t, p)
			eventually(t, "upgrade given up", func() bool { return !p.rec.probing() })
			// Polling goes on, and another upgrade may follow.
			p.expectPost("4still polling")
			p.expectGet("4still polling")
			w := p.probe()
			w.send("5")
			w.send("4upgraded")
			w.expectText("4upgraded")
		})
	}
}

func TestUpgradeTimeout(t *testing.T) {
	h := newHost(t, &Options{UpgradeTimeout: 30 * time.Millisecond}, withEcho)
	p := h.dialPolling()
	w := p.probe()
	w.expectEnd()
	p.expectPost("4still polling")
	p.expectGet("4still polling")
	silent := p.dialRaw("EIO=4&transport=websocket&sid=" + p.SID)
	silent.expectEnd()
	w = p.probe()
	w.send("5")
	w.send("4upgraded")
	w.expectText("4upgraded")
	// The timeout is that of the upgrade alone.
	since := time.Now()
	eventually(t, "the timeout has passed", func() bool { return time.Since(since) > 40*time.Millisecond })
	w.send("4alive")
	w.expectText("4alive")
}

func TestTwoUpgradesAtOnce(t *testing.T) {
	h := newHost(t, nil, withEcho)
	p := h.dialPolling()
	first := p.probe()
	second := p.dialRaw("EIO=4&transport=websocket&sid=" + p.SID)
	second.expectEnd()
	first.send("5")
	first.send("4first")
	first.expectText("4first")
	// Nor may a session that has upgraded, or that began with WebSocket.
	p.dialRaw("EIO=4&transport=websocket&sid=" + p.SID).expectEnd()
	w := h.dialWebSocket()
	h.dialRaw("EIO=4&transport=websocket&sid=" + w.SID).expectEnd()
	w.send("4alive")
	w.expectText("4alive")
}

func TestSessionClosedDuringUpgrade(t *testing.T) {
	h := newHost(t, nil)
	t.Run("by the server", func(t *testing.T) {
		p := h.dialPolling()
		w := p.probe()
		_ = p.rec.Send(NewText([]byte("last")))
		p.rec.Close(ReasonForcedClose)
		w.expectEnd()
		p.expectGet("4last\x1e1")
		p.rec.expectClosed(t, ReasonForcedClose)
	})
	t.Run("by the client", func(t *testing.T) {
		p := h.dialPolling()
		w := p.probe()
		p.expectPost("1")
		w.expectEnd()
		p.rec.expectClosed(t, ReasonTransportClose)
	})
	t.Run("by an overlapping poll", func(t *testing.T) {
		p := h.dialPolling()
		w := p.probe()
		p.rec.endLocking(ReasonTransportError, errPollOverlap)
		w.expectEnd()
		p.rec.expectClosed(t, ReasonTransportError)
	})
}

// Regression: a client that aborted its waiting poll after the upgrade had its session closed if the poll noticed the
// abortion before the upgrade.
func TestPollAbortedAfterUpgrade(t *testing.T) {
	h := newHost(t, nil, withEcho)
	p := h.dialPolling()
	w := p.probe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.rec.servePoll(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
	}()
	eventually(t, "poll waits", p.rec.polling)
	s := p.rec.Session
	s.mu.Lock()
	cancel()
	s.conn, s.probe = s.probe, nil
	s.mu.Unlock()
	<-done
	w.send("4alive")
	w.expectText("4alive")
}

// packetConn is a client's side of a transport that polling is upgraded to.
type packetConn interface {
	put(packet string, binary bool)
	take() (packet string, binary bool, err error)
}

func (w *wsClient) put(packet string, binary bool) {
	op := ws.OpText
	if binary {
		op = ws.OpBinary
	}
	w.write(clientFrame(op, true, packet))
}

func (w *wsClient) take() (string, bool, error) {
	f, err := w.frame()
	return string(f.Payload), f.Header.OpCode == ws.OpBinary, err
}

// upgrader is a client that follows the protocol: it sends and receives all the while and upgrades in between.
type upgrader struct {
	*pollClient
	total int

	dial func(*pollClient) (packetConn, error)

	tx   sync.Mutex // one POST at a time; held for the switch
	conn packetConn // guarded by tx
	got  []string
	gone chan struct{} // closed when polling has been paused
	stop chan struct{} // closed to pause polling
}

func (u *upgrader) sendAll() error {
	for i := 0; i < u.total; {
		u.tx.Lock()
		if u.conn != nil {
			u.conn.put(packetFor(i), isBinary(i))
			i++
			u.tx.Unlock()
			continue
		}
		var packets []string
		for range 1 + rand.IntN(4) {
			if i < u.total {
				packet := packetFor(i)
				if isBinary(i) {
					packet = "b" + base64.StdEncoding.EncodeToString([]byte(packet))
				}
				packets = append(packets, packet)
				i++
			}
		}
		res, _, err := u.try(u.t.Context(), "POST", u.query(), strings.Join(packets, "\x1e"))
		u.tx.Unlock()
		if err != nil || res.StatusCode != 200 {
			return fmt.Errorf("POST: %v %v", res, err)
		}
	}
	return nil
}

func (u *upgrader) pollUntilPaused() error {
	defer close(u.gone)
	for {
		select {
		case <-u.stop:
			return nil
		default:
		}
		res, body, err := u.try(u.t.Context(), "GET", u.query(), "")
		if err != nil || res.StatusCode != 200 {
			return fmt.Errorf("GET: %v %q %v", res, body, err)
		}
		u.got = append(u.got, decodePayload(u.t, body)...)
	}
}

func (u *upgrader) run() error {
	errs := make(chan error, 2)
	go func() { errs <- u.pollUntilPaused() }()
	go func() { errs <- u.sendAll() }()
	after := rand.IntN(u.total / 2)
	eventually(u.t, "some messages over polling", func() bool { return len(u.rec.got()) >= after })
	conn, err := u.dial(u.pollClient)
	if err != nil {
		return err
	}
	conn.put("2probe", false)
	if packet, _, err := conn.take(); err != nil || packet != "3probe" {
		return fmt.Errorf("probe answered %q, %v", packet, err)
	}
	close(u.stop)
	<-u.gone
	u.tx.Lock()
	conn.put("5", false)
	u.conn = conn
	u.tx.Unlock()
	for len(u.got) < u.total {
		packet, binary, err := conn.take()
		if err != nil {
			return err
		}
		switch {
		case binary:
			u.got = append(u.got, "b:"+packet)
		case packet[0] == '4':
			u.got = append(u.got, packet[1:])
		}
	}
	return errors.Join(<-errs, <-errs)
}

// Every third message is binary.
func isBinary(i int) bool { return i%3 == 0 }

func packetFor(i int) string {
	if isBinary(i) {
		return numbered(i)
	}
	return "4" + numbered(i)
}

func TestUpgradeUnderTraffic(t *testing.T) {
	t.Run(WebSocket, func(t *testing.T) {
		upgradeUnderTraffic(t, func(p *pollClient) (packetConn, error) {
			return p.tryDial("EIO=4&transport=websocket&sid=" + p.SID)
		})
	})
	t.Run(WebTransport, func(t *testing.T) {
		upgradeUnderTraffic(t, func(p *pollClient) (packetConn, error) { return p.openStream(p.sidPacket()), nil })
	})
}

func upgradeUnderTraffic(t *testing.T, dial func(*pollClient) (packetConn, error)) {
	const clients, total = 20, 1500
	var want []string
	for i := range total {
		if isBinary(i) {
			want = append(want, "b:"+numbered(i))
		} else {
			want = append(want, numbered(i))
		}
	}
	var senders sync.WaitGroup
	h := newHost(t, &Options{Transports: allTransports}, withAccept(func(r *recorder) {
		senders.Go(func() {
			for i := range total {
				m := NewText([]byte(numbered(i)))
				if isBinary(i) {
					m = NewBinary([]byte(numbered(i)))
				}
				if r.WaitQueue(t.Context(), 500) != nil || r.Send(m) != nil {
					return
				}
			}
		})
	}))
	h.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 2 * clients
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			u := &upgrader{pollClient: h.dialPolling(), dial: dial, total: total, gone: make(chan struct{}), stop: make(chan struct{})}
			u.got = decodePayload(t, strings.Join(u.initial, "\x1e"))
			if err := u.run(); err != nil {
				t.Error(err)
				return
			}
			if !slices.Equal(u.got, want) {
				t.Errorf("the client got %d messages, not those sent in their order: %s", len(u.got), difference(u.got, want))
			}
			eventually(t, "all messages at the server", func() bool { return len(u.rec.got()) >= total })
			if got := u.rec.got(); !slices.Equal(got, want) {
				t.Errorf("the server got %d messages, not those sent in their order: %s", len(got), difference(got, want))
			}
		})
	}
	wg.Wait()
	senders.Wait()
}

func difference(got, want []string) string {
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			return fmt.Sprintf("from %d: %q, want %q", i, got[i:min(len(got), i+3)], want[i:min(len(want), i+3)])
		}
	}
	return fmt.Sprintf("%d too many", len(got)-len(want))
}
