package webtransport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	wt "github.com/quic-go/webtransport-go"
	"go.uber.org/goleak"

	"github.com/twine-realtime/twine/twine/engineio"
)

// patience bounds every wait of the tests. It is long because a loaded machine must not fail them.
const patience = time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually polls until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// certificate makes a certificate as browsers want it to accept it by its hash: ECDSA, valid for less than two weeks.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(10 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// recorder is a Handler that keeps what it is told and echoes what it gets.
type recorder struct {
	*engineio.Session

	mu       sync.Mutex
	messages []string
	reason   engineio.Reason
	err      error
}

func (r *recorder) Message(data []byte, isBinary bool) error {
	r.mu.Lock()
	r.messages = append(r.messages, string(data))
	r.mu.Unlock()
	switch {
	case string(data) == "refuse":
		return errors.New("refused")
	case isBinary:
		_ = r.Send(engineio.NewBinary(data))
	default:
		_ = r.Send(engineio.NewText(data))
	}
	return nil
}

func (r *recorder) Closed(reason engineio.Reason, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reason, r.err = reason, err
}

func (r *recorder) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

func (r *recorder) expectClosed(t testing.TB, want engineio.Reason) {
	t.Helper()
	var reason engineio.Reason
	eventually(t, "closed: "+string(want), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		reason = r.reason
		return reason != ""
	})
	if reason != want {
		t.Errorf("closed with %q (%v), want %q", reason, r.err, want)
	}
}

// host is a server on TCP and UDP ports with the same number.
type host struct {
	*Server
	t    testing.TB
	http *httptest.Server
	addr string

	mu       sync.Mutex
	accepted map[string]*recorder
}

// newHost starts a server and, when the test ends, closes it and checks that no goroutine is left.
func newHost(t testing.TB, opts engineio.Options, change ...func(*Server)) *host {
	t.Helper()
	before := goleak.IgnoreCurrent()
	opts.Transports = []string{engineio.Polling, engineio.WebSocket, engineio.WebTransport}
	opts.Logger = slog.New(slog.DiscardHandler)
	h := &host{t: t, accepted: make(map[string]*recorder)}
	engine := engineio.NewServer(&opts, func(s *engineio.Session) engineio.Handler {
		r := &recorder{Session: s}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.accepted[s.ID()] = r
		return r
	})
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = conn.LocalAddr().String()
	h.http = httptest.NewServer(engine)
	h.Server = &Server{Engine: engine, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}}
	for _, f := range change {
		f(h.Server)
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(conn) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_ = engine.Close(ctx)
		if err := h.Server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("Serve returned %v", err)
		}
		_ = conn.Close()
		h.http.Client().CloseIdleConnections()
		h.http.CloseClientConnections()
		h.http.Close()
		if n := engine.ClientsCount(); n != 0 {
			t.Errorf("%d sessions are still registered", n)
		}
		leaked := goleak.Find(before)
		for deadline := time.Now().Add(patience); leaked != nil && time.Now().Before(deadline); {
			leaked = goleak.Find(before) // it waits half a second, which is not enough on a busy machine
		}
		if leaked != nil {
			t.Error(leaked)
		}
	})
	return h
}

func (h *host) session(id string) (r *recorder) {
	h.t.Helper()
	eventually(h.t, "session "+id, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		r = h.accepted[id]
		return r != nil
	})
	return r
}

type opened struct {
	SID      string   `json:"sid"`
	Upgrades []string `json:"upgrades"`
}

func parseOpen(t testing.TB, packet string) (o opened) {
	t.Helper()
	if !strings.HasPrefix(packet, "0") || json.Unmarshal([]byte(packet[1:]), &o) != nil {
		t.Fatalf("%q is not an open packet", packet)
	}
	return o
}

// request sends a request of the polling transport.
func (h *host) request(method, query, body string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.http.URL+"/socket.io/?EIO=4&transport=polling&"+query, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	res, err := h.http.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// client is a WebTransport client that does what it is told, right or wrong.
type client struct {
	opened
	t       testing.TB
	session *wt.Session
	stream  *wt.Stream
	br      *bufio.Reader
	rec     *recorder
}

const query = "?EIO=4&transport=webtransport"

// connect opens a session of WebTransport.
func (h *host) connect(path string, header http.Header) (*http.Response, *wt.Session, error) {
	h.t.Helper()
	transport := &wt.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}}
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	res, session, err := transport.Dial(ctx, "https://"+h.addr+path, header)
	h.t.Cleanup(func() {
		if session != nil {
			_ = session.CloseWithError(0, "")
		}
		_ = transport.Close()
	})
	return res, session, err
}

// dialRaw opens a stream, which stays unknown to the server until something is sent.
func (h *host) dialRaw(path string) *client {
	h.t.Helper()
	_, session, err := h.connect(path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	stream, err := session.OpenStream()
	if err != nil {
		h.t.Fatal(err)
	}
	return &client{t: h.t, session: session, stream: stream, br: bufio.NewReader(stream)}
}

// dial opens a session of Engine.IO.
func (h *host) dial() *client {
	h.t.Helper()
	c := h.dialRaw(DefaultPath + query)
	c.send("0")
	c.opened = parseOpen(h.t, c.text())
	c.rec = h.session(c.SID)
	return c
}

func frame(packet string, isBinary bool) []byte {
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

func (c *client) write(b []byte) {
	c.t.Helper()
	_ = c.stream.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.stream.Write(b); err != nil {
		c.t.Fatalf("writing: %v", err)
	}
}

func (c *client) send(packet string)       { c.t.Helper(); c.write(frame(packet, false)) }
func (c *client) sendBinary(packet string) { c.t.Helper(); c.write(frame(packet, true)) }

func (c *client) receive() (packet string, isBinary bool, err error) {
	_ = c.stream.SetReadDeadline(time.Now().Add(patience))
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

func (c *client) text() string {
	c.t.Helper()
	packet, isBinary, err := c.receive()
	if err != nil || isBinary {
		c.t.Fatalf("got %.100q, binary: %v, %v; want text", packet, isBinary, err)
	}
	return packet
}

func (c *client) expect(want string) {
	c.t.Helper()
	if got := c.text(); got != want {
		c.t.Fatalf("got %.100q, want %.100q", got, want)
	}
}

func (c *client) expectBinary(want string) {
	c.t.Helper()
	if got, isBinary, err := c.receive(); err != nil || !isBinary || got != want {
		c.t.Fatalf("got %.100q, binary: %v, %v; want %.100q", got, isBinary, err, want)
	}
}

// expectEnd checks that the server closes the session in order, and may send more before.
func (c *client) expectEnd() {
	c.t.Helper()
	for {
		_, _, err := c.receive()
		if err == nil {
			continue
		}
		// The client's own library closes the connection as soon as the session is closed, and the stream may see that first.
		session, isSession := errors.AsType[*wt.SessionError](err)
		conn, isConn := errors.AsType[*quic.ApplicationError](err)
		if !(isSession && session.Remote && session.ErrorCode == 0) && !(isConn && !conn.Remote) {
			c.t.Errorf("the stream ended with %T %v, want a session that was closed", err, err)
		}
		return
	}
}

func numbered(i int) string { return fmt.Sprintf("message %d", i) }
