package sioclient

import (
	"errors"
	"net/netip"
	"time"
)

// FleetOptions says how many clients there are and what they do.
type FleetOptions struct {
	// Clients is how many there can be at the most. The process's limit of open files bounds them: a client takes one,
	// or two when it polls.
	Clients int
	// Place is asked for each attempt of a client (0 to Clients-1) to connect. failed counts the attempts that have
	// failed since its last success.
	Place func(client, failed int) Place
	// Path of the server. Empty means /socket.io/.
	Path string
	// CookiePath is what a client without cookies gets before its first handshake, such as /set-cookie. It counts as
	// failed unless the answer is 200 with a cookie. Empty means none.
	CookiePath string
	// Timeout bounds an attempt, up to the answer to CONNECT. Zero means 20 s, as with stock clients.
	Timeout time.Duration
	// Backoff is the mean delay before a lost client's first attempt to come back. It doubles with each further attempt, up
	// to five times Backoff, and is randomized by half. Zero means 1 s, as with stock clients.
	Backoff time.Duration
	// Watcher is told what happens.
	Watcher Watcher
}

// Place says from where and to where a client connects.
type Place struct {
	Addr    netip.AddrPort // IPv4
	Host    string         // value of the Host header
	Source  netip.Addr     // own address; invalid means that the system chooses
	Polling bool           // instead of WebSocket
}

// Watcher is told what happens to the clients, by the goroutine of [Fleet.Run]. Its methods must not block. They may call
// the Fleet's methods, other than Connect and Cut, which have to wait for [Fleet.After].
type Watcher interface {
	// Joined is called when the server has accepted the client, with its session of before if recovered.
	Joined(client int, recovered bool)
	// Event is called with the raw JSON array of an event's name and arguments, possibly after an acknowledgement id.
	// Events that are replayed before the answer to CONNECT come before Joined. data is borrowed until Event returns.
	Event(client int, data []byte)
	// Failed is called when an attempt to connect has failed. The client tries again by itself.
	Failed(client int, err *ConnectError)
	// Lost is called when the connection of a client that had joined is gone, other than by Cut. The client comes back
	// by itself.
	Lost(client int, err error)
}

// ConnectError is a failed attempt.
type ConnectError struct {
	// Step is how far the attempt had come: "set-cookie", "dial", "upgrade", "handshake" or "connect".
	Step string
	Err  error
}

func (e *ConnectError) Error() string { return e.Step + ": " + e.Err.Error() }

func (e *ConnectError) Unwrap() error { return e.Err }

// Errors of an attempt or a connection.
var (
	// ErrTimeout means that an attempt took longer than FleetOptions.Timeout.
	ErrTimeout = errors.New("no answer in time")
	// ErrSilence means that no ping came for as long as the server had announced.
	ErrSilence = errors.New("ping timeout")
)

func (o *FleetOptions) setDefaults() {
	if o.Path == "" {
		o.Path = "/socket.io/"
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	if o.Backoff == 0 {
		o.Backoff = time.Second
	}
}

// stepOf names how far a client has come.
func stepOf(p phase, fetching bool) string {
	switch {
	case fetching:
		return "set-cookie"
	case p == dialing:
		return "dial"
	case p == upgrading:
		return "upgrade"
	case p == opening:
		return "handshake"
	}
	return "connect"
}

// trailingText returns the last element of a raw JSON array if it is a string without escapes, which no offset has.
func trailingText(data []byte) []byte {
	end := len(data) - 2
	if end < 1 || data[end+1] != ']' || data[end] != '"' {
		return nil
	}
	for i := end - 1; i > 0; i-- {
		switch data[i] {
		case '\\':
			return nil
		case '"':
			if data[i-1] == '\\' {
				return nil
			}
			return data[i+1 : end]
		}
	}
	return nil
}
