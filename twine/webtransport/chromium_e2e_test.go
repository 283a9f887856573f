//go:build e2e

package webtransport

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
)

const jsFolder = "../../testdata/js"

// page is what the browser loads: the unchanged client, and a function that connects it and notes what happens.
const page = `<!doctype html><title>WebTransport</title><link rel="icon" href="data:,"><script src="/client.js"></script><script>
function connect(transports, hash) {
	const state = { transports: [], got: [], acks: 0, disconnected: "", errors: [] };
	const socket = io({
		transports,
		reconnection: false,
		transportOptions: { webtransport: { serverCertificateHashes: [{ algorithm: "sha-256", value: new Uint8Array(hash) }] } },
	});
	const note = (transport) => state.transports.push(transport.name);
	socket.io.on("open", () => {
		note(socket.io.engine.transport);
		socket.io.engine.on("upgrade", note);
		socket.io.engine.on("upgradeError", (error) => state.errors.push(String(error)));
	});
	socket.on("connect_error", (error) => state.errors.push(String(error)));
	socket.on("disconnect", (reason) => { state.disconnected = reason; });
	socket.on("number", (n) => state.got.push(n));
	socket.on("bytes", (bytes) => state.got.push(...new Uint8Array(bytes)));
	socket.on("large", (bytes) => { state.large = bytes.byteLength; });
	state.send = (count) => {
		for (let i = 0; i < count; i++) {
			socket.emit("number", i, (n) => { if (n === i) state.acks++; });
			socket.emit("bytes", new Uint8Array([i & 255, 0xff]));
		}
	};
	window.state = state;
	window.socket = socket;
}
</script>`

// chat is a Socket.IO server with a page, and all transports on ports of the same number.
type chat struct {
	*twine.Server
	t    *testing.T
	url  string
	hash []byte

	mayUseWebSocket chan struct{} // closed when WebTransport need not be the first

	sockets chan *twine.Socket
	numbers chan int
	bytes   chan []byte
	reasons chan string
}

func startChat(t *testing.T) *chat {
	t.Helper()
	c := &chat{t: t, mayUseWebSocket: make(chan struct{}), sockets: make(chan *twine.Socket, 1), numbers: make(chan int, 10_000), bytes: make(chan []byte, 10_000), reasons: make(chan string, 1)}
	c.Server = twine.NewServer(&twine.Options{Engine: engineio.Options{
		Transports: []string{engineio.Polling, engineio.WebSocket, engineio.WebTransport},
	}})
	c.OnConnect(func(s *twine.Socket) {
		twine.On(s, "number", func(_ context.Context, n int) (int, error) {
			c.numbers <- n
			return n, nil
		})
		s.On("bytes", func(_ context.Context, e *twine.Event) {
			var b []byte
			if err := e.Args(&b); err != nil {
				t.Error(err)
			}
			c.bytes <- b
		})
		s.OnDisconnect(func(reason string) { c.reasons <- reason })
		c.sockets <- s
	})
	tcp, udp := listen(t)
	c.url = "http://" + tcp.Addr().String()
	cert := certificate(t)
	hash := sha256.Sum256(cert.Certificate[0])
	c.hash = hash[:]
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) })
	mux.HandleFunc("/client.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(jsFolder, "node_modules/socket.io-client/dist/socket.io.js"))
	})
	mux.HandleFunc("/socket.io/", func(w http.ResponseWriter, r *http.Request) {
		// The client gives WebTransport 200 ms to be faster than WebSocket, which a busy machine may need.
		if r.URL.Query().Get("transport") == engineio.WebSocket {
			select {
			case <-c.mayUseWebSocket:
			case <-r.Context().Done():
				return
			}
		}
		c.ServeHTTP(w, r)
	})
	web := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	go web.Serve(tcp)
	wt := &Server{Engine: c.Engine(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	served := make(chan error, 1)
	go func() { served <- wt.Serve(udp) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := wt.Close(); err != nil {
			t.Error(err)
		}
		<-served
		_ = udp.Close()
		_ = web.Close()
	})
	return c
}

// listen returns a TCP and a UDP socket on the same port, because the client knows one address.
func listen(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp
		}
		_ = tcp.Close()
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil, nil
}

