//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
)

var twinejsTransports = []string{"websocket", "polling"}

// TestTwinejsOffline takes the network from a browser in the middle of a stream, as a laptop's lid does.
func TestTwinejsOffline(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longReplay...)
	p := startTwinePages(t, d.url()+"/twine.js", d.url())
	for _, tab := range twinejsTransports {
		p.url, _, _ = cutQuery(p.url)
		p.url += "?" + tab
		p.start(tab, "r")
	}
	stream := startPacedStream(t, d, "r")
	for i := range 3 {
		for _, tab := range twinejsTransports {
			p.waitFor(tab, "r", stream.last()+3)
		}
		p.offline("polling", true) // both are in one profile
		for _, tab := range twinejsTransports {
			waitConsole(t, p.browser, tab, "state disconnected, ", i+1)
		}
		missed := stream.last() + 10
		eventually(t, "messages are missed", func() bool { return stream.last() > missed })
		p.offline("polling", false)
	}
	for _, tab := range twinejsTransports {
		p.waitFor(tab, "r", stream.last()+3)
	}
	stream.stop()
	for _, tab := range twinejsTransports {
		p.waitFor(tab, "r", stream.last())
		p.checkAll(tab, "r", 1, stream.last())
		p.checkNoErrors(tab)
	}
}

func cutQuery(address string) (before, after string, found bool) {
	u, err := url.Parse(address)
	if err != nil {
		return address, "", false
	}
	after, u.RawQuery = u.RawQuery, ""
	return u.String(), after, after != ""
}

// TestTwinejsCuts cuts connections at random moments: on both sides, and such that the server does not know.
func TestTwinejsCuts(t *testing.T) {
	t.Parallel()
	for _, transport := range twinejsTransports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t, longReplay...)
			network := startProxy(t, d.host)
			p := startTwinePages(t, d.url()+"/twine.js", network.url())
			p.url += "?" + transport
			p.start("a", "r", "quiet")
			p.publish(d, "quiet", 1)
			stream := startStream(t, d, "r")
			const cuts = 5
			for i := range cuts {
				p.waitFor("a", "r", stream.last()+5)
				if i%2 == 0 {
					network.cut()
				} else {
					network.abandon()
				}
				waitConsole(t, p.browser, "a", "state disconnected, ", i+1)
				network.up()
				if i == 3 {
					// In the middle of coming back, too.
					waitConsole(t, p.browser, "a", "state connected, ", i+2)
					network.cut()
					network.up()
				}
			}
			p.waitFor("a", "r", stream.last()+5)
			stream.stop()
			p.publish(d, "quiet", 2)
			p.waitFor("a", "r", stream.last())
			p.waitFor("a", "quiet", 2)
			p.checkAll("a", "r", 1, stream.last())
			p.checkAll("a", "quiet", 1, 2)
			p.checkNoErrors("a")
		})
	}
}

// TestTwinejsTabs has two tabs, each with its own positions, while one is reloaded and the network fails.
func TestTwinejsTabs(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longReplay...)
	network := startProxy(t, d.host)
	p := startTwinePages(t, d.url()+"/twine.js", network.url())
	p.start("a", "r", "s")
	p.start("b", "r")
	r, s := startPacedStream(t, d, "r"), startPacedStream(t, d, "s")
	for range 3 {
		p.waitFor("a", "r", r.last()+3)
		p.waitFor("b", "r", r.last()+3)
		p.reload("a")
		network.cut()
		network.up()
		p.waitFor("a", "s", s.last()+3)
		p.reload("b")
	}
	r.stop()
	s.stop()
	for _, tab := range []string{"a", "b"} {
		p.waitFor(tab, "r", r.last())
		p.checkAll(tab, "r", 1, r.last())
		p.checkNoErrors(tab)
	}
	p.waitFor("a", "s", s.last())
	p.checkAll("a", "s", 1, s.last())
	if got := p.got("b", "s"); len(got) > 0 {
		t.Errorf("tab b has %v of a room that it never asked for", got)
	}
}

// TestTwinejsKill has the daemon lose power in the middle of a stream.
func TestTwinejsKill(t *testing.T) {
	t.Parallel()
	for _, transport := range twinejsTransports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			d := launch(t, t.TempDir(), longReplay...)
			p := startTwinePages(t, d.url()+"/twine.js", d.url())
			p.url += "?" + transport
			p.start("a", "r", "quiet")
			stream := startStubbornStream(t, d, "r")
			for i := range 3 {
				p.waitFor("a", "r", stream.last()+5)
				d.kill()
				waitConsole(t, p.browser, "a", "state disconnected, ", i+1)
				d = d.again()
				if i == 1 {
					p.reload("a")
				}
			}
			p.publish(d, "quiet", 1)
			p.waitFor("a", "r", stream.last()+5)
			stream.stop()
			p.waitFor("a", "r", stream.last())
			p.waitFor("a", "quiet", 1)
			p.checkAll("a", "r", 1, stream.last())
			p.checkAll("a", "quiet", 1, 1)
			p.checkNoErrors("a")
			d.stop()
		})
	}
}

// TestTwinejsWebSocketBlocked has a proxy that lets no WebSocket through, as in some offices.
func TestTwinejsWebSocketBlocked(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, longReplay...)
	target, err := url.Parse(d.url())
	if err != nil {
		t.Fatal(err)
	}
	var attempts atomic.Int32
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	office := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			attempts.Add(1)
			http.Error(w, "no WebSocket here", http.StatusForbidden)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	defer func() {
		office.CloseClientConnections()
		office.Close()
	}()
	p := startTwinePages(t, d.url()+"/twine.js", office.URL)
	p.start("a", "r")
	stream := startPacedStream(t, d, "r")
	p.waitFor("a", "r", 5)
	if got := attempts.Load(); got != 1 {
		t.Errorf("WebSocket was tried %d times before polling", got)
	}
	back := p.away("a")
	back()
	waitConsole(t, p.browser, "a", "state connected, ", 2)
	p.waitFor("a", "r", stream.last()+5)
	p.reload("a")
	p.waitFor("a", "r", stream.last()+5)
	stream.stop()
	p.waitFor("a", "r", stream.last())
	p.checkAll("a", "r", 1, stream.last())
	if got := attempts.Load(); got != 1 {
		t.Errorf("WebSocket was tried again, %d times in all", got)
	}
	p.checkNoErrors("a")
}
