package engineio

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// dialDeflate opens a session that uses permessage-deflate.
func (h *host) dialDeflate() *wsClient {
	h.t.Helper()
	d := ws.Dialer{Timeout: patience, Extensions: []httphead.Option{wsflate.DefaultParameters.Option()}}
	nc, br, hs, err := d.Dial(h.t.Context(), "ws"+h.http.URL[len("http"):]+"/engine.io/?EIO=4&transport=websocket")
	if err != nil {
		h.t.Fatal(err)
	}
	if len(hs.Extensions) != 1 {
		h.t.Fatalf("extensions %v", hs.Extensions)
	}
	h.t.Cleanup(func() { _ = nc.Close() })
	if br == nil { // it holds what came with the handshake
		br = bufio.NewReader(nc)
	}
	w := &wsClient{t: h.t, nc: nc, br: br}
	w.opened = parseOpen(h.t, w.text())
	w.rec = h.session(w.SID)
	return w
}

// inflated returns the payload of the next frame, which must be compressed if want says so.
func (w *wsClient) inflated(want bool) string {
	w.t.Helper()
	f, err := w.frame()
	if err != nil {
		w.t.Fatal(err)
	}
	if f.Header.Rsv1() != want {
		w.t.Errorf("compressed: %v, want %v", f.Header.Rsv1(), want)
	}
	if f, err = wsflate.DecompressFrame(f); err != nil {
		w.t.Fatal(err)
	}
	return string(f.Payload)
}

func TestPerMessageDeflate(t *testing.T) {
	h := newHost(t, &Options{PerMessageDeflate: &PerMessageDeflate{}, MaxHTTPBufferSize: 100_000}, withEcho)
	w, plain := h.dialDeflate(), h.dialWebSocket()
	large := bytes.Repeat([]byte("all work and no play "), 500)
	send := func(payload []byte) {
		f, err := wsflate.CompressFrame(ws.NewTextFrame(payload))
		if err != nil {
			t.Fatal(err)
		}
		w.write(ws.MustCompileFrame(ws.MaskFrameInPlace(f)))
	}
	send(append([]byte("4"), large...))
	if got := w.inflated(true); got != "4"+string(large) {
		t.Errorf("got %.30q", got)
	}
	w.send("4small")
	if got := w.inflated(false); got != "4small" {
		t.Errorf("got %q", got)
	}
	m := NewText(large)
	_ = w.rec.Send(m)
	_ = plain.rec.Send(m)
	if got := w.inflated(true); got != "4"+string(large) {
		t.Errorf("got %.30q", got)
	}
	plain.expectText("4" + string(large))

	// A bomb is too large, however small it comes.
	send(append([]byte("4"), make([]byte, 10_000_000)...))
	w.expectCloseFrame(1009)
	w.rec.expectClosed(t, ReasonTransportError)

	w = h.dialDeflate()
	bad := clientFrame(ws.OpText, true, "\xff\xff\xff\xff not deflate")
	bad[0] |= 0x40
	w.write(bad)
	w.expectCloseFrame(1007)
	_ = w.nc.Close()
	eventually(t, "closed", w.rec.isClosed)
}

// Regression: the queue counted messages uncompressed when they came and compressed when they left, so that a session
// was closed as slow after some megabytes of traffic.
func TestQueueCountsCompressedBytes(t *testing.T) {
	h := newHost(t, &Options{PerMessageDeflate: &PerMessageDeflate{}})
	w := h.dialDeflate()
	_ = w.rec.Send(NewText(bytes.Repeat([]byte("x"), 50_000)))
	w.inflated(true)
	eventually(t, "nothing is queued", func() bool { return w.rec.QueuedBytes() == 0 })
}

func TestQueueCountsV3Bytes(t *testing.T) {
	h := newHost(t, &Options{AllowEIO3: true})
	w := h.dialRaw("EIO=3&transport=websocket&b64=1")
	w.rec = h.session(parseOpen(t, w.text()).SID)
	_ = w.rec.Send(NewBinary(bytes.Repeat([]byte("x"), 3000)))
	w.text()
	_ = w.rec.Send(NewText(fmt.Append(nil, "x")))
	w.expectText("4x")
	eventually(t, "nothing is queued", func() bool { return w.rec.QueuedBytes() == 0 })
}

func TestGzippedPoll(t *testing.T) {
	h := newHost(t, nil)
	p := h.dialPolling()
	large, small := strings.Repeat("say it again ", 1000), strings.Repeat("x", CompressionThreshold-2)
	for _, test := range []struct {
		accept  string
		message string
		gzipped bool
	}{
		{"gzip", large, true},
		{"deflate, GZIP;q=0.5, br", large, true},
		{"*", large, true},
		{"gzip", small, false},
		{"gzip", small + "x", true},
		{"gzip; q=0", large, false},
		{"gzip;q=0.000", large, false},
		{"br", large, false},
		{"identity", large, false},
	} {
		_ = p.rec.Send(NewText([]byte(test.message)))
		// With this header, net/http's client leaves the answer compressed.
		res, body := p.request("GET", p.query(), "", "Accept-Encoding", test.accept)
		if gzipped := res.Header.Get("Content-Encoding") == "gzip"; gzipped != test.gzipped || res.ContentLength != int64(len(body)) {
			t.Errorf("%s, %d bytes: headers %v", test.accept, len(test.message), res.Header)
		}
		if test.gzipped {
			r, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			body = string(b)
		}
		if body != "4"+test.message {
			t.Errorf("%s: got %.20q", test.accept, body)
		}
	}
}

func TestPollCompressionOff(t *testing.T) {
	h := newHost(t, &Options{HTTPCompressionThreshold: -1})
	p := h.dialPolling()
	_ = p.rec.Send(NewText(make([]byte, 100_000)))
	if res, body := p.request("GET", p.query(), "", "Accept-Encoding", "gzip"); res.Header.Get("Content-Encoding") != "" || len(body) != 100_001 {
		t.Errorf("got %d bytes, %v", len(body), res.Header)
	}
}
