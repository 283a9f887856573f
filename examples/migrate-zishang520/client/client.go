// Package client is a small Socket.IO client over WebSocket, for the programs of this example.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/twine-realtime/twine/twine/parser"
)

// Client is connected to the main namespace of a server. Its methods may be called concurrently.
type Client struct {
	conn  net.Conn
	in    stream // of conn
	event func(data []byte)
	ended chan struct{}

	writing sync.Mutex

	mu   sync.Mutex
	next uint64
	acks map[uint64]chan []byte
}

type stream struct {
	io.Reader
	io.Writer
}

// again is how long Dial waits for an answer before it connects anew.
const again = 2 * time.Second

// ErrSilent means that a server did not answer to a client that wants to join.
var ErrSilent = errors.New("no answer")

// Dial connects to a server, such as "127.0.0.1:3000", with what it sends to join, a JSON object. event, unless nil, is
// called for each event, a raw JSON array of its name and its arguments, one after the other.
//
// Until ctx ends it connects again if there is no answer: a server on that library may not notice a client that joins
// without a delay.
func Dial(ctx context.Context, address, auth string, event func(data []byte)) (*Client, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, again)
		c, err := DialOnce(attempt, address, auth, event)
		cancel()
		if !errors.Is(err, ErrSilent) || ctx.Err() != nil {
			return c, err
		}
	}
}

// DialOnce is Dial that does not connect again. If ctx ends before there is an answer, the error matches ErrSilent.
func DialOnce(ctx context.Context, address, auth string, event func(data []byte)) (*Client, error) {
	conn, buffered, _, err := ws.Dial(ctx, "ws://"+address+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c := &Client{conn: conn, in: stream{conn, conn}, event: event, ended: make(chan struct{}), acks: make(map[uint64]chan []byte)}
	if buffered != nil {
		c.in.Reader = buffered // which has what came together with the answer to the handshake
	}
	connected := make(chan error, 1)
	go c.receive(auth, connected)
	select {
	case err = <-connected:
	case <-ctx.Done():
		err = ErrSilent
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("join the server at %s: %w", address, err)
	}
	return c, nil
}

func (c *Client) receive(auth string, connected chan<- error) {
	defer close(c.ended)
	decoder := parser.JSON.NewDecoder()
	for {
		data, op, err := wsutil.ReadServerData(c.in)
		if err != nil {
			select {
			case connected <- errors.New("the connection was closed"):
			default:
			}
			return
		}
		if op == ws.OpText && len(data) > 0 {
			switch data[0] {
			case '0':
				_ = c.Write("40" + auth) // an error shows when reading too
				continue
			case '2':
				_ = c.Write("3")
				continue
			}
			data = data[1:]
		}
		p, err := decoder.Decode(data, op == ws.OpBinary)
		if err != nil {
			c.conn.Close()
			continue
		}
		if p != nil {
			c.packet(p, connected)
		}
	}
}

func (c *Client) packet(p *parser.Packet, connected chan<- error) {
	switch p.Type {
	case parser.Connect:
		connected <- nil
	case parser.ConnectError:
		connected <- fmt.Errorf("refused: %s", p.Data)
	case parser.Event:
		if c.event != nil {
			c.event(p.Data)
		}
	case parser.Ack:
		c.mu.Lock()
		if answer := c.acks[p.ID]; answer != nil {
			answer <- p.Data
			delete(c.acks, p.ID)
		}
		c.mu.Unlock()
	}
}

// Write sends a WebSocket message as it is.
func (c *Client) Write(message string) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	return wsutil.WriteClientText(c.conn, []byte(message))
}

// Emit sends an event.
func (c *Client) Emit(event string, args ...any) error {
	data, _, err := parser.EventData(event, args...)
	if err != nil {
		return err
	}
	return c.Write("42" + string(data))
}

// Ask sends an event and returns what it was acknowledged with, a raw JSON array.
func (c *Client) Ask(ctx context.Context, event string, args ...any) ([]byte, error) {
	data, _, err := parser.EventData(event, args...)
	if err != nil {
		return nil, err
	}
	answer := make(chan []byte, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.acks[id] = answer
	c.mu.Unlock()
	if err := c.Write(fmt.Sprintf("42%d%s", id, data)); err != nil {
		return nil, err
	}
	select {
	case data := <-answer:
		return data, nil
	case <-c.ended:
		return nil, io.ErrUnexpectedEOF
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer to %s: %w", event, ctx.Err())
	}
}

// Ended is closed when the connection has ended.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Close ends the connection.
func (c *Client) Close() {
	c.conn.Close()
	<-c.ended
}
