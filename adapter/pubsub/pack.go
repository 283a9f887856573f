package pubsub

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
	codec "github.com/twine-realtime/twine/twine/parser/msgpack"
)

// The packet of a broadcast is what package parser/msgpack writes for clients: a map of type, data and namespace.

// packBroadcast returns the message of a broadcast: an array of the sender, the packet and its options.
func packBroadcast(uid, namespace string, p *parser.Packet, o adapter.Options) ([]byte, error) {
	packet, err := packPacket(namespace, p)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(uid)+len(packet)+optionsSize(o))
	out = appendArrayLen(out, 3)
	out = appendText(out, uid)
	out = append(out, packet...)
	return appendOptions(out, o), nil
}

// packQuestion returns the request of a broadcast whose receivers are to answer.
func packQuestion(uid, requestID, namespace string, p *parser.Packet, o adapter.Options) ([]byte, error) {
	packet, err := packPacket(namespace, p)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 2*len(uid)+len(requestID)+len(packet)+optionsSize(o))
	out = appendMapLen(out, 6)
	out = appendText(appendText(out, "uid"), uid)
	out = appendText(appendText(out, "requestId"), requestID)
	out = append(appendText(out, "type"), typeBroadcast)
	out = append(appendText(out, "packet"), packet...)
	out = appendOptions(appendText(out, "opts"), o)
	out = append(appendText(out, "twine"), msgpcode.True)
	return out, nil
}

func packPacket(namespace string, p *parser.Packet) ([]byte, error) {
	plain := parser.Packet{Type: p.Type, HasID: p.Type == parser.Ack, Namespace: namespace, Data: p.Data, Attachments: p.Attachments}
	parts, err := codec.Codec.Encode(&plain)
	if err != nil {
		return nil, fmt.Errorf("pubsub: packet for other servers: %w", err)
	}
	return parts[0].Data, nil
}

// packAnswer returns the response that carries a client's answer, a raw JSON array. Servers of Node take its first
// element.
func packAnswer(uid, requestID, member string, data []byte, attachments [][]byte) ([]byte, error) {
	args, err := parser.SplitArgs(data)
	if err != nil {
		return nil, fmt.Errorf("pubsub: answer for another server: %w", err)
	}
	packet, err := packPacket("/", &parser.Packet{Type: parser.Ack, Data: data, Attachments: attachments})
	if err != nil {
		return nil, err
	}
	all, err := memberOf(packet, "data")
	if err != nil {
		return nil, err
	}
	first := string([]byte{msgpcode.Nil})
	if len(args) > 0 {
		elements := reader{all}
		if _, err := elements.arrayLen(); err != nil {
			return nil, err
		}
		if first, err = elements.value(); err != nil {
			return nil, err
		}
	}
	members := 5
	if len(args) != 1 {
		members++
	}
	out := make([]byte, 0, 64+len(uid)+len(requestID)+len(member)+2*len(all))
	out = appendMapLen(out, members)
	out = append(appendText(out, "type"), typeBroadcastAnswer)
	out = appendText(appendText(out, "requestId"), requestID)
	out = append(appendText(out, "packet"), first...)
	out = appendText(appendText(out, "uid"), uid)
	out = appendText(appendText(out, "member"), member)
	if len(args) != 1 {
		out = append(appendText(out, "args"), all...)
	}
	return out, nil
}

// optionsSize is not less than what appendOptions appends.
func optionsSize(o adapter.Options) int {
	n := 96
	for _, list := range [][]string{o.Rooms, o.Except} {
		for _, name := range list {
			n += len(name) + 5
		}
	}
	return n
}

func appendOptions(dst []byte, o adapter.Options) []byte {
	dst = appendMapLen(dst, 3)
	dst = appendNames(appendText(dst, "rooms"), o.Rooms)
	dst = appendNames(appendText(dst, "except"), o.Except)
	dst = appendText(dst, "flags")
	flags := 0
	for _, set := range []bool{o.Flags.Volatile, o.Flags.NoCompress, o.Flags.Timeout > 0} {
		if set {
			flags++
		}
	}
	dst = appendMapLen(dst, flags)
	if o.Flags.Volatile {
		dst = append(appendText(dst, "volatile"), msgpcode.True)
	}
	if o.Flags.NoCompress {
		dst = append(appendText(dst, "compress"), msgpcode.False)
	}
	if o.Flags.Timeout > 0 {
		ms := max(1, float64(o.Flags.Timeout/time.Millisecond))
		dst = append(appendText(dst, "timeout"), msgpcode.Double)
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(ms))
	}
	return dst
}

func appendNames(dst []byte, list []string) []byte {
	dst = appendArrayLen(dst, len(list))
	for _, name := range list {
		dst = appendText(dst, name)
	}
	return dst
}

func appendArrayLen(dst []byte, n int) []byte {
	switch {
	case n < 16:
		return append(dst, msgpcode.FixedArrayLow|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, msgpcode.Array16), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, msgpcode.Array32), uint32(n))
}

// appendMapLen is for fewer than 16 members.
func appendMapLen(dst []byte, n int) []byte { return append(dst, msgpcode.FixedMapLow|byte(n)) }

func appendText(dst []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, msgpcode.FixedStrLow|byte(n))
	case n <= math.MaxUint8:
		dst = append(dst, msgpcode.Str8, byte(n))
	case n <= math.MaxUint16:
		dst = binary.BigEndian.AppendUint16(append(dst, msgpcode.Str16), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, msgpcode.Str32), uint32(n))
	}
	return append(dst, s...)
}
