package faults

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const patience = time.Minute

// pair is a connection through a proxy, from both ends.
type pair struct{ client, server net.Conn }

func connect(t *testing.T, p *Proxy, listener net.Listener) pair {
	t.Helper()
	client, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
	}
	return pair{client, server}
}

func start(t *testing.T, silence time.Duration) (*Proxy, net.Listener) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p, err := Listen(listener.Addr().String(), silence, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, listener
}

// pass sends a word through and checks that it arrives.
func pass(t *testing.T, from, to net.Conn) {
	t.Helper()
	const word = "word"
	if _, err := io.WriteString(from, word); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(word))
	if _, err := io.ReadFull(to, buf); err != nil || string(buf) != word {
		t.Fatalf("got %q, %v", buf, err)
	}
}

func ends(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Errorf("read %d bytes and %v, want %v", n, err, want)
	}
}

func cut(t *testing.T, p *Proxy, kind Kind) {
	t.Helper()
	if !p.Cut(kind) {
		t.Fatalf("nothing to cut")
	}
}

func TestCutBothSidesAtOnce(t *testing.T) {
	for kind, want := range map[Kind]error{Reset: syscall.ECONNRESET, Finish: io.EOF} {
		t.Run(kind.String(), func(t *testing.T) {
			p, listener := start(t, time.Hour)
			if p.Cut(kind) {
				t.Error("there was nothing to cut")
			}
			c := connect(t, p, listener)
			pass(t, c.client, c.server)
			pass(t, c.server, c.client)
			cut(t, p, kind)
			ends(t, c.client, want)
			ends(t, c.server, want)
			if n := p.Cuts()[kind]; n != 1 {
				t.Errorf("%d cuts", n)
			}
		})
	}
}

func TestHalfOpen(t *testing.T) {
	p, listener := start(t, time.Hour)
	c := connect(t, p, listener)
	pass(t, c.client, c.server)
	cut(t, p, HalfOpen)
	ends(t, c.client, syscall.ECONNRESET)
	// The server may write as much as it likes.
	for range 100 {
		if _, err := c.server.Write(make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	p.Heal()
	ends(t, c.server, syscall.ECONNRESET)
}

func TestBlackhole(t *testing.T) {
	p, listener := start(t, 300*time.Millisecond) // within which both ends have to write
	c := connect(t, p, listener)
	pass(t, c.client, c.server)
	cut(t, p, Blackhole)
	for _, end := range []net.Conn{c.client, c.server} {
		if _, err := io.WriteString(end, "into nothing"); err != nil {
			t.Fatal(err)
		}
	}
	ends(t, c.client, syscall.ECONNRESET)
	ends(t, c.server, syscall.ECONNRESET)
}

func TestMidFrame(t *testing.T) {
	p, listener := start(t, time.Hour)
	c := connect(t, p, listener)
	pass(t, c.client, c.server)
	cut(t, p, MidFrame)
	pass(t, c.client, c.server) // what clients send is not what it waits for
	midFrame(t, p, c, MidFrame)
}

func TestRestoring(t *testing.T) {
	p, listener := start(t, time.Hour)
	before := connect(t, p, listener)
	pass(t, before.client, before.server)
	cut(t, p, Restoring)
	c := connect(t, p, listener)
	midFrame(t, p, c, Restoring)
	pass(t, before.server, before.client)
}

func midFrame(t *testing.T, p *Proxy, c pair, kind Kind) {
	t.Helper()
	if _, err := c.server.Write(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c.client)
	if !errors.Is(err, syscall.ECONNRESET) || len(got) == 0 || len(got) > 20<<10 {
		t.Errorf("got %d bytes and %v", len(got), err)
	}
	ends(t, c.server, syscall.ECONNRESET)
	if n := p.Cuts()[kind]; n != 1 {
		t.Errorf("%d cuts", n)
	}
}

func TestEndsArePassedOn(t *testing.T) {
	p, listener := start(t, time.Hour)
	c := connect(t, p, listener)
	pass(t, c.client, c.server)
	c.client.Close()
	ends(t, c.server, io.EOF)
	c = connect(t, p, listener)
	pass(t, c.client, c.server)
	c.server.Close()
	ends(t, c.client, io.EOF)
}

func TestServerIsGone(t *testing.T) {
	p, listener := start(t, time.Hour)
	listener.Close()
	client, err := net.Dial("tcp", p.Addr())
	if errors.Is(err, syscall.ECONNRESET) {
		return // sooner than Dial noticed that it was connected
	}
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.SetDeadline(time.Now().Add(patience))
	ends(t, client, syscall.ECONNRESET)
}
