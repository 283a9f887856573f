package zishang520_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/twine-realtime/twine/twine/parser"
)

// patience bounds every wait. It is long because a loaded machine must not fail the tests.
const patience = 20 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// client is a Socket.IO client over WebSocket that notes what it gets.
type client struct {
	t    testing.TB
	id   string
	pid  string
	nsp  string
	auth string
	conn net.Conn
	in   stream // of conn

	writing sync.Mutex
	ready   chan struct{} // closed once it has joined: then id and pid are known
	ended   chan struct{}

	mu      sync.Mutex
	events  []string // raw JSON; attachments follow it as text
	refused bool
	left    bool   // disconnected from the namespace, or altogether
	answer  string // raw JSON array: what events are acknowledged with; empty: not at all
}

// connect joins a namespace of the server at an address, with a query. Clients
// that join without a delay are not always noticed by that library's server, so
// it tries again.
func connect(t testing.TB, address, nsp, query string) *client {
	t.Helper()
	for range 10 {
		if c := dial(t, address, nsp, query, ""); c.joined() {
			return c
		}
	}
	t.Fatal("not connected")
	return nil
}

// joined waits until the client has joined, and reports false if it takes long.
func (c *client) joined() bool {
	select {
	case <-c.ready:
		return true
	case <-time.After(patience / 10):
		c.conn.Close()
		return false
	}
}

// dial returns a client that has yet to join. auth is a JSON object, or empty.
func dial(t testing.TB, address, nsp, query, auth string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, early, _, err := ws.Dial(ctx, "ws://"+address+"/socket.io/?EIO=4&transport=websocket"+query)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, nsp: nsp, auth: auth, conn: conn, in: stream{conn, conn}, ready: make(chan struct{}), ended: make(chan struct{})}
	if early != nil {
		c.in.Reader = early // which has what came together with the answer to the handshake
	}
	go c.receive()
	t.Cleanup(func() {
		conn.Close()
		<-c.ended
	})
	return c
}

type stream struct {
	io.Reader
	io.Writer
}

func (c *client) write(message string) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	_ = wsutil.WriteClientText(c.conn, []byte(message)) // the end is noticed by reading
}

// writeBinary sends a packet with one attachment.
func (c *client) writeBinary(message, attachment string) {
	c.write(message)
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = wsutil.WriteClientBinary(c.conn, []byte(attachment))
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (c *client) receive() {
	defer close(c.ended)
	defer c.leave()
	decoder := parser.JSON.NewDecoder()
	for {
		data, op, err := wsutil.ReadServerData(c.in)
		if err != nil {
			return
		}
		if op == ws.OpText {
			switch data[0] {
			case '0': // open
				c.write("40" + c.prefix() + c.auth)
				continue
			case '2': // ping
				c.write("3")
				continue
			}
			data = data[1:]
		}
		p, err := decoder.Decode(data, op == ws.OpBinary)
		if err != nil {
			c.t.Errorf("client got %q: %v", data, err)
			return
		}
		if p == nil {
			continue
		}
		switch p.Type {
		case parser.Connect:
			var answer struct{ SID, PID string }
			if err := parser.DecodeArg(p.Data, nil, &answer); err != nil {
				c.t.Error(err)
			}
			c.id, c.pid = answer.SID, answer.PID
			close(c.ready)
		case parser.Event:
			c.event(p)
		case parser.Disconnect:
			c.leave()
		case parser.ConnectError:
			c.mu.Lock()
			c.refused = true
			c.mu.Unlock()
		}
	}
}

func (c *client) event(p *parser.Packet) {
	text := string(p.Data)
	for _, a := range p.Attachments {
		text += fmt.Sprintf(" %q", a)
	}
	c.mu.Lock()
	c.events = append(c.events, text)
	answer := c.answer
	c.mu.Unlock()
	if p.HasID && answer != "" {
		c.write("43" + c.prefix() + fmt.Sprint(p.ID) + answer)
	}
}

// prefix says in a packet which namespace it is for.
func (c *client) prefix() string {
	if c.nsp == "/" {
		return ""
	}
	return c.nsp + ","
}

func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
}

func (c *client) got() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

func (c *client) hasLeft() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

func (c *client) wasRefused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

func (c *client) answerWith(answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// await waits for an event and forgets it and what came before.
func (c *client) await(event string) {
	c.t.Helper()
	eventually(c.t, event, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.events, event)
		if i >= 0 {
			c.events = c.events[i+1:]
		}
		return i >= 0
	})
}

// count is how many events there are whose JSON begins so.
func (c *client) count(prefix string) int {
	n := 0
	for _, e := range c.got() {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}
