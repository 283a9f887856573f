//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// peer is a small Socket.IO client over a bare WebSocket, cheap enough for a test to have a thousand of them.
type peer struct {
	conn net.Conn

	mu       sync.Mutex
	messages [][]byte // the payloads of "message", in the order of their coming
	err      error    // why reading ended

	ended chan struct{} // closed when reading ends
}

// dialWebSocket opens a WebSocket and reads Engine.IO's handshake.
func dialWebSocket(t *testing.T, d *daemon) net.Conn {
	t.Helper()
	conn, err := dialEngine(d.host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func dialEngine(host string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, early, _, err := ws.Dial(ctx, "ws://"+host+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		return nil, err
	}
	if early != nil {
		conn = &bufferedConn{conn.(*net.TCPConn), early}
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	data, err := wsutil.ReadServerText(conn)
	if err == nil && !bytes.HasPrefix(data, []byte("0{")) {
		err = fmt.Errorf("handshake is %q", data)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// bufferedConn gives back what the WebSocket handshake has read too much.
type bufferedConn struct {
	*net.TCPConn
	early interface{ Read([]byte) (int, error) }
}

func (c *bufferedConn) Read(p []byte) (int, error) {
	if n, err := c.early.Read(p); n > 0 && err == nil {
		return n, nil
	}
	return c.TCPConn.Read(p)
}

// join connects a peer and subscribes it to a room.
func join(host, room string) (*peer, error) {
	conn, err := dialEngine(host)
	if err != nil {
		return nil, err
	}
	if err = connectMain(conn); err == nil {
		err = wsutil.WriteClientText(conn, fmt.Appendf(nil, `42["subscribe",%q]`, room))
	}
	if err == nil {
		err = readUntil(conn, fmt.Sprintf(`42["roomJoined","You have joined room: %s"`, room))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("join %s: %w", room, err)
	}
	p := &peer{conn: conn, ended: make(chan struct{})}
	go p.read()
	return p, nil
}

// connectMain joins the main namespace. Nothing may be sent before the server has answered.
func connectMain(conn net.Conn) error {
	if err := wsutil.WriteClientText(conn, []byte("40")); err != nil {
		return err
	}
	return readUntil(conn, `40{"sid":"`)
}

// readUntil reads up to the packet that begins with prefix, for a limited time.
func readUntil(conn net.Conn, prefix string) error {
	conn.SetReadDeadline(time.Now().Add(patience))
	for {
		data, err := wsutil.ReadServerText(conn)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", prefix, err)
		}
		if strings.HasPrefix(string(data), prefix) {
			return nil
		}
	}
}

func (p *peer) read() {
	defer close(p.ended)
	for {
		p.conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
		data, err := wsutil.ReadServerText(p.conn)
		if err == nil && string(data) == "2" {
			err = wsutil.WriteClientText(p.conn, []byte("3"))
		}
		if err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
			return
		}
		if payload, ok := bytes.CutPrefix(data, []byte(`42["message",`)); ok {
			// Up to the end of the object, for the offset follows.
			payload = payload[:bytes.LastIndexByte(payload, '}')+1]
			p.mu.Lock()
			p.messages = append(p.messages, payload)
			p.mu.Unlock()
		}
	}
}

func (p *peer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.messages)
}

func (p *peer) close() {
	p.conn.Close()
	<-p.ended
}
