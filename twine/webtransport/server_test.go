package webtransport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	wt "github.com/quic-go/webtransport-go"

	"github.com/twine-realtime/twine/twine/engineio"
)

func TestMessages(t *testing.T) {
	h := newHost(t, engineio.Options{})
	c := h.dial()
	if c.Upgrades == nil || len(c.Upgrades) != 0 || c.rec.Transport() != engineio.WebTransport {
		t.Errorf("upgrades %v, transport %q", c.Upgrades, c.rec.Transport())
	}
	if hs := c.rec.Handshake(); !hs.Secure || hs.Query().Get("transport") != "webtransport" || hs.URL().Path != DefaultPath || hs.Host != h.addr {
		t.Errorf("handshake %+v", hs)
	}
	for _, size := range []int{1, 125, 126, 65_535, 65_536, 900_000} {
		content := strings.Repeat("x", size)
		c.send("4" + content)
		c.expect("4" + content)
		c.sendBinary(content)
		c.expectBinary(content)
	}
	c.sendBinary("\x00\xff")
	c.expectBinary("\x00\xff")
	for i := range 1000 {
		c.send("4" + numbered(i))
	}
	for i := range 1000 {
		c.expect("4" + numbered(i))
	}
}

func TestManyClients(t *testing.T) {
	h := newHost(t, engineio.Options{})
	const clients, messages = 10, 200
	var wg sync.WaitGroup
	for range clients {
		c := h.dial()
		wg.Go(func() {
			for i := range messages {
				c.sendBinary(numbered(i))
				if got, _, err := c.receive(); got != numbered(i) {
					t.Errorf("got %q, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Each write is a packet on the network of its own, as far as the client's QUIC lets it.
func TestHeadersInPieces(t *testing.T) {
	h := newHost(t, engineio.Options{})
	c := h.dialRaw(DefaultPath + query)
	stream := bytes.Join([][]byte{frame("0", false), frame("4short", false), frame("4"+strings.Repeat("m", 200), false),
		frame(strings.Repeat("l", 66_000), true)}, nil)
	const inPieces = 250 // three headers, and the beginning of the fourth packet
	for i := range inPieces {
		c.write(stream[i : i+1])
	}
	c.write(stream[inPieces:])
	parseOpen(t, c.text())
	c.expect("4short")
	c.expect("4" + strings.Repeat("m", 200))
	c.expectBinary(strings.Repeat("l", 66_000))
}

func TestPath(t *testing.T) {
	h := newHost(t, engineio.Options{}, func(sv *Server) { sv.Path = "/chat/" })
	for path, want := range map[string]int{"/chat/": 200, "/chat": 200, "/chat/x": 404, "/": 404, DefaultPath: 404} {
		res, _, err := h.connect(path+query, nil)
		if res == nil || res.StatusCode != want || (err == nil) != (want == 200) {
			t.Errorf("%s: %v, %v", path, res, err)
		}
	}
}

func TestOrigin(t *testing.T) {
	connect := func(h *host, origin string) bool {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		res, _, err := h.connect(DefaultPath+query, header)
		if res == nil || (err == nil) != (res.StatusCode == 200) || res.StatusCode != 200 && res.StatusCode != 403 {
			t.Errorf("%s: %v, %v", origin, res, err)
		}
		return err == nil
	}
	h := newHost(t, engineio.Options{})
	for origin, want := range map[string]bool{
		"":                             true,
		"https://" + h.addr:            true,
		"http://" + h.addr:             true,
		"https://example.com":          false,
		"https://" + h.addr + ".evil":  false,
		"https://x@" + h.addr + ":1/x": false,
		"null":                         false,
		"https://%":                    false,
	} {
		if got := connect(h, origin); got != want {
			t.Errorf("origin %q: %v", origin, got)
		}
	}
	t.Run("CheckOrigin", func(t *testing.T) {
		h := newHost(t, engineio.Options{}, func(sv *Server) {
			sv.CheckOrigin = func(r *http.Request) bool { return r.Header.Get("Origin") == "https://example.com" }
		})
		if !connect(h, "https://example.com") || connect(h, "https://"+h.addr) {
			t.Error("CheckOrigin was not asked")
		}
	})
}

func TestAllowRequest(t *testing.T) {
	codes := make(chan engineio.ErrorCode, 1)
	h := newHost(t, engineio.Options{
		AllowRequest: func(r *http.Request) error {
			if r.URL.Query().Get("token") != "secret" {
				return errors.New("no")
			}
			return nil
		},
		ConnectionError: func(_ *http.Request, code engineio.ErrorCode, _ error) { codes <- code },
	})
	c := h.dialRaw(DefaultPath + query)
	c.send("0")
	c.expectEnd()
	if code := <-codes; code != engineio.CodeForbidden {
		t.Errorf("code %d", code)
	}
	c = h.dialRaw(DefaultPath + query + "&token=secret")
	c.send("0")
	parseOpen(t, c.text())
}

// A client that does not go on with its handshake is dropped.
func TestHandshakeTimeout(t *testing.T) {
	h := newHost(t, engineio.Options{UpgradeTimeout: 50 * time.Millisecond}, func(sv *Server) { sv.HandshakeTimeout = 50 * time.Millisecond })
	t.Run("no stream", func(t *testing.T) {
		_, session, err := h.connect(DefaultPath+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-session.Context().Done()
	})
	t.Run("no packet", func(t *testing.T) {
		c := h.dialRaw(DefaultPath + query)
		c.write([]byte{5, '0'})
		c.expectEnd()
	})
	t.Run("none of the two applies to a session", func(t *testing.T) {
		const limit = 500 * time.Millisecond // within which a busy machine makes a session
		h := newHost(t, engineio.Options{UpgradeTimeout: limit}, func(sv *Server) { sv.HandshakeTimeout = limit })
		c := h.dial()
		since := time.Now()
		eventually(t, "some time has passed", func() bool { return time.Since(since) > limit+100*time.Millisecond })
		c.send("4alive")
		c.expect("4alive")
	})
}

func TestBadPackets(t *testing.T) {
	for name, test := range map[string]struct {
		bytes  []byte
		reason engineio.Reason
	}{
		"empty":        {[]byte{0}, engineio.ReasonParseError},
		"too large":    {frame(strings.Repeat("x", 1001), true), engineio.ReasonParseError},
		"unknown type": {frame("9", false), engineio.ReasonParseError},
		"a ping":       {frame("2", false), engineio.ReasonTransportError},
		"refused":      {frame("4refuse", false), engineio.ReasonParseError},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, engineio.Options{MaxHTTPBufferSize: 1000})
			c := h.dial()
			c.sendBinary(strings.Repeat("x", 1000))
			c.expectBinary(strings.Repeat("x", 1000))
			c.write(test.bytes)
			c.expectEnd()
			c.rec.expectClosed(t, test.reason)
		})
	}
}

func TestPings(t *testing.T) {
	h := newHost(t, engineio.Options{PingInterval: 30 * time.Millisecond, PingTimeout: 500 * time.Millisecond})
	c := h.dial()
	for range 3 {
		c.expect("2")
		c.send("3")
	}
	c.expect("2")
	c.expectEnd()
	c.rec.expectClosed(t, engineio.ReasonPingTimeout)
}

func TestClosedByClient(t *testing.T) {
	h := newHost(t, engineio.Options{})
	for name, test := range map[string]struct {
		end    func(c *client)
		failed bool // the server may see an error, because the client's library cuts the connection too
	}{
		"the stream":             {func(c *client) { _ = c.stream.Close() }, false},
		"with the close packet":  {func(c *client) { c.send("1") }, false},
		"the session":            {func(c *client) { _ = c.session.CloseWithError(0, "") }, true},
		"the session, for cause": {func(c *client) { _ = c.session.CloseWithError(7, "bored") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := h.dial()
			c.send("4last")
			c.expect("4last")
			test.end(c)
			c.rec.expectClosed(t, engineio.ReasonTransportClose)
			if c.rec.err != nil && !test.failed {
				t.Errorf("error %v", c.rec.err)
			}
			<-c.session.Context().Done()
		})
	}
}

func TestClosedInOrder(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&wt.SessionError{Remote: true}, true},
		{&wt.SessionError{Remote: true, ErrorCode: 1}, false},
		{&wt.SessionError{}, false},
		{&quic.ApplicationError{Remote: true, ErrorCode: 0x100}, true},
		{&quic.ApplicationError{Remote: true, ErrorCode: 0x101}, false},
		{&quic.ApplicationError{ErrorCode: 0x100}, false},
		{context.DeadlineExceeded, false},
	} {
		if got := closedInOrder(fmt.Errorf("wrapped: %w", test.err)); got != test.want {
			t.Errorf("%#v: %v", test.err, got)
		}
	}
}

// What was sent before the close arrives.
func TestClosedByServer(t *testing.T) {
	h := newHost(t, engineio.Options{CloseTimeout: patience})
	c := h.dial()
	large := strings.Repeat("z", 300_000)
	for range 10 {
		_ = c.rec.Send(engineio.NewText([]byte(large)))
	}
	c.rec.Close(engineio.ReasonForcedClose)
	for range 10 {
		c.expect("4" + large)
	}
	c.expect("2")
	c.send("3")
	c.expectEnd()
	c.rec.expectClosed(t, engineio.ReasonForcedClose)
	eventually(t, "session gone", func() bool { return h.Engine.ClientsCount() == 0 })
}

func TestEngineClose(t *testing.T) {
	h := newHost(t, engineio.Options{})
	c := h.dial()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- h.Engine.Close(ctx) }()
	c.expect("2")
	c.send("3")
	c.expectEnd()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	c.rec.expectClosed(t, engineio.ReasonServerShutdown)
	c = h.dialRaw(DefaultPath + query)
	c.send("0")
	c.expectEnd()
}

func TestServerClose(t *testing.T) {
	h := newHost(t, engineio.Options{})
	c := h.dial()
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	c.rec.expectClosed(t, engineio.ReasonTransportClose)
	<-c.session.Context().Done()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := h.Serve(conn); err != http.ErrServerClosed {
		t.Errorf("Serve of a closed server: %v", err)
	}
}

func TestServeErrors(t *testing.T) {
	if err := new(Server).ListenAndServe(); err == nil {
		t.Error("an empty server serves")
	}
	if err := (&Server{Addr: "no port"}).ListenAndServe(); err == nil || err == http.ErrServerClosed {
		t.Errorf("got %v", err)
	}
	h := newHost(t, engineio.Options{})
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(conn) }()
	h.addr = conn.LocalAddr().String()
	c := h.dial()
	_ = conn.Close()
	if err := <-served; err == nil || err == http.ErrServerClosed {
		t.Errorf("Serve on a socket that failed: %v", err)
	}
	c.rec.expectClosed(t, engineio.ReasonTransportClose)
}

func TestSlowConsumer(t *testing.T) {
	h := newHost(t, engineio.Options{MaxQueueBytes: 1 << 20})
	slow, fast := h.dial(), h.dial()
	filler := engineio.NewBinary(bytes.Repeat([]byte("f"), 64<<10))
	eventually(t, "closed", func() bool { return slow.rec.Send(filler) != nil })
	slow.rec.expectClosed(t, engineio.ReasonSlowConsumer)
	_ = fast.rec.Send(engineio.NewText([]byte("unimpressed")))
	fast.expect("4unimpressed")
	eventually(t, "session gone", func() bool { return h.Engine.ClientsCount() == 1 })
}

func (h *host) dialPolling() opened {
	h.t.Helper()
	_, body := h.request("GET", "", "")
	return parseOpen(h.t, body)
}

// probe takes a session that began with polling to the middle of its upgrade.
func (h *host) probe(sid string) *client {
	h.t.Helper()
	c := h.dialRaw(DefaultPath + query + "&sid=" + sid)
	c.send(fmt.Sprintf(`0{"sid":%q}`, sid))
	c.send("2probe")
	c.expect("3probe")
	c.rec = h.session(sid)
	return c
}

// Messages flow in both directions all the while, and arrive once, in order.
func TestUpgrade(t *testing.T) {
	h := newHost(t, engineio.Options{})
	const total = 600
	var sending, clients sync.WaitGroup
	for range 4 {
		o := h.dialPolling()
		if !slices.Equal(o.Upgrades, []string{"websocket", "webtransport"}) {
			t.Errorf("upgrades %v", o.Upgrades)
		}
		sid, rec := "sid="+o.SID, h.session(o.SID)
		upgraded, paused := make(chan *client), make(chan struct{})
		clients.Go(func() { // the sender: posts until the upgrade, then writes
			var c *client
			for i := range total {
				select {
				case c = <-upgraded:
				default:
				}
				switch {
				case c != nil:
					c.send("4" + numbered(i))
				default:
					if status, body := h.request("POST", sid, "4"+numbered(i)); status != 200 {
						t.Errorf("POST: %d %s", status, body)
					}
				}
				if i == total/2 && c == nil {
					close(paused)
					c = <-upgraded
				}
			}
		})
		clients.Go(func() { // the receiver: polls until the upgrade, which it does, then reads
			var got []string
			gather := func(packet string) {
				if strings.HasPrefix(packet, "4") {
					got = append(got, packet[1:])
				}
			}
			poll := func() {
				_, body := h.request("GET", sid, "")
				for packet := range strings.SplitSeq(body, "\x1e") {
					gather(packet)
				}
			}
			before := rand.IntN(total / 4)
			for len(got) < before {
				poll()
			}
			c := h.probe(o.SID)
			polling := true
			for polling {
				select {
				case <-paused:
					polling = false
				default:
					poll()
				}
			}
			c.send("5")
			upgraded <- c
			for len(got) < total {
				packet, _, err := c.receive()
				if err != nil {
					t.Errorf("after %d messages: %v", len(got), err)
					return
				}
				gather(packet)
			}
			for i := range total {
				if got[i] != numbered(i) {
					t.Errorf("message %d is %q", i, got[i])
					return
				}
			}
			if rec.Transport() != engineio.WebTransport {
				t.Errorf("transport %q", rec.Transport())
			}
		})
		sending.Go(func() {
			eventually(t, "all received", func() bool { return len(rec.got()) == total })
			for i, message := range rec.got() {
				if message != numbered(i) {
					t.Errorf("the server got %q as message %d", message, i)
					return
				}
			}
		})
	}
	clients.Wait()
	sending.Wait()
}

func TestUpgradeThatStops(t *testing.T) {
	h := newHost(t, engineio.Options{UpgradeTimeout: 800 * time.Millisecond})
	for name, stop := range map[string]func(c *client){
		"the client goes":   func(c *client) { _ = c.session.CloseWithError(0, "") },
		"the stream ends":   func(c *client) { _ = c.stream.Close() },
		"with nonsense":     func(c *client) { c.send("4too early"); c.expectEnd() },
		"with an empty one": func(c *client) { c.write([]byte{0}); c.expectEnd() },
		"for good":          func(c *client) { c.expectEnd() },
	} {
		t.Run(name, func(t *testing.T) {
			o := h.dialPolling()
			stop(h.probe(o.SID))
			sid := "sid=" + o.SID
			if status, _ := h.request("POST", sid, "4still polling"); status != 200 {
				t.Errorf("POST: %d", status)
			}
			for body := "6"; body != "4still polling"; {
				if _, body = h.request("GET", sid, ""); body != "6" && body != "4still polling" {
					t.Fatalf("poll got %q", body)
				}
			}
			var c *client
			eventually(t, "another upgrade is accepted", func() bool {
				c = h.dialRaw(DefaultPath + query)
				c.send(fmt.Sprintf(`0{"sid":%q}`, o.SID))
				c.send("2probe")
				packet, _, _ := c.receive()
				return packet == "3probe"
			})
			c.send("5")
			c.send("4upgraded")
			c.expect("4upgraded")
		})
	}
	c := h.dialRaw(DefaultPath + query)
	c.send(`0{"sid":"AAAAAAAAAAAAAAAAAAAA"}`)
	c.expectEnd()
}
