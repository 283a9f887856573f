package wire

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/twine-realtime/twine/twine/parser"
)

// Message is a message of a Pub/Sub channel. Which members are set depends on
// its type.
type Message struct {
	UID       string // the sender's
	Namespace string
	Type      Type
	RequestID string // requests that want an answer, and all answers

	Broadcast *Broadcast // BroadcastPacket
	Options   Options    // FetchSockets

	// ServerEvent: a raw JSON array of name and arguments. ServerAnswer and
	// ClientAnswer: one of the arguments; servers of Node send and take one only.
	Data        []byte
	Attachments [][]byte

	Count   int      // ClientCount: how many clients will answer
	Sockets []Socket // SocketsFetched

	// Ours.

	Member string // ClientAnswer, ClientLost: whose
	Twine  bool   // requests: the sender knows ClientLost
}

// Socket describes a client.
type Socket struct {
	ID        string
	Rooms     []string
	Handshake json.RawMessage
	Data      json.RawMessage // nil: none
}

type packMessage struct {
	UID  string             `msgpack:"uid"`
	NSP  string             `msgpack:"nsp"`
	Type int                `msgpack:"type"`
	Data msgpack.RawMessage `msgpack:"data,omitempty"`
}

// packData is what Node has in a message's data, whatever its type, and what we
// add to it.
type packData struct {
	RequestID string             `msgpack:"requestId,omitempty"`
	Packet    msgpack.RawMessage `msgpack:"packet,omitempty"`
	Opts      *Options           `msgpack:"opts,omitempty"`
	Count     *int               `msgpack:"clientCount,omitempty"`
	Sockets   msgpack.RawMessage `msgpack:"sockets,omitempty"` // an array of packSocket

	Args   msgpack.RawMessage `msgpack:"args,omitempty"` // ServerAnswer, ClientAnswer: all of them, unless it is one
	Member string             `msgpack:"member,omitempty"`
	Twine  bool               `msgpack:"twine,omitempty"`
}

type packSocket struct {
	ID        string             `msgpack:"id"`
	Handshake msgpack.RawMessage `msgpack:"handshake"`
	Rooms     []string           `msgpack:"rooms"`
	Data      msgpack.RawMessage `msgpack:"data"`
}

// Pack returns the message as it is published. Its errors match ErrMalformed.
func (m *Message) Pack() ([]byte, error) {
	d := packData{RequestID: m.RequestID, Member: m.Member, Twine: m.Twine}
	var err error
	switch m.Type {
	case BroadcastPacket:
		err = m.packBroadcast(&d)
	case FetchSockets:
		opts := m.Options.withLists()
		d.Opts = &opts
	case SocketsFetched:
		err = m.packSockets(&d)
	case ServerEvent:
		d.Packet, err = packArray(m.Data, m.Attachments)
	case ServerAnswer, ClientAnswer:
		err = m.packAnswer(&d)
	case ClientCount:
		d.Count = &m.Count
	}
	if err != nil {
		return nil, err
	}
	data, err := pack(d)
	if err != nil {
		return nil, err
	}
	return pack(packMessage{UID: m.UID, NSP: m.Namespace, Type: int(m.Type), Data: data})
}

func (m *Message) packBroadcast(d *packData) error {
	b := m.Broadcast
	data, err := packArray(b.Packet.Data, b.Packet.Attachments)
	if err != nil {
		return err
	}
	if d.Packet, err = pack(packPacket{Type: int(parser.Event), Data: data}); err != nil {
		return err
	}
	opts := b.Options.withLists()
	d.RequestID, d.Opts = b.RequestID, &opts
	return nil
}

func (m *Message) packSockets(d *packData) error {
	list := make([]packSocket, 0, len(m.Sockets))
	for _, s := range m.Sockets {
		packed := packSocket{ID: s.ID, Rooms: s.Rooms}
		var err error
		if packed.Handshake, err = packValue(s.Handshake, nil); err != nil {
			return err
		}
		if packed.Data, err = packValue(s.Data, nil); err != nil {
			return err
		}
		list = append(list, packed)
	}
	var err error
	d.Sockets, err = pack(list)
	return err
}

func (m *Message) packAnswer(d *packData) error {
	args, err := splitArgs(m.Data)
	if err != nil {
		return err
	}
	all, err := packArray(m.Data, m.Attachments)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		d.Packet = all[1:]
		return nil
	}
	d.Args = all
	if len(args) > 1 && len(m.Attachments) == 0 {
		d.Packet, err = packValue(args[0], nil)
	}
	return err
}

func splitArgs(data []byte) ([][]byte, error) {
	if len(data) == 0 {
		return nil, nil
	}
	args, err := parser.SplitArgs(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return args, nil
}

// Unpack reads a message. Its errors match ErrMalformed.
func Unpack(packed []byte) (*Message, error) {
	var raw packMessage
	if err := unpackChecked(packed, &raw); err != nil {
		return nil, err
	}
	m := &Message{UID: raw.UID, Namespace: raw.NSP, Type: Type(raw.Type)}
	if len(raw.Data) == 0 {
		if m.Type == BroadcastPacket || m.Type == ServerEvent {
			return nil, fmt.Errorf("%w: type %d without data", ErrMalformed, m.Type)
		}
		return m, nil
	}
	var d packData
	if err := unpack(raw.Data, &d); err != nil {
		return nil, err
	}
	m.RequestID, m.Member, m.Twine = d.RequestID, d.Member, d.Twine
	if d.Opts != nil {
		m.Options = *d.Opts
	}
	var err error
	switch m.Type {
	case BroadcastPacket:
		m.Broadcast, err = unpackBroadcast(raw.Data)
	case ServerEvent:
		m.Data, m.Attachments, err = unpackArray(d.Packet)
	case ServerAnswer, ClientAnswer:
		if len(d.Args) > 0 {
			m.Data, m.Attachments, err = unpackArray(d.Args)
		} else {
			m.Data, m.Attachments, err = unpackValue(d.Packet)
		}
	case ClientCount:
		if d.Count != nil {
			m.Count = *d.Count
		}
		if m.Count < 0 {
			return nil, fmt.Errorf("%w: %d clients", ErrMalformed, m.Count)
		}
	case SocketsFetched:
		err = m.unpackSockets(&d)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Message) unpackSockets(d *packData) error {
	if len(d.Sockets) == 0 {
		return nil
	}
	dec := msgpack.NewDecoder(bytes.NewReader(d.Sockets))
	n, err := dec.DecodeArrayLen()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	// One by one, since a list of nothing would be far longer in memory.
	for range n {
		var packed packSocket
		if err := dec.Decode(&packed); err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if packed.ID == "" {
			return fmt.Errorf("%w: a socket without an id", ErrMalformed)
		}
		s := Socket{ID: packed.ID, Rooms: packed.Rooms}
		var err error
		if s.Handshake, err = unpackJSON(packed.Handshake); err != nil {
			return err
		}
		if s.Data, err = unpackJSON(packed.Data); err != nil {
			return err
		}
		if string(s.Data) == "null" {
			s.Data = nil
		}
		m.Sockets = append(m.Sockets, s)
	}
	return nil
}
