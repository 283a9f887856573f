package main

import (
	"bytes"
	"net"
	"time"
)

// pausing makes a connection that becomes a WebSocket wait before it says more. The suite of protocol v3 begins to listen
// for messages some time after its socket is open; a handshake that arrives together with the HTTP answer is lost on it.
type pausing struct {
	net.Listener
	pause time.Duration
}

func (l pausing) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return pausingConn{conn, l.pause}, nil
}

type pausingConn struct {
	net.Conn
	pause time.Duration
}

func (c pausingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err == nil && bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")) {
		time.Sleep(c.pause)
	}
	return n, err
}
