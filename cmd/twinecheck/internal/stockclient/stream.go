package stockclient

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

const (
	dialTimeout  = 10 * time.Second // a stock client gives the whole handshake 20 s
	writeTimeout = 10 * time.Second
	// maxMessage bounds what the server may send in one message.
	maxMessage = 16 << 20
)

// stream is a WebSocket connection that carries Engine.IO packets.
type stream struct {
	conn   net.Conn
	reader *bufio.Reader
	buf    []byte // of the last message
	once   sync.Once
}

func dial(ctx context.Context, addr string) (*stream, error) {
	tcp := net.Dialer{Timeout: dialTimeout}
	conn, err := tcp.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	// A client that is told to stop must not wait for an answer that never comes.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	s := &stream{conn: conn}
	s.patience(dialTimeout)
	var dialer ws.Dialer
	reader, _, err := dialer.Upgrade(conn, &url.URL{Scheme: "ws", Host: addr, Path: "/socket.io/", RawQuery: "EIO=4&transport=websocket"})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	if s.reader = reader; reader == nil { // else it holds what came with the answer
		s.reader = bufio.NewReaderSize(conn, 4096)
	}
	return s, nil
}

// close may be called more than once, and concurrently with everything else.
func (s *stream) close() { s.once.Do(func() { s.conn.Close() }) }

// patience sets how long from now read will wait.
func (s *stream) patience(d time.Duration) { s.conn.SetReadDeadline(time.Now().Add(d)) }

// read returns the next text message. It is valid until the next read.
func (s *stream) read() ([]byte, error) {
	for {
		h, err := ws.ReadHeader(s.reader)
		if err != nil {
			return nil, err
		}
		if h.Masked || !h.Fin || h.Length > maxMessage {
			return nil, garbled("unexpected WebSocket frame %+v", h)
		}
		if cap(s.buf) < int(h.Length) {
			s.buf = make([]byte, h.Length)
		}
		s.buf = s.buf[:h.Length]
		if _, err := io.ReadFull(s.reader, s.buf); err != nil {
			return nil, err
		}
		switch h.OpCode {
		case ws.OpText:
			return s.buf, nil
		case ws.OpClose:
			return nil, errClosedByServer
		case ws.OpPing:
			if err := s.frame(ws.NewPongFrame(append([]byte(nil), s.buf...))); err != nil {
				return nil, err
			}
		case ws.OpPong:
		default:
			return nil, garbled("unexpected WebSocket frame %+v", h)
		}
	}
}

func (s *stream) write(text []byte) error { return s.frame(ws.NewTextFrame(text)) }

func (s *stream) frame(f ws.Frame) error {
	b, err := ws.CompileFrame(ws.MaskFrameInPlace(f))
	if err != nil {
		return err
	}
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err = s.conn.Write(b)
	return err
}
