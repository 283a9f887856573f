package engineio

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

var allTransports = []string{Polling, WebSocket, WebTransport}

// streamClient is the client's end of a stream, and does what it is told, right or wrong.
type streamClient struct {
	opened
	t    testing.TB
	nc   net.Conn
	br   *bufio.Reader
	rec  *recorder
	done chan error // has the result of ServeStream
}

// openStream serves a stream and sends its first packet, if that is not empty.
func (h *host) openStream(first string) *streamClient {
	h.t.Helper()
	r, err := http.NewRequest(http.MethodConnect, "https://example.com/engine.io/", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	r.RequestURI = "/engine.io/?EIO=4&transport=webtransport"
	client, server := net.Pipe()
	c := &streamClient{t: h.t, nc: client, br: bufio.NewReader(client), done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.done <- h.ServeStream(server, r)
	}()
	h.t.Cleanup(func() {
		_ = client.Close()
		<-ended
	})
	if first != "" {
		c.put(first, false)
	}
	return c
}

// dialStream opens a session over a stream.
func (h *host) dialStream() *streamClient {
	h.t.Helper()
	c := h.openStream("0")
	c.opened = parseOpen(h.t, c.text())
	c.rec = h.session(c.SID)
	return c
}

// sidPacket is the first packet on a stream that p is upgraded to.
func (p *pollClient) sidPacket() string { return fmt.Sprintf(`0{"sid":%q}`, p.SID) }

// probeStream opens the stream of an upgrade and takes it through the probe.
func (p *pollClient) probeStream() *streamClient {
	p.t.Helper()
	c := p.openStream(p.sidPacket())
	c.opened, c.rec = p.opened, p.rec
	c.put("2probe", false)
	c.expect("3probe")
	return c
}

// streamPacket frames a packet.
func streamPacket(packet string, isBinary bool) []byte {
	var b []byte
	switch n := len(packet); {
	case n < 126:
		b = []byte{byte(n)}
	case n < 65536:
		b = binary.BigEndian.AppendUint16([]byte{126}, uint16(n))
	default:
		b = binary.BigEndian.AppendUint64([]byte{127}, uint64(n))
	}
	if isBinary {
		b[0] |= 0x80
	}
	return append(b, packet...)
}

func (c *streamClient) put(packet string, binary bool) {
	c.t.Helper()
	c.write(streamPacket(packet, binary))
}

func (c *streamClient) write(b []byte) {
	c.t.Helper()
	_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("writing: %v", err)
	}
}

func (c *streamClient) take() (packet string, isBinary bool, err error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	first, err := c.br.ReadByte()
	if err != nil {
		return "", false, err
	}
	length := uint64(first & 0x7f)
	switch length {
	case 126:
		var n uint16
		err = binary.Read(c.br, binary.BigEndian, &n)
		length = uint64(n)
	case 127:
		err = binary.Read(c.br, binary.BigEndian, &length)
	}
	var b bytes.Buffer
	if err == nil {
		_, err = io.CopyN(&b, c.br, int64(length))
	}
	return b.String(), first&0x80 != 0, err
}

// text returns the next packet, which has to be text.
func (c *streamClient) text() string {
	c.t.Helper()
	packet, binary, err := c.take()
	if err != nil || binary {
		c.t.Fatalf("got %.100q, binary: %v, %v; want text", packet, binary, err)
	}
	return packet
}

func (c *streamClient) expect(want string) {
	c.t.Helper()
	if got := c.text(); got != want {
		c.t.Fatalf("got %.100q, want %.100q", got, want)
	}
}

func (c *streamClient) expectBinary(want string) {
	c.t.Helper()
	if got, binary, err := c.take(); err != nil || !binary || got != want {
		c.t.Fatalf("got %.100q, binary: %v, %v; want %.100q", got, binary, err, want)
	}
}

// expectEnd checks that the server sends nothing more and closes the stream.
func (c *streamClient) expectEnd() {
	c.t.Helper()
	if packet, _, err := c.take(); err == nil {
		c.t.Errorf("got %.100q, want the end of the stream", packet)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Error("the server keeps the stream")
	}
}

// result waits for the end of ServeStream.
func (c *streamClient) result() error {
	c.t.Helper()
	select {
	case err := <-c.done:
		return err
	case <-time.After(patience):
		c.t.Fatal("ServeStream does not return")
		return nil
	}
}
