// Package history records what publishers, the server under test and its clients did to each other, and judges it:
// was every accepted message delivered once, in order, to everyone who was owed it?
//
// All times are durations since the run began, taken from one monotonic clock, so that "before" means before.
package history

import (
	"math"
	"sync"
	"time"
)

// Never is the end of a publish that was not accepted.
const Never = time.Duration(math.MaxInt64)

// Message is one published message. Its identity is its publisher and its place in that publisher's log.
type Message struct {
	// Room is an index into History.Rooms.
	Room uint16
	// Start is when its first attempt began.
	Start time.Duration
	// End is when the server accepted it, or Never. A message that was not accepted may have been taken all the same.
	End time.Duration
}

// Accepted tells whether the publisher was told that the message is safe.
func (m Message) Accepted() bool { return m.End != Never }

// PublisherLog is what one publisher did. It is safe for concurrent use.
type PublisherLog struct {
	mu       sync.Mutex
	messages []Message
}

// Begin records that a message is about to be published for the first time, and returns its number.
func (l *PublisherLog) Begin(room uint16, at time.Duration) (number uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, Message{Room: room, Start: at, End: Never})
	return uint32(len(l.messages) - 1)
}

// Accept records that the server accepted a message.
func (l *PublisherLog) Accept(number uint32, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages[number].End = at
}

func (l *PublisherLog) snapshot() []Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Accept changes messages in place.
	return append([]Message(nil), l.messages...)
}

// Delivery is one message that a client's listener was called with.
type Delivery struct {
	At        time.Duration
	Number    uint32
	Publisher uint16
	// Room is what the message itself says, as an index into History.Rooms.
	Room uint16
}

// Kind says what happened to a client, apart from deliveries.
type Kind uint8

const (
	Connected    Kind = iota // with a new session: all that the old one missed is gone, and the client knows it
	Recovered                // with the old session, so with all that was missed
	Disconnected             // the connection was lost
	Asked                    // the client asked to subscribe to Room
	Subscribed               // the server confirmed that
	Gap                      // the server told that messages of Room are missing; AllRooms if it named none
	Garbled                  // the server sent what no server may send, see Text
)

// AllRooms stands for every room in an event of kind Gap.
const AllRooms = math.MaxUint16

func (k Kind) String() string {
	return [...]string{"connected", "recovered", "disconnected", "asked", "subscribed", "told of a gap", "garbled"}[k]
}

// Event is something that happened to a client.
type Event struct {
	At   time.Duration
	Seen int // number of deliveries before it
	Kind Kind
	Room uint16 // for Asked, Subscribed and Gap
	Text string
}

// ClientLog is what one client saw. It is safe for concurrent use.
type ClientLog struct {
	mu         sync.Mutex
	deliveries []Delivery
	events     []Event
}

// Deliver records a message.
func (l *ClientLog) Deliver(d Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deliveries = append(l.deliveries, d)
}

// Note records an event. Its Seen is filled in.
func (l *ClientLog) Note(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seen = len(l.deliveries)
	l.events = append(l.events, e)
}

// Deliveries returns how many there were so far.
func (l *ClientLog) Deliveries() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.deliveries)
}

func (l *ClientLog) snapshot() client {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Both only ever grow, so what is there may be shared.
	return client{deliveries: l.deliveries, events: l.events}
}

// History is a whole run.
type History struct {
	Rooms      []string
	Publishers []*PublisherLog
	Clients    []*ClientLog
}

// New returns an empty history. There may be at most 65,534 rooms and as many publishers.
func New(rooms []string, publishers, clients int) *History {
	h := &History{Rooms: rooms}
	for range publishers {
		h.Publishers = append(h.Publishers, &PublisherLog{})
	}
	for range clients {
		h.Clients = append(h.Clients, &ClientLog{})
	}
	return h
}

// Deliveries returns how many there were so far, of all clients.
func (h *History) Deliveries() int {
	n := 0
	for _, c := range h.Clients {
		n += c.Deliveries()
	}
	return n
}
