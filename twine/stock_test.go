package twine_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/parser"
)

// stockClient does what a stock client does about recovery: it keeps the private id of its CONNECT packet, takes any
// string in the last place of an event for its offset, holds back what comes before CONNECT, and shows both when it
// connects again. It outlives its connections.
type stockClient struct {
	t      testing.TB
	ns     string
	cookie string // its browser's identity, unless empty

	mu         sync.Mutex
	conn       *testClient
	generation int // of the connection; what an earlier one still delivers is lost
	sid, pid   string
	offset     string
	connected  bool
	recovered  bool
	refused    string           // data of CONNECT_ERROR
	buffer     []*parser.Packet // came before CONNECT
	keepBuffer bool             // over reconnects, as the clients up to 4.8 do
	seen       []seen
	connects   int
	seenAt     int // how many events were seen before the newest CONNECT
	disordered []string
}

// seen is an event as the client's application got it.
type seen struct {
	name   string
	args   []json.RawMessage // with the offset
	offset string            // "" if the last argument is no string
	ack    bool
}

func (e seen) String() string { return fmt.Sprintf("%s%s", e.name, e.args) }

func newStock(t testing.TB) *stockClient {
	c := &stockClient{t: t, ns: "/"}
	t.Cleanup(c.cut)
	return c
}

// dial opens a connection and asks to join, without waiting for the answer. It reports false if the server is not there.
func (c *stockClient) dial(srv *testServer) bool { return c.dialAuth(srv, c.auth()) }

// auth is what the client sends in its CONNECT packet.
func (c *stockClient) auth() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid == "" {
		return ""
	}
	fields := map[string]string{"pid": c.pid}
	if c.offset != "" {
		fields["offset"] = c.offset
	}
	auth, _ := json.Marshal(fields) // strings
	return string(auth)
}

func (c *stockClient) dialAuth(srv *testServer, auth string) bool {
	header := http.Header{}
	if c.cookie != "" {
		header.Set("Cookie", "twineid="+c.cookie)
	}
	c.mu.Lock()
	c.generation++
	generation := c.generation
	c.mu.Unlock()
	conn := dialWith(c.t, srv, header, func(_ *testClient, p *parser.Packet) { c.packet(p, generation) })
	if conn == nil {
		return false
	}
	c.mu.Lock()
	c.conn = conn
	c.connected, c.recovered, c.refused = false, false, ""
	if !c.keepBuffer {
		c.buffer = nil
	}
	c.mu.Unlock()
	prefix := ""
	if c.ns != "/" {
		prefix = c.ns + ","
	}
	conn.send("0" + prefix + auth)
	return true
}

func (c *stockClient) packet(p *parser.Packet, generation int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation || p.Namespace != c.ns {
		return
	}
	switch p.Type {
	case parser.Connect:
		var granted struct{ SID, PID string }
		if err := json.Unmarshal(p.Data, &granted); err != nil {
			c.t.Errorf("CONNECT carries %s: %v", p.Data, err)
		}
		c.recovered = granted.PID != "" && granted.PID == c.pid
		c.sid, c.pid, c.connected = granted.SID, granted.PID, true
		for _, p := range c.buffer {
			c.emit(p)
		}
		c.buffer = nil
		c.connects++
		c.seenAt = len(c.seen)
	case parser.ConnectError:
		c.refused = string(p.Data)
	case parser.Disconnect:
		c.connected = false
	case parser.Event:
		if !c.connected {
			c.buffer = append(c.buffer, p)
			return
		}
		c.emit(p)
	}
}

