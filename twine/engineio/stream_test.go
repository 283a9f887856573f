package engineio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestStreamMessages(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports, InitialPacket: "welcome"}, withEcho)
	c := h.dialStream()
	if len(c.SID) != 20 || c.Upgrades == nil || len(c.Upgrades) != 0 || c.PingInterval != 25_000 {
		t.Errorf("open packet %+v", c.opened)
	}
	if hs := c.rec.Handshake(); c.rec.Transport() != WebTransport || hs.Protocol != 4 || hs.Query().Get("transport") != WebTransport {
		t.Errorf("transport %q, handshake %+v", c.rec.Transport(), hs)
	}
	c.expect("4welcome")
	for _, size := range []int{0, 1, 124, 125, 126, 8000, 8190, 65534, 65535, 65536, 300_000} {
		content := strings.Repeat("é", size/2) + strings.Repeat("x", size%2)
		c.put("4"+content, false)
		c.expect("4" + content)
		if size > 0 {
			c.put(content, true)
			c.expectBinary(content)
		}
	}
	// A packet may not be empty, so an empty binary message is text.
	c.put("b", false)
	c.expect("b")
	c.put("bAAEC", false)
	c.expectBinary("\x00\x01\x02")
	for _, ignored := range []string{"0", "5", "6"} {
		c.put(ignored, false)
	}
	c.put("4done", false)
	c.expect("4done")
}

// Messages that are broadcast are framed once, for WebSocket, and must not change for the others.
func TestStreamSharesMessages(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports})
	a, b, w := h.dialStream(), h.dialStream(), h.dialWebSocket()
	for _, size := range []int{1, 1000, 100_000} {
		m, content := NewBinary(bytes.Repeat([]byte("x"), size)), strings.Repeat("x", size)
		for _, r := range []*recorder{a.rec, w.rec, b.rec} {
			if err := r.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		a.expectBinary(content)
		b.expectBinary(content)
		if f := w.mustFrame(); string(f.Payload) != content {
			t.Errorf("WebSocket got %.20q", f.Payload)
		}
	}
}

func TestStreamSplitAtEveryByte(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports}, withEcho)
	stream := slices.Concat(streamPacket("0", false), streamPacket("4short", false), streamPacket("4"+strings.Repeat("m", 200), false),
		streamPacket(strings.Repeat("l", 70_000), true), streamPacket("4last", false))
	for i := 1; i < 400; i++ {
		c := h.openStream("")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, piece := range [][]byte{stream[:i], stream[i : i+1], stream[i+1:]} {
				_, _ = c.nc.Write(piece)
			}
		}()
		parseOpen(t, c.text())
		c.expect("4short")
		c.expect("4" + strings.Repeat("m", 200))
		c.expectBinary(strings.Repeat("l", 70_000))
		c.expect("4last")
		<-done
		_ = c.nc.Close()
	}
}

