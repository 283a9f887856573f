// Package stockclient behaves exactly as socket.io-client 4.6 and later does when it comes to connection state
// recovery, with its flaws, so that what it sees is what an application sees:
//
//   - Any trailing string argument of an event is kept as the offset, after the listeners ran, once there is a pid.
//   - A new session does not clear the offset: until its first event, the offset of the old session is sent with the
//     new pid.
//   - Events that come before the answer to CONNECT wait for it, even if the answer comes on a later connection. What is
//     replayed before the answer is therefore handed to the listeners twice when the connection is cut in between.
//   - Nothing is ever deduplicated.
//
// It uses WebSocket only.
package stockclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Listener is what an application does. Its methods are called one at a time, by the goroutine of Run.
type Listener interface {
	// Connect is called when the server has accepted the connection. What it returns is emitted.
	Connect(recovered bool) []Emit
	// Event is called with an event's name and arguments, as raw JSON.
	Event(args []json.RawMessage)
	// Disconnect is called when an accepted connection was lost.
	Disconnect(reason error)
	// Garbled is called when the server sent what a stock client cannot go on with: it would stop for good, or take
	// the connection for broken.
	Garbled(err error)
}

// Emit is an event with one string argument.
type Emit struct{ Event, Argument string }

// Options says how to connect.
type Options struct {
	// Addr returns the address to connect to. It is asked for each attempt.
	Addr func() string
	// Backoff is the mean delay before the first attempt to reconnect. It doubles with each further attempt, up to five
	// times Backoff, and is randomized by half. Stock clients have one second.
	Backoff time.Duration
	// Rand randomizes the delay. The client alone uses it.
	Rand *rand.Rand
	// Listener is the application.
	Listener Listener
}

// Client is one client. It is used by the goroutine of Run alone.
type Client struct {
	opts Options

	pid       string
	offset    *string // nil until there was one
	connected bool
	early     [][]json.RawMessage // events that wait for the answer to CONNECT
	attempts  int
}

// New returns a client that does nothing yet.
func New(opts Options) *Client { return &Client{opts: opts} }

// Run connects, and connects again whenever the connection is lost, until ctx ends.
func (c *Client) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.live(ctx)
		if c.connected {
			c.connected = false
			if ctx.Err() == nil {
				c.opts.Listener.Disconnect(err)
			}
		}
		if garbled := (*garbledError)(nil); errors.As(err, &garbled) {
			c.opts.Listener.Garbled(err)
		}
		select {
		case <-time.After(c.delay()):
		case <-ctx.Done():
		}
	}
}

// delay returns how long to wait before the next attempt.
func (c *Client) delay() time.Duration {
	delay := float64(c.opts.Backoff) * math.Pow(2, float64(c.attempts))
	delay *= 0.5 + c.opts.Rand.Float64()
	c.attempts++
	return min(time.Duration(delay), 5*c.opts.Backoff)
}

// garbledError is what no server may send.
type garbledError struct{ text string }

func (e *garbledError) Error() string { return e.text }

func garbled(format string, args ...any) error { return &garbledError{fmt.Sprintf(format, args...)} }

var errClosedByServer = errors.New("closed by the server")

// handshake is the first packet of an Engine.IO session.
type handshake struct {
	PingInterval int64 `json:"pingInterval"`
	PingTimeout  int64 `json:"pingTimeout"`
}

// live is the life of one connection. It always returns an error.
func (c *Client) live(ctx context.Context) error {
	s, err := dial(ctx, c.opts.Addr())
	if err != nil {
		return err
	}
	defer s.close()
	stop := context.AfterFunc(ctx, s.close)
	defer stop()

	first, err := s.read()
	if err != nil {
		return err
	}
	var h handshake
	if len(first) == 0 || first[0] != '0' || json.Unmarshal(first[1:], &h) != nil || h.PingInterval <= 0 {
		return garbled("not a handshake: %.100q", first)
	}
	c.attempts = 0
	patience := time.Duration(h.PingInterval+h.PingTimeout) * time.Millisecond
	if err := c.join(s); err != nil {
		return err
	}
	s.patience(patience)
	for {
		packet, err := s.read()
		if err != nil {
			return err
		}
		if err := c.packet(s, packet, patience); err != nil {
			return err
		}
	}
}

// packet handles one Engine.IO packet.
func (c *Client) packet(s *stream, packet []byte, patience time.Duration) error {
	if len(packet) == 0 {
		return garbled("empty packet")
	}
	switch packet[0] {
	case '1':
		return errClosedByServer
	case '2':
		s.patience(patience)
		return s.write([]byte("3"))
	case '4':
		return c.message(s, packet[1:])
	case '6':
		return nil
	}
	return garbled("unexpected packet %.100q", packet)
}

// join sends CONNECT.
func (c *Client) join(s *stream) error {
	if c.pid == "" {
		return s.write([]byte("40"))
	}
	auth, err := json.Marshal(struct {
		PID    string  `json:"pid"`
		Offset *string `json:"offset,omitempty"`
	}{c.pid, c.offset})
	if err != nil {
		return err
	}
	return s.write(append([]byte("40"), auth...))
}

// message handles one Socket.IO packet.
func (c *Client) message(s *stream, packet []byte) error {
	if len(packet) == 0 {
		return garbled("empty message")
	}
	switch data := packet[1:]; packet[0] {
	case '0':
		return c.joined(s, data)
	case '1':
		return garbled("disconnected by the server: a stock client stays away for good")
	case '2':
		for len(data) > 0 && data[0] >= '0' && data[0] <= '9' {
			data = data[1:] // an acknowledgement id; nobody waits for ours
		}
		var args []json.RawMessage
		if err := json.Unmarshal(data, &args); err != nil || len(args) == 0 {
			return garbled("not an event: %.100q", packet)
		}
		if !c.connected {
			c.early = append(c.early, args)
			return nil
		}
		c.event(args)
		return nil
	case '4':
		return garbled("connection refused: a stock client stays away for good: %.100q", data)
	}
	return garbled("unexpected message %.100q", packet)
}

func (c *Client) joined(s *stream, data []byte) error {
	var answer struct{ SID, PID string }
	if err := json.Unmarshal(data, &answer); err != nil || answer.SID == "" || c.connected {
		return garbled("not an answer to CONNECT: %.100q", data)
	}
	recovered := answer.PID != "" && answer.PID == c.pid
	c.pid = answer.PID
	c.connected = true
	early := c.early
	c.early = nil
	for _, args := range early {
		c.event(args)
	}
	for _, emit := range c.opts.Listener.Connect(recovered) {
		packet, err := json.Marshal([]string{emit.Event, emit.Argument})
		if err != nil {
			return err
		}
		if err := s.write(append([]byte("42"), packet...)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) event(args []json.RawMessage) {
	c.opts.Listener.Event(args)
	last := args[len(args)-1]
	if c.pid == "" || last[0] != '"' {
		return
	}
	var offset string
	if json.Unmarshal(last, &offset) == nil {
		c.offset = &offset
	}
}
