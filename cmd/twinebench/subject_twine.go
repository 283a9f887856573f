package main

import (
	"sync/atomic"

	"github.com/twine-realtime/twine/twine"
)

// twineSubject is the library, used as its documentation says.
type twineSubject struct {
	*twine.Server
	sockets atomic.Int64
}

func newTwineSubject(opts *twine.Options) *twineSubject {
	t := &twineSubject{Server: twine.NewServer(opts)}
	t.OnConnect(func(s *twine.Socket) {
		s.Join(room)
		t.sockets.Add(1)
	})
	t.OnDisconnect(func(*twine.Socket, string) { t.sockets.Add(-1) })
	return t
}

func (t *twineSubject) joined() int { return int(t.sockets.Load()) }

func (t *twineSubject) emit(payload string, _ bool) error { return t.To(room).Emit("m", payload) }
