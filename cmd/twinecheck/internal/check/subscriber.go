package check

import (
	"encoding/json"
	"math"
	"strings"
	"sync/atomic"

	"github.com/twine-realtime/twine/cmd/twinecheck/internal/history"
	"github.com/twine-realtime/twine/cmd/twinecheck/internal/stockclient"
)

// subscriber is an application on a stock client. It subscribes to its rooms, does so again when it is told that its
// session is new, and takes down what it sees.
type subscriber struct {
	run    *run
	log    *history.ClientLog
	rooms  []uint16
	joined map[uint16]bool // confirmed in this session
	live   bool            // connected

	// ready tells others that the client is connected and all its subscriptions are confirmed.
	ready atomic.Bool
}

func (s *subscriber) note(e history.Event) {
	e.At = s.run.now()
	s.log.Note(e)
}

func (s *subscriber) update() { s.ready.Store(s.live && len(s.joined) == len(s.rooms)) }

// Connect implements stockclient.Listener.
func (s *subscriber) Connect(recovered bool) []stockclient.Emit {
	kind := history.Recovered
	if !recovered {
		kind = history.Connected
		clear(s.joined)
	}
	s.note(history.Event{Kind: kind})
	s.live = true
	s.update()
	var emits []stockclient.Emit
	for _, room := range s.rooms {
		if !s.joined[room] {
			s.note(history.Event{Kind: history.Asked, Room: room})
			emits = append(emits, stockclient.Emit{Event: "subscribe", Argument: s.run.history.Rooms[room]})
		}
	}
	return emits
}

// Disconnect implements stockclient.Listener.
func (s *subscriber) Disconnect(reason error) {
	s.live = false
	s.update()
	s.note(history.Event{Kind: history.Disconnected, Text: reason.Error()})
}

// Garbled implements stockclient.Listener.
func (s *subscriber) Garbled(err error) {
	s.note(history.Event{Kind: history.Garbled, Text: err.Error()})
}

// Event implements stockclient.Listener.
func (s *subscriber) Event(args []json.RawMessage) {
	var name, text string
	if json.Unmarshal(args[0], &name) != nil || len(args) < 2 {
		return
	}
	switch name {
	case "message":
		s.message(args[1])
	case "roomJoined":
		if json.Unmarshal(args[1], &text) != nil {
			return
		}
		if room, ok := s.run.room(strings.TrimPrefix(text, "You have joined room: ")); ok && !s.joined[room] {
			s.joined[room] = true
			s.note(history.Event{Kind: history.Subscribed, Room: room})
			s.update()
		}
	case "twine:gap":
		var gap struct{ Room string }
		_ = json.Unmarshal(args[1], &gap) // a gap that names no room is one of all rooms
		room, ok := s.run.room(gap.Room)
		if !ok {
			room = history.AllRooms
		}
		s.note(history.Event{Kind: history.Gap, Room: room, Text: string(args[1])})
	}
}

func (s *subscriber) message(raw json.RawMessage) {
	m, err := parseMessage(raw, s.run.config.Padding)
	if err != nil {
		s.note(history.Event{Kind: history.Garbled, Text: err.Error()})
		return
	}
	room, ok := s.run.room(m.Room)
	if !ok {
		room = math.MaxUint16 // the history knows what to think of it
	}
	s.log.Deliver(history.Delivery{At: s.run.now(), Publisher: uint16(m.Publisher), Number: m.Number, Room: room})
}