func TestRefusedStreams(t *testing.T) {
	served := Options{Transports: allTransports}
	for name, test := range map[string]struct {
		opts  Options
		first []byte
		code  ErrorCode
	}{
		"not served":         {Options{}, nil, CodeUnknownTransport},
		"no open packet":     {served, streamPacket("4hello", false), CodeBadRequest},
		"a probe":            {served, streamPacket("2probe", false), CodeBadRequest},
		"binary":             {served, streamPacket("0", true), CodeBadRequest},
		"not JSON":           {served, streamPacket(`0{"sid":`, false), CodeBadRequest},
		"no sid":             {served, streamPacket(`0{}`, false), CodeBadRequest},
		"a sid of its own":   {served, streamPacket(`0{"sid":5}`, false), CodeBadRequest},
		"an unknown sid":     {served, streamPacket(`0{"sid":"AAAAAAAAAAAAAAAAAAAA"}`, false), CodeUnknownSID},
		"an empty packet":    {served, []byte{0}, CodeBadRequest},
		"a large packet":     {served, streamPacket("0"+strings.Repeat(" ", maxOpenPacket), false)[:3], CodeBadRequest},
		"the largest length": {served, bytes.Repeat([]byte{0xff}, 9), CodeBadRequest},
		"silence":            {Options{Transports: allTransports, UpgradeTimeout: 20 * time.Millisecond}, nil, CodeBadRequest},
		"a part of a header": {Options{Transports: allTransports, UpgradeTimeout: 20 * time.Millisecond}, []byte{126, 0}, CodeBadRequest},
		"a part of a packet": {Options{Transports: allTransports, UpgradeTimeout: 20 * time.Millisecond}, []byte{5, '0'}, CodeBadRequest},
		"upgrades are off":   {Options{Transports: allTransports, DisableUpgrades: true}, streamPacket(`0{"sid":"x"}`, false), CodeBadRequest},
		"AllowRequest says no": {Options{Transports: allTransports, AllowRequest: func(r *http.Request) error {
			return errors.New("no " + r.RequestURI)
		}}, streamPacket("0", false), CodeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var codes []ErrorCode
			test.opts.ConnectionError = func(_ *http.Request, code ErrorCode, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					t.Error("no error")
				}
				codes = append(codes, code)
			}
			h := newHost(t, &test.opts)
			c := h.openStream("")
			_, _ = c.nc.Write(test.first)
			c.expectEnd()
			if err := c.result(); err == nil {
				t.Error("ServeStream returned nil")
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(codes, []ErrorCode{test.code}) {
				t.Errorf("codes %d, want %d", codes, test.code)
			}
		})
	}
	t.Run("closed by the client", func(t *testing.T) {
		h := newHost(t, &served)
		c := h.openStream("")
		_ = c.nc.Close()
		if err := c.result(); err == nil {
			t.Error("ServeStream returned nil")
		}
	})
	t.Run("the server is closed", func(t *testing.T) {
		h := newHost(t, &served)
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := h.openStream("0")
		c.expectEnd()
		if err := c.result(); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestBadStreamPackets(t *testing.T) {
	for name, test := range map[string]struct {
		bytes  []byte
		reason Reason
	}{
		"empty":            {[]byte{0}, ReasonParseError},
		"empty binary":     {[]byte{0x80}, ReasonParseError},
		"too large":        {streamPacket(strings.Repeat("x", 1001), true)[:3], ReasonParseError},
		"beyond counting":  {bytes.Repeat([]byte{0xff}, 9), ReasonParseError},
		"unknown type":     {streamPacket("9", false), ReasonParseError},
		"not UTF-8":        {streamPacket("4\xff", false), ReasonParseError},
		"not base64":       {streamPacket("b!", false), ReasonParseError},
		"a ping":           {streamPacket("2", false), ReasonTransportError},
		"refused":          {streamPacket("4refuse", false), ReasonParseError},
		"panic":            {streamPacket("4panic", false), ReasonForcedClose},
		"the client's end": {streamPacket("1", false), ReasonTransportClose},
	} {
		t.Run(name, func(t *testing.T) {
			// What was sent before still leaves.
			h := newHost(t, &Options{Transports: allTransports, MaxHTTPBufferSize: 1000, CloseTimeout: 10 * patience},
				withMessage(func(r *recorder, data []byte, binary bool) error {
					switch string(data) {
					case "refuse":
						_ = r.Send(NewText([]byte("refused")))
						return io.ErrUnexpectedEOF
					case "panic":
						panic("in Message")
					}
					return echo(r, data, binary)
				}))
			c := h.dialStream()
			c.put(strings.Repeat("x", 1000), true)
			c.expectBinary(strings.Repeat("x", 1000))
			// In one piece, because the server may not read the second packet.
			c.write(slices.Concat(test.bytes, streamPacket("4after", false)))
			if name == "refused" {
				c.expect("4refused")
			}
			if test.reason != ReasonTransportClose {
				c.expect("2") // the last packet of a session
			}
			c.expectEnd()
			if err := c.result(); err != nil {
				t.Error(err)
			}
			c.rec.expectClosed(t, test.reason)
			if got := c.rec.got(); slices.Contains(got, "after") {
				t.Errorf("received %q", got)
			}
		})
	}
}

func TestStreamHeartbeat(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports, PingInterval: 20 * time.Millisecond, PingTimeout: patience})
	c := h.dialStream()
	for range 3 {
		c.expect("2")
		c.put("3", false)
	}
}

