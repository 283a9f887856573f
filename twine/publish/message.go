package publish

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
)

// Message is an event for the clients in some rooms.
type Message struct {
	// Room and Rooms name who gets the event: the clients in any of the rooms, each once. There must be one room at least;
	// the daemon takes up to 1,000, with names of up to 1,024 bytes.
	Room  string
	Rooms []string
	// Except names rooms, or ids of sockets, that do not get it.
	Except []string
	// Event is its name, up to 255 bytes. "" means "message".
	Event string
	// Data is its only argument, as package json encodes it; nil means none. Send null with json.RawMessage("null").
	Data any
	// Args are all of its arguments, instead of Data.
	Args []any
	// Stamp makes the daemon set the members room and timestamp (milliseconds since 1970) of Data, which has to be an object,
	// for one room. The browser libraries' listenOn goes by them: without, it does not see the message.
	Stamp bool
	// ID names the message, in up to 255 bytes: within the daemon's recovery window, 24 hours by default, it delivers one
	// message of an ID. "" means that an ID is generated. Give one, such as an order's number, for a message that should
	// not be sent twice even if this program starts anew in between.
	ID string
}

// Result is what the daemon answered to a message that it has taken.
type Result struct {
	// ID is that of the message, given or generated.
	ID string
	// Offset is the message's place in the daemon's log, such as 1767225600000-0.
	Offset string
	// Duplicate says that a message with this ID was there already, and that this one was not sent for it. With a
	// generated ID it means that an earlier attempt had come through, though its answer had not.
	Duplicate bool
}

// wireMessage is a message as POST /v1/publish takes it.
type wireMessage struct {
	Rooms  []string `json:"rooms"`
	Except []string `json:"except,omitempty"`
	Event  string   `json:"event,omitempty"`
	Data   any      `json:"data,omitempty"`
	Args   []any    `json:"args,omitempty"`
	Stamp  bool     `json:"stamp,omitempty"`
	ID     string   `json:"id"`
}

// encoded is a message that is ready to be sent, as often as it takes.
type encoded struct {
	id   string
	body json.RawMessage
}

// encode checks what the daemon could not tell apart from something else; what else is wrong, the daemon says.
func encode(m *Message) (encoded, error) {
	wire := wireMessage{Rooms: m.Rooms, Except: m.Except, Event: m.Event, Data: m.Data, Args: m.Args, Stamp: m.Stamp, ID: m.ID}
	if m.Room != "" {
		wire.Rooms = append([]string{m.Room}, m.Rooms...)
	}
	switch {
	case len(wire.Rooms) == 0:
		return encoded{}, errors.New("publish: the message has no room")
	case m.Data != nil && m.Args != nil:
		return encoded{}, errors.New("publish: the message has Data and Args; give one of them")
	}
	if wire.ID == "" {
		wire.ID = rand.Text()
	}
	body, err := json.Marshal(&wire)
	if err != nil {
		return encoded{}, fmt.Errorf("publish: the message can't be encoded: %w", err)
	}
	return encoded{id: wire.ID, body: body}, nil
}
