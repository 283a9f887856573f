// Package parser encodes and decodes Socket.IO packets (protocol revision 5).
//
// Inside a server a packet has one canonical form, [Packet]: raw JSON and, beside it, the binary values that the JSON
// refers to. Only a [Codec] knows how a packet looks on the wire. Arguments stay raw JSON until a handler asks for
// them, so that each is unmarshalled once and into the type that is wanted.
package parser

import "strconv"

// Type is the type of a packet. Binary packets have no type of their own here: a packet is binary if it has
// attachments.
type Type byte

// The packet types. Their values are those of the wire.
const (
	Connect      Type = 0 // a client asks for a namespace, or the server grants it
	Disconnect   Type = 1 // either side leaves a namespace
	Event        Type = 2 // an event with its arguments
	Ack          Type = 3 // the answer to an event that carried an id
	ConnectError Type = 4 // the server refuses a namespace
)

// On the wire, events and acknowledgements with attachments have types of their own.
const (
	wireBinaryEvent Type = 5
	wireBinaryAck   Type = 6
)

// String returns the name that the protocol gives the type, such as "CONNECT_ERROR".
func (t Type) String() string {
	switch t {
	case Connect:
		return "CONNECT"
	case Disconnect:
		return "DISCONNECT"
	case Event:
		return "EVENT"
	case Ack:
		return "ACK"
	case ConnectError:
		return "CONNECT_ERROR"
	}
	return "Type(" + strconv.Itoa(int(t)) + ")"
}

// Limits of what is decoded, and of what is encoded, so that a peer with the same limits can always read it.
const (
	// MaxAttachments is the largest number of attachments of one packet.
	MaxAttachments = 10

	// MaxDepth is how many JSON arrays and objects may be nested in each other, the array of arguments included.
	MaxDepth = 1024
)

// Packet is a Socket.IO packet in its canonical form. The zero value is a CONNECT to the main namespace.
//
// A packet that may be shared between goroutines, as a broadcast is, must not be modified.
type Packet struct {
	Type Type

	// Namespace starts with a slash; "/" is the main namespace. It is never empty after decoding. When encoding, ""
	// means "/". It cannot contain a comma. A query ("/admin?token=1") is part of the name, as in the reference
	// implementation of this revision.
	Namespace string

	// ID is the acknowledgement id, valid only if HasID is set: of an Event, the id under which an answer is awaited;
	// of an Ack, the id of the event it answers. A peer may send an Ack without an id; it answers nothing.
	ID    uint64
	HasID bool

	// Data is the payload as raw JSON without surrounding white space: for an Event ["name",arg...], for an Ack
	// [arg...], for Connect an object or nil, for ConnectError an object or a string, for Disconnect nil.
	Data []byte

	// Attachments are the binary values. Data refers to each with {"_placeholder":true,"num":n}, n counted from 0.
	Attachments [][]byte
}

// Part is one Engine.IO message of an encoded packet.
type Part struct {
	Data   []byte
	Binary bool
}

// Codec is a wire format for packets. It is safe for concurrent use.
type Codec interface {
	// Encode returns the messages that make up p, to be sent in order with no other message in between. The first
	// part's Data is newly allocated; attachments are not copied, so they must stay unchanged until they are sent.
	// Data is trusted to be valid JSON; everything else about p is checked. Errors match [ErrMalformed].
	Encode(p *Packet) ([]Part, error)

	// NewDecoder returns a decoder for the messages of one connection.
	NewDecoder() Decoder
}

// Decoder puts the packets of one connection together. It is not safe for concurrent use.
type Decoder interface {
	// Decode takes the next message and returns the packet that it completes, or nil and no error while attachments
	// are outstanding. data is only borrowed: what the packet keeps is copied, and the packet belongs to the caller.
	//
	// An error, which matches [ErrMalformed], means that the peer does not speak the protocol: close the connection.
	Decode(data []byte, binary bool) (*Packet, error)
}

// JSON is the default wire format of Socket.IO protocol revision 5.
//
// It accepts nothing that the reference implementation refuses. It refuses more, none of which an encoder writes: an
// event, acknowledgement or connect error without payload; white space or signs in the header; an acknowledgement id
// past 64 bits; text that is not UTF-8; nesting past [MaxDepth]; two placeholders for one attachment, or one whose number
// is not whole. Attachments without a placeholder are let pass, as by the reference.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) NewDecoder() Decoder { return new(jsonDecoder) }