func TestStreamPingTimeout(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports, PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond})
	c := h.dialStream()
	c.expect("2")
	c.expectEnd()
	c.rec.expectClosed(t, ReasonPingTimeout)
}

func TestStreamClosedByServer(t *testing.T) {
	large := strings.Repeat("z", 100_000)
	h := newHost(t, &Options{Transports: allTransports, CloseTimeout: 10 * patience})
	closing := func() *streamClient {
		c := h.dialStream()
		for range 5 {
			_ = c.rec.Send(NewText([]byte(large)))
		}
		c.rec.Close(ReasonForcedClose)
		c.rec.expectClosed(t, ReasonForcedClose)
		c.put("4late", false)
		return c
	}
	drained := func(c *streamClient) {
		for range 5 {
			c.expect("4" + large)
		}
		c.expect("2")
	}
	t.Run("waits for the pong", func(t *testing.T) {
		c := closing()
		drained(c)
		if h.ClientsCount() != 1 {
			t.Error("the stream was closed before the client had read everything")
		}
		c.put("3", false)
		c.expectEnd()
		if got := c.rec.got(); len(got) != 0 {
			t.Errorf("received %q after the end", got)
		}
	})
	t.Run("the client closes first", func(t *testing.T) {
		c := closing()
		drained(c)
		_ = c.nc.Close()
		if err := c.result(); err != nil {
			t.Error(err)
		}
	})
	t.Run("the client sends nonsense", func(t *testing.T) {
		c := closing()
		c.write([]byte{0})
		drained(c)
		c.expectEnd()
	})
	t.Run("a ping was under way", func(t *testing.T) {
		c := h.dialStream()
		alive := make(chan bool, 1)
		go func() { alive <- c.rec.CheckAlive(patience) }()
		c.expect("2")
		c.rec.Close(ReasonForcedClose)
		c.expect("2")
		c.put("3", false)
		c.put("4the first pong is not the last", false)
		c.put("3", false)
		c.expectEnd()
		if <-alive {
			t.Error("a closed session is alive")
		}
	})
	t.Run("the server closes", func(t *testing.T) {
		c := h.dialStream()
		closed := make(chan error, 1)
		go func() { closed <- h.Close(t.Context()) }()
		c.expect("2")
		c.put("3", false)
		c.expectEnd()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		c.rec.expectClosed(t, ReasonServerShutdown)
	})
}

func TestStreamCloseTimeout(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports, CloseTimeout: 20 * time.Millisecond})
	silent, deaf := h.dialStream(), h.dialStream()
	silent.rec.Close(ReasonForcedClose)
	silent.expect("2")
	silent.expectEnd()
	_ = deaf.rec.Send(NewText(make([]byte, 100_000)))
	deaf.rec.Close(ReasonForcedClose)
	if err := deaf.result(); err != nil {
		t.Error(err)
	}
}

func TestStreamClosedByClient(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports}, withEcho)
	c := h.dialStream()
	c.write(slices.Concat(streamPacket("4last", false), []byte{100, '4'}))
	c.expect("4last")
	_ = c.nc.Close()
	if err := c.result(); err != nil {
		t.Error(err)
	}
	c.rec.expectClosed(t, ReasonTransportClose)
	if c.rec.err != nil {
		t.Errorf("error %v for an orderly close", c.rec.err)
	}
}