// emit needs mu.
func (c *stockClient) emit(p *parser.Packet) {
	args, err := parser.SplitArgs(p.Data)
	if err != nil {
		c.t.Errorf("event %s: %v", p.Data, err)
		return
	}
	e := seen{ack: p.HasID}
	_ = json.Unmarshal(args[0], &e.name)
	for _, a := range args[1:] {
		e.args = append(e.args, a)
	}
	// With an acknowledgement the last argument is a function.
	if len(e.args) > 0 && !e.ack && json.Unmarshal(e.args[len(e.args)-1], &e.offset) == nil && c.pid != "" {
		before, err1 := recovery.ParseOffset(c.offset)
		now, err2 := recovery.ParseOffset(e.offset)
		if err2 != nil {
			c.disordered = append(c.disordered, fmt.Sprintf("offset %q in %v", e.offset, e))
		} else if err1 == nil && now.Before(before) {
			c.disordered = append(c.disordered, fmt.Sprintf("offset goes back from %s in %v", c.offset, e))
		}
		c.offset = e.offset
	}
	c.seen = append(c.seen, e)
}

// cut ends the connection without a word.
func (c *stockClient) cut() {
	if conn := c.leave(); conn != nil {
		conn.cut()
	}
}

// leave forgets the connection, which stays open as a half-open one does: nobody reads it, nobody answers pings.
func (c *stockClient) leave() *testClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.conn
	if conn != nil {
		conn.mute.Store(true) // first: a pong would confirm what is not taken any more
	}
	c.generation++
	c.connected, c.conn = false, nil
	return conn
}

func (c *stockClient) current() *testClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// emitEvent sends an event to the server.
func (c *stockClient) emitEvent(data string) {
	prefix := ""
	if c.ns != "/" {
		prefix = c.ns + ","
	}
	if conn := c.current(); conn != nil {
		conn.send("2" + prefix + data)
	}
}

// connect connects and waits until the server has agreed.
func (c *stockClient) connect(srv *testServer) *stockClient {
	c.t.Helper()
	if !c.dial(srv) {
		c.t.FailNow()
	}
	eventually(c.t, "CONNECT", c.isConnected)
	return c
}

func (c *stockClient) isConnected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connectedLocked()
}

func (c *stockClient) connectedLocked() bool { return c.connected && !c.closedLocked() }

// isClosed reports whether the connection has ended.
func (c *stockClient) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closedLocked()
}

func (c *stockClient) closedLocked() bool {
	if c.conn == nil {
		return true
	}
	select {
	case <-c.conn.done:
		return true
	default:
		return false
	}
}

// events returns the arguments of the events with this name that have been seen, without their offsets.
func (c *stockClient) events(name string) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.seen {
		if e.name != name {
			continue
		}
		args := e.args
		if e.offset != "" {
			args = args[:len(args)-1]
		}
		text := ""
		for _, a := range args {
			text += string(a)
		}
		out = append(out, text)
	}
	return out
}

// expect waits until exactly these events of a name have been seen, in this order.
func (c *stockClient) expect(name string, want ...string) {
	c.t.Helper()
	eventuallyOr(c.t, func() bool { return len(c.events(name)) >= len(want) }, func() string {
		return fmt.Sprintf("client has seen %s %v, want %v", name, c.events(name), want)
	})
	if got := c.events(name); !slices.Equal(got, want) {
		c.t.Fatalf("client has seen %s %v, want %v", name, got, want)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, problem := range c.disordered {
		c.t.Error(problem)
	}
}

// view is a copy of what the client knows.
type view struct {
	sid, pid, offset     string
	connected, recovered bool
	seen                 []seen
	seenAt, connects     int
}

func (c *stockClient) view() view {
	c.mu.Lock()
	defer c.mu.Unlock()
	return view{c.sid, c.pid, c.offset, c.connectedLocked(), c.recovered, slices.Clone(c.seen), c.seenAt, c.connects}
}

// eventuallyOr is eventually with a message that is made when it is too late.
func eventuallyOr(t testing.TB, ok func() bool, describe func() string) {
	t.Helper()
	late := false
	defer func() {
		if late {
			t.Log(describe())
		}
	}()
	late = true
	eventually(t, "see below", ok)
	late = false
}

// awaitPongs returns when the server has confirmed all that was sent so far: the ping after the next one is only sent when
// the next one's pong has been handled.
func (c *stockClient) awaitPongs() {
	c.t.Helper()
	conn := c.current()
	before := conn.pongs.Load()
	eventually(c.t, "pongs", func() bool { return conn.pongs.Load() >= before+3 })
}