// browser is a Chromium driven by testdata/js/browser.mjs.
type browser struct {
	t       *testing.T
	stdin   io.Writer
	answers chan string
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	cmd := exec.Command("node", "browser.mjs")
	cmd.Dir = jsFolder
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, stdin: stdin, answers: make(chan string, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if line := lines.Text(); strings.HasPrefix(line, `{"answer":`) || strings.HasPrefix(line, `{"error":`) {
				b.answers <- line
			} else {
				_, _ = fmt.Fprintln(os.Stderr, line)
			}
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		<-ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	return b
}

func (b *browser) do(command map[string]any, v any) {
	b.t.Helper()
	line, err := json.Marshal(command)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(b.stdin, "%s\n", line); err != nil {
		b.t.Fatal(err)
	}
	var reply struct {
		Answer json.RawMessage
		Error  string
	}
	select {
	case line := <-b.answers:
		err = json.Unmarshal([]byte(line), &reply)
	case <-time.After(3 * patience):
		b.t.Fatalf("%s: no answer", line)
	}
	if err != nil || reply.Error != "" {
		b.t.Fatalf("%s: %v %s", line, err, reply.Error)
	}
	if v != nil {
		if err := json.Unmarshal(reply.Answer, v); err != nil {
			b.t.Fatalf("%s: %v in %s", line, err, reply.Answer)
		}
	}
}

func (b *browser) evaluate(script string, v any) {
	b.t.Helper()
	b.do(map[string]any{"do": "evaluate", "page": "a", "script": script}, v)
}

// state is what the page has noted.
type state struct {
	Transports   []string
	Got          []int
	Acks         int
	Large        int
	Disconnected string
	Errors       []string
}

func (b *browser) state() (s state) {
	b.t.Helper()
	b.evaluate("JSON.parse(JSON.stringify(state))", &s)
	return s
}

// connect loads the page, has it connect, and returns the server's end.
func (c *chat) connect(b *browser, transports ...string) *twine.Socket {
	c.t.Helper()
	b.do(map[string]any{"do": "open", "page": "a", "url": c.url}, nil)
	names, _ := json.Marshal(transports)
	hash := strings.Join(strings.Fields(fmt.Sprint(c.hash)), ",")
	b.evaluate(fmt.Sprintf("connect(%s, %s)", names, hash), nil)
	select {
	case s := <-c.sockets:
		return s
	case <-time.After(patience):
		c.t.Fatalf("the page has not connected: %+v", b.state())
		return nil
	}
}

// exchange has both ends send, the server from before the page is ready on, and checks that each gets all in order.
func (c *chat) exchange(b *browser, s *twine.Socket, from, count int) {
	c.t.Helper()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range count {
			if err := s.Emit("number", from+i); err != nil {
				c.t.Error(err)
			}
			if err := s.Emit("bytes", []byte{7}); err != nil {
				c.t.Error(err)
			}
			if i%50 == 0 {
				select {
				case <-c.numbers: // in step with the page, so that the upgrade comes in the middle
				case <-time.After(patience):
					c.t.Error("nothing comes from the page")
					return
				}
			}
		}
	}()
	b.evaluate(fmt.Sprintf("state.send(%d)", count), nil)
	<-sent
	var got state
	eventually(c.t, "the page has everything", func() bool {
		got = b.state()
		return len(got.Got) >= 2*count && got.Acks >= count
	})
	for i := range count {
		if got.Got[2*i] != from+i || got.Got[2*i+1] != 7 {
			c.t.Fatalf("the page got %v for number %d", got.Got[2*i:2*i+2], i)
		}
	}
	if len(got.Errors) > 0 || got.Disconnected != "" {
		c.t.Errorf("errors %q, disconnected: %q", got.Errors, got.Disconnected)
	}
	for i := range count {
		select {
		case bytes := <-c.bytes:
			if len(bytes) != 2 || bytes[0] != byte(i) || bytes[1] != 0xff {
				c.t.Fatalf("the server got %v as bytes %d", bytes, i)
			}
		case <-time.After(patience):
			c.t.Fatal("nothing comes from the page")
		}
	}
	b.evaluate("state.got.length = 0; state.acks = 0", nil)
	for len(c.numbers) > 0 {
		<-c.numbers
	}
}

// TestChromium has an unchanged client in an unchanged browser use WebTransport, which trusts the server by the hash of its
// certificate.
func TestChromium(t *testing.T) {
	b := startBrowser(t)
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			b.t = t
			test(t)
		})
	}
	run("upgrade", func(t *testing.T) {
		c := startChat(t)
		s := c.connect(b, "polling", "websocket", "webtransport")
		var got state
		for from := 0; len(got.Transports) < 2; from += 1000 {
			c.exchange(b, s, from, 500)
			got = b.state()
		}
		if transports := strings.Join(got.Transports, " "); transports != "polling webtransport" {
			t.Errorf("transports: %s", transports)
		}
		close(c.mayUseWebSocket)
		c.exchange(b, s, 1_000_000, 500)
		var name string
		b.evaluate("socket.io.engine.transport.name", &name)
		if name != "webtransport" {
			t.Errorf("transport %q", name)
		}
		b.evaluate("socket.disconnect(); null", nil)
		if reason := <-c.reasons; reason != "client namespace disconnect" {
			t.Errorf("disconnected: %s", reason)
		}
	})
	run("WebTransport alone", func(t *testing.T) {
		c := startChat(t)
		s := c.connect(b, "webtransport")
		c.exchange(b, s, 0, 500)
		if got := b.state().Transports; len(got) != 1 || got[0] != "webtransport" {
			t.Errorf("transports %v", got)
		}
		large := make([]byte, 500_000)
		if err := s.Emit("large", large); err != nil {
			t.Fatal(err)
		}
		s.Disconnect(true)
		var got state
		eventually(t, "disconnected", func() bool {
			got = b.state()
			return got.Disconnected != ""
		})
		// Not "transport close": the server's last packet was not lost with the transport.
		if got.Disconnected != "io server disconnect" || got.Large != len(large) {
			t.Errorf("the page got %d of %d bytes and disconnected: %s", got.Large, len(large), got.Disconnected)
		}
	})
	run("the server closes", func(t *testing.T) {
		c := startChat(t)
		c.connect(b, "webtransport")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		since := time.Now()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		var got state
		eventually(t, "disconnected", func() bool {
			got = b.state()
			return got.Disconnected != ""
		})
		if got.Disconnected != "transport close" || time.Since(since) > 20*time.Second {
			t.Errorf("disconnected after %s: %s", time.Since(since), got.Disconnected)
		}
	})
	run("the page goes", func(t *testing.T) {
		c := startChat(t)
		c.connect(b, "webtransport")
		b.do(map[string]any{"do": "open", "page": "a", "url": "about:blank"}, nil)
		select {
		case reason := <-c.reasons:
			if reason != "transport close" {
				t.Errorf("disconnected: %s", reason)
			}
		case <-time.After(patience):
			t.Error("the server does not notice")
		}
	})
}
