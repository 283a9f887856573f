package twine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/leaktest"
	"github.com/twine-realtime/twine/twine/parser"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience is how long anything may take before a test gives up.
const patience = time.Minute

// eventually polls until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// receive takes a value from a channel.
func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		var none T
		t.Fatalf("no %T came", none)
		return none
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// testServer is a server on a real port.
type testServer struct {
	*twine.Server
	url string // http://host:port/socket.io/
	log *logBuffer
}

func serve(t testing.TB, opts *twine.Options) *testServer {
	t.Helper()
	o := twine.Options{}
	if opts != nil {
		o = *opts
	}
	log := new(logBuffer)
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	if o.Engine.CloseTimeout == 0 {
		o.Engine.CloseTimeout = 100 * time.Millisecond // polling clients that are not polling hold up Close
	}
	if o.Adapter == nil {
		o.Adapter = adapterOf(o.Recovery)
	}
	srv := twine.NewServer(&o)
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", srv)
	hs := httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			t.Errorf("close the server: %v", err)
		}
		hs.Close()
	})
	return &testServer{Server: srv, url: hs.URL + "/socket.io/", log: log}
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// testClient is a bare client over WebSocket. It answers pings; everything else is up to the test.
type testClient struct {
	t       testing.TB
	conn    net.Conn
	packets chan *parser.Packet
	handle  func(*testClient, *parser.Packet)
	done    chan struct{} // closed when the connection is
	quit    chan struct{} // closed by cut
	once    sync.Once

	writing sync.Mutex
	mute    atomic.Bool // pings stay unanswered
	pongs   atomic.Int64
}

func dial(t testing.TB, srv *testServer) *testClient {
	t.Helper()
	c := dialQuietly(t, srv)
	if c == nil {
		t.FailNow()
	}
	t.Cleanup(c.cut)
	return c
}

// dialQuietly is dial for goroutines that must not end the test.
func dialQuietly(t testing.TB, srv *testServer) *testClient { return dialWith(t, srv, nil, nil) }

// dialWith is dialQuietly with a header for the request, and a function that gets the packets before any ping behind them
// is answered. Without one they go to the channel.
func dialWith(t testing.TB, srv *testServer, header http.Header, handle func(*testClient, *parser.Packet)) *testClient {
	url := strings.Replace(srv.url, "http", "ws", 1) + "?EIO=4&transport=websocket"
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(header)}
	conn, br, _, err := dialer.Dial(ctx, url)
	if err != nil {
		t.Errorf("dial: %v", err)
		return nil
	}
	c := &testClient{t: t, conn: conn, done: make(chan struct{}), quit: make(chan struct{}), handle: handle}
	if handle == nil {
		c.packets = make(chan *parser.Packet, 1<<16)
	}
	var r io.Reader = conn
	if br != nil {
		r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	go c.read(r)
	return c
}

func runtimeGoexit() { runtime.Goexit() }

type readWriter struct {
	io.Reader
	io.Writer
}

func (c *testClient) read(r io.Reader) {
	defer close(c.done)
	decoder := parser.JSON.NewDecoder()
	for {
		data, op, err := wsutil.ReadServerData(readWriter{r, c.conn})
		if err != nil {
			return
		}
		switch {
		case op == ws.OpBinary:
		case data[0] == '2':
			if !c.mute.Load() {
				c.write(ws.OpText, []byte("3"))
				c.pongs.Add(1)
			}
			continue
		case data[0] == '4':
			data = data[1:]
		default:
			continue
		}
		p, err := decoder.Decode(data, op == ws.OpBinary)
		if err != nil {
			c.t.Errorf("the server sent %q: %v", data, err)
			return
		}
		if p == nil {
			continue
		}
		if c.handle != nil {
			c.handle(c, p)
			continue
		}
		select {
		case c.packets <- p:
		case <-c.quit:
			return
		}
	}
}

func (c *testClient) write(op ws.OpCode, data []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = wsutil.WriteClientMessage(c.conn, op, data) // a connection that is closed is noticed by the reader
}

// send sends a Socket.IO packet as it stands.
func (c *testClient) send(text string) { c.write(ws.OpText, []byte("4"+text)) }

// cut ends the connection without a word and waits until the reader is gone.
func (c *testClient) cut() {
	c.once.Do(func() { close(c.quit) })
	_ = c.conn.Close()
	<-c.done
}

func (c *testClient) next() *parser.Packet {
	c.t.Helper()
	select {
	case p := <-c.packets:
		return p
	default:
	}
	select {
	case p := <-c.packets:
		return p
	case <-c.done:
		select {
		case p := <-c.packets:
			return p
		default:
		}
		c.t.Fatal("the connection was closed while waiting for a packet")
	case <-time.After(patience):
		c.t.Fatal("no packet came")
	}
	return nil
}

// describe puts a packet on one line, such as `2["news",1]`.
func describe(p *parser.Packet) string {
	id := ""
	if p.HasID {
		id = fmt.Sprint(p.ID)
	}
	ns := ""
	if p.Namespace != "/" {
		ns = p.Namespace + ","
	}
	return fmt.Sprintf("%d%s%s%s", p.Type, ns, id, p.Data)
}

// expect receives packets and compares them with their descriptions.
func (c *testClient) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := describe(c.next()); got != w {
			c.t.Fatalf("got packet %s, want %s", got, w)
		}
	}
}

// join connects to a namespace and returns the socket id.
func (c *testClient) join(namespace, auth string) string {
	c.t.Helper()
	prefix := ""
	if namespace != "/" {
		prefix = namespace + ","
	}
	c.send("0" + prefix + auth)
	p := c.next()
	if p.Type != parser.Connect || p.Namespace != namespace {
		c.t.Fatalf("got packet %s, want CONNECT to %s", describe(p), namespace)
	}
	var granted struct{ SID string }
	if err := json.Unmarshal(p.Data, &granted); err != nil {
		c.t.Fatal(err)
	}
	if want := fmt.Sprintf(`{"sid":%q}`, granted.SID); string(p.Data) != want || len(granted.SID) != 20 {
		c.t.Fatalf("CONNECT carries %s", p.Data)
	}
	return granted.SID
}

// sync makes sure that everything the client sent so far was handled, by means of the event "sync".
func (c *testClient) sync() {
	c.t.Helper()
	c.send(`2777["sync"]`)
	c.expect("3777[]")
}

func onSync(ns twine.Listenable) {
	twine.HandleEvent(ns, "sync", func(context.Context, *twine.Socket, any) error { return nil })
}

func (c *testClient) expectClosed() {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		c.t.Fatal("the connection was not closed")
	}
}

// connected returns a client that has joined the main namespace, and its socket.
func connected(t testing.TB, srv *testServer) (*testClient, *twine.Socket) {
	t.Helper()
	c := dial(t, srv)
	s := srv.Of("/").Socket(c.join("/", ""))
	if s == nil {
		t.Fatal("the server does not know the socket")
	}
	return c, s
}
