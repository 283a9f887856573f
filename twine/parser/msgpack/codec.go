// Package msgpack is the wire format of socket.io-msgpack-parser: each packet is one MessagePack map, binary values
// included, in one binary message. It is smaller than the default format where packets carry binary values or many
// numbers, and slower to read for a browser, which has JSON built in.
//
// Server and clients have to agree on it:
//
//	srv := twine.NewServer(&twine.Options{Codec: msgpack.Codec})
//
//	const socket = io({ parser: require("socket.io-msgpack-parser") });
//
// Inside the server packets keep their canonical form, raw JSON and attachments. So what MessagePack has and JSON lacks
// becomes what JSON.stringify would make of it: a Date is a string in ISO 8601, undefined is null within an array and left
// out of an object, NaN and infinite numbers are null. Integers keep all their 64 bits.
package msgpack

import "github.com/twine-realtime/twine/twine/parser"

// Codec reads what notepack.io 2.x and 3.x write, which socket.io-msgpack-parser is made of, and writes what they read.
//
// It is as strict as [parser.JSON]: it refuses all that the reference implementation refuses, and reserved event names,
// text that is not UTF-8, nesting past [parser.MaxDepth], more than [parser.MaxAttachments] binary values, and packets
// whose map has a key twice. Two things it takes that the reference refuses: nil for a member that is absent, because
// notepack.io 3.x writes it for undefined, and MessagePack's own timestamps, which the same version writes for dates.
//
// An object of the packet that has "_placeholder":true cannot stand beside binary values, because the canonical form
// would take it for one of them: such a packet is refused.
var Codec parser.Codec = codec{}

type codec struct{}

func (codec) NewDecoder() parser.Decoder { return new(decoder) }

// The members of a packet's map.
const (
	keyType      = "type"
	keyData      = "data"
	keyNamespace = "nsp"
	keyID        = "id"
)

// The object that stands for a binary value in the canonical form, see [parser.Packet].
const (
	keyPlaceholder = "_placeholder"
	keyNum         = "num"
)

// The extension types of notepack.io.
const (
	extNotepack  int8 = 0  // undefined, a Date or an ArrayBuffer, told apart by the length
	extTimestamp int8 = -1 // MessagePack's own, since notepack.io 3.0
)
