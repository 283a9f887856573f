package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/twine-realtime/twine/twine/parser"
)

// ErrMalformed means that a message is not what this package or a server of
// Node writes, or that something cannot be written in such a way.
var ErrMalformed = errors.New("malformed cluster message")

// Broadcast is a packet and whom it is for.
type Broadcast struct {
	Packet  parser.Packet // its namespace is the message's
	Options Options
	// RequestID, unless empty, asks for the receivers' answers.
	RequestID string
}

// Recoverable says whether the packet belongs to the history: an event that is
// neither volatile nor to be answered.
func (b *Broadcast) Recoverable() bool {
	return b.Packet.Type == parser.Event && !b.Packet.HasID && !b.Options.Flags.Volatile && b.RequestID == ""
}

// The type of a packet as socket.io-parser numbers it; a binary event is an
// event here.
const binaryEvent = 5

// The JSON of a plain event, around its payload and its options. Node has the
// same members in the same order.
const (
	head   = `{"packet":{"type":2,"data":`
	middle = `},"opts":`
	tail   = `}`
)

type jsonBroadcast struct {
	Packet struct {
		Type parser.Type     `json:"type"`
		Data json.RawMessage `json:"data"`
		ID   *uint64         `json:"id,omitempty"`
	} `json:"packet"`
	RequestID string  `json:"requestId,omitempty"`
	Opts      Options `json:"opts"`
}

type packBroadcast struct {
	Packet    msgpack.RawMessage `msgpack:"packet"`
	RequestID string             `msgpack:"requestId,omitempty"`
	Opts      Options            `msgpack:"opts"`
}

type packPacket struct {
	Type int                `msgpack:"type"`
	Data msgpack.RawMessage `msgpack:"data"`
	ID   *uint64            `msgpack:"id,omitempty"`
}

// checkNames refuses what JSON would change.
func checkNames(lists ...[]string) error {
	for _, list := range lists {
		for _, name := range list {
			if !utf8.ValidString(name) {
				return fmt.Errorf("%w: room %.40q is not UTF-8", ErrMalformed, name)
			}
		}
	}
	return nil
}

// StreamData returns the broadcast as the data field of a stream entry.
func (b *Broadcast) StreamData() ([]byte, error) {
	if err := checkNames(b.Options.Rooms, b.Options.Except); err != nil {
		return nil, err
	}
	if len(b.Packet.Attachments) > 0 {
		packed, err := b.Pack()
		if err != nil {
			return nil, err
		}
		return base64.StdEncoding.AppendEncode(nil, packed), nil
	}
	// By hand, since package json would compact and check the payload again.
	out := make([]byte, 0, len(head)+len(b.Packet.Data)+len(middle)+b.Options.size()+len(tail))
	out = append(out, head...)
	out = append(out, b.Packet.Data...)
	out = append(out, middle...)
	if plain, ok := appendPlain(out, &b.Options); ok {
		out = plain
	} else {
		opts, err := json.Marshal(b.Options.withLists())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		out = append(out, opts...)
	}
	return append(out, tail...), nil
}

// Pack returns the broadcast as MessagePack.
func (b *Broadcast) Pack() ([]byte, error) {
	data, err := packArray(b.Packet.Data, b.Packet.Attachments)
	if err != nil {
		return nil, err
	}
	packet, err := msgpack.Marshal(packPacket{Type: int(parser.Event), Data: data})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return pack(packBroadcast{Packet: packet, RequestID: b.RequestID, Opts: b.Options.withLists()})
}

// ParseBroadcast reads the data field of a stream entry, which must not be
// changed afterwards: the payload is a part of it. Its errors match ErrMalformed.
func ParseBroadcast(data []byte) (*Broadcast, error) {
	b := new(Broadcast)
	return b, b.Parse(data)
}

// Parse is ParseBroadcast into b, whatever it was.
func (b *Broadcast) Parse(data []byte) error {
	*b = Broadcast{}
	if b.parsePlain(data) {
		return nil
	}
	parsed, err := parseBroadcast(data)
	if err == nil {
		*b = *parsed
	}
	return err
}

func parseBroadcast(data []byte) (*Broadcast, error) {
	if len(data) == 0 || data[0] != '{' {
		packed, err := base64.StdEncoding.AppendDecode(nil, data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return UnpackBroadcast(packed)
	}
	var raw jsonBroadcast
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	b := &Broadcast{Options: raw.Opts, RequestID: raw.RequestID}
	b.Packet = parser.Packet{Type: raw.Packet.Type, Data: raw.Packet.Data}
	if raw.Packet.ID != nil {
		b.Packet.ID, b.Packet.HasID = *raw.Packet.ID, true
	}
	return b, b.check()
}

// parsePlain reads what StreamData writes for a packet without attachments,
// which is most of what there is to read, and reports whether it did. Otherwise b
// stays as it is.
func (b *Broadcast) parsePlain(data []byte) bool {
	rest, ok := bytes.CutPrefix(data, []byte(head))
	if !ok || !bytes.HasSuffix(rest, []byte(tail)) {
		return false
	}
	// The text can also be part of the payload, but hardly of the options.
	i := bytes.LastIndex(rest, []byte(middle))
	if i < 0 {
		return false
	}
	payload := rest[:i:i]
	if n, err := parser.CountArgs(payload); err != nil || n == 0 {
		return false
	}
	var options Options
	opts := rest[i+len(middle) : len(rest)-len(tail)]
	if !plainOptions(opts, &options) && json.Unmarshal(opts, &options) != nil {
		return false
	}
	b.Packet.Type, b.Packet.Data, b.Options = parser.Event, payload, options
	return true
}

// UnpackBroadcast reads what Pack, or a server of Node, wrote. Its errors match
// ErrMalformed.
func UnpackBroadcast(packed []byte) (*Broadcast, error) {
	if err := checkPacked(packed); err != nil {
		return nil, err
	}
	return unpackBroadcast(packed)
}

// unpackBroadcast needs that packed passed checkPacked.
func unpackBroadcast(packed []byte) (*Broadcast, error) {
	var raw packBroadcast
	if err := unpack(packed, &raw); err != nil {
		return nil, err
	}
	var packet packPacket
	if err := unpack(raw.Packet, &packet); err != nil {
		return nil, err
	}
	b := &Broadcast{Options: raw.Opts, RequestID: raw.RequestID}
	b.Packet.Type = parser.Type(packet.Type)
	if packet.ID != nil {
		b.Packet.ID, b.Packet.HasID = *packet.ID, true
	}
	var err error
	if b.Packet.Data, b.Packet.Attachments, err = unpackArray(packet.Data); err != nil {
		return nil, err
	}
	return b, b.check()
}

func (b *Broadcast) check() error {
	if b.Packet.Type == binaryEvent {
		b.Packet.Type = parser.Event
	}
	if b.Packet.Type != parser.Event {
		return fmt.Errorf("%w: a broadcast of type %d", ErrMalformed, b.Packet.Type)
	}
	n, err := parser.CountArgs(b.Packet.Data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if n == 0 {
		return fmt.Errorf("%w: an event without a name", ErrMalformed)
	}
	return nil
}