func TestSlowStreamConsumer(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports, MaxQueueBytes: 1 << 20})
	slow, fast := h.dialStream(), h.dialStream()
	filler := NewText(bytes.Repeat([]byte("f"), 64<<10))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ctx.Err() == nil && slow.rec.Send(filler) == nil {
	}
	slow.rec.expectClosed(t, ReasonSlowConsumer)
	if err := slow.result(); err != nil {
		t.Error(err)
	}
	_ = fast.rec.Send(NewText([]byte("unimpressed")))
	fast.expect("4unimpressed")
}

func TestUpgradeToStream(t *testing.T) {
	h := newHost(t, &Options{Transports: allTransports}, withEcho)
	p := h.dialPolling()
	if !slices.Equal(p.Upgrades, []string{WebSocket, WebTransport}) {
		t.Errorf("upgrades %v", p.Upgrades)
	}
	waiting := p.getAsync(t.Context())
	c := p.probeStream()
	if a := <-waiting; a.body != "6" {
		t.Errorf("the poll was let go with %+v, want a noop", a)
	}
	_ = p.rec.Send(NewText([]byte("queued during the probe")), NewBinary(nil))
	c.put("5", false)
	c.expect("4queued during the probe")
	c.expect("b")
	c.put("4over the stream", false)
	c.expect("4over the stream")
	if p.rec.Transport() != WebTransport {
		t.Errorf("transport %q", p.rec.Transport())
	}
	if status, body := p.get(); status != 400 {
		t.Errorf("poll after the upgrade: %d %s", status, body)
	}
	p.dialRaw("EIO=4&transport=websocket&sid=" + p.SID).expectEnd()
	again := p.openStream(p.sidPacket())
	again.expectEnd()
	if err := again.result(); err == nil {
		t.Error("a second upgrade was accepted")
	}
}

func TestStreamUpgradeThatStops(t *testing.T) {
	for name, stop := range map[string]func(p *pollClient) *streamClient{
		"before the probe": func(p *pollClient) *streamClient {
			c := p.openStream(p.sidPacket())
			eventually(p.t, "probing", p.rec.probing)
			_ = c.nc.Close()
			return c
		},
		"after the probe": func(p *pollClient) *streamClient {
			c := p.probeStream()
			_ = c.nc.Close()
			return c
		},
		"with nonsense": func(p *pollClient) *streamClient {
			c := p.openStream(p.sidPacket())
			c.put("4not a probe", false)
			return c
		},
		"with a binary packet": func(p *pollClient) *streamClient {
			c := p.openStream(p.sidPacket())
			c.put("2probe", true)
			return c
		},
		"with a packet too large": func(p *pollClient) *streamClient {
			c := p.probeStream()
			c.write(bytes.Repeat([]byte{0x7f}, 9))
			return c
		},
		"for good": func(p *pollClient) *streamClient { return p.probeStream() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, &Options{Transports: allTransports, UpgradeTimeout: 500 * time.Millisecond}, withEcho)
			p := h.dialPolling()
			c := stop(p)
			if err := c.result(); err != nil {
				t.Error(err)
			}
			eventually(t, "upgrade given up", func() bool { return !p.rec.probing() })
			p.expectPost("4still polling")
			p.expectGet("4still polling")
			c = p.probeStream()
			c.put("5", false)
			c.put("4upgraded", false)
			c.expect("4upgraded")
		})
	}
	t.Run("because the session closes", func(t *testing.T) {
		h := newHost(t, &Options{Transports: allTransports})
		p := h.dialPolling()
		c := p.probeStream()
		p.rec.Close(ReasonForcedClose)
		c.expectEnd()
		p.expectGet("1")
	})
	t.Run("because the client is of protocol v3", func(t *testing.T) {
		h := newHost(t, &Options{Transports: allTransports, AllowEIO3: true})
		w := h.dialRaw("EIO=3&transport=websocket")
		c := h.openStream(`0{"sid":"` + parseOpen(t, w.text()).SID + `"}`)
		c.expectEnd()
		if err := c.result(); err == nil {
			t.Error("ServeStream returned nil")
		}
	})
}
