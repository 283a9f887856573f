package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/twine-realtime/twine/twine/engineio"
)

// engineSubject is the transport layer with the least Socket.IO that a client accepts on top. What twine costs more is
// the price of its namespaces, rooms and sockets.
type engineSubject struct {
	*engineio.Server

	mu      sync.Mutex
	members []*engineio.Session
}

func newEngineSubject() *engineSubject {
	e := &engineSubject{}
	e.Server = engineio.NewServer(nil, func(s *engineio.Session) engineio.Handler { return &engineHandler{e, s} })
	return e
}

func (e *engineSubject) joined() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.members)
}

func (e *engineSubject) emit(payload string, _ bool) error {
	data, err := json.Marshal([]string{"m", payload})
	if err != nil {
		return err
	}
	m := engineio.NewText(append([]byte{'2'}, data...))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.members {
		// A session that has just closed takes nothing; its client counts what is missing.
		_ = s.Send(m)
	}
	return nil
}

type engineHandler struct {
	subject *engineSubject
	session *engineio.Session
}

// Message takes the CONNECT of the main namespace, and nothing else.
func (h *engineHandler) Message(data []byte, binary bool) error {
	if binary || !bytes.Equal(data, []byte("0")) {
		return errors.New("not a CONNECT packet")
	}
	if err := h.session.Send(engineio.NewText([]byte(`0{"sid":"` + h.session.ID() + `"}`))); err != nil {
		return err
	}
	h.subject.mu.Lock()
	h.subject.members = append(h.subject.members, h.session)
	h.subject.mu.Unlock()
	return nil
}

// Closed takes the session out of the room. That is slow in a large room, and does not matter at the end of a round.
func (h *engineHandler) Closed(engineio.Reason, error) {
	h.subject.mu.Lock()
	defer h.subject.mu.Unlock()
	if i := slices.Index(h.subject.members, h.session); i >= 0 {
		h.subject.members = slices.Delete(h.subject.members, i, i+1)
	}
}
