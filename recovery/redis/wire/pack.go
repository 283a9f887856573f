package wire

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/twine-realtime/twine/twine/parser"
	codec "github.com/twine-realtime/twine/twine/parser/msgpack"
)

// Payloads are translated by the codec of package parser/msgpack, which reads
// and writes whole packets. An acknowledgement's payload may be any array.

// oneElement is the head of a MessagePack array of one element.
const oneElement = 0x91

func pack(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := msgpack.NewEncoder(&out)
	enc.UseCompactInts(true)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return out.Bytes(), nil
}

// unpackChecked is unpack of what came from elsewhere.
func unpackChecked(packed []byte, v any) error {
	if err := checkPacked(packed); err != nil {
		return err
	}
	return unpack(packed, v)
}

// unpack reads what passed checkPacked, or is a part of what did.
func unpack(packed []byte, v any) error {
	if err := msgpack.Unmarshal(packed, v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// packArray translates a raw JSON array with its attachments.
func packArray(data []byte, attachments [][]byte) (msgpack.RawMessage, error) {
	if len(data) == 0 {
		data = []byte("[]")
	}
	parts, err := codec.Codec.Encode(&parser.Packet{Type: parser.Ack, Namespace: "/", HasID: true, Data: data, Attachments: attachments})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var packet struct {
		Data msgpack.RawMessage `msgpack:"data"`
	}
	err = unpack(parts[0].Data, &packet)
	return packet.Data, err
}

// unpackArray translates a MessagePack array to raw JSON and attachments.
func unpackArray(packed msgpack.RawMessage) (data []byte, attachments [][]byte, err error) {
	packet, err := pack(struct {
		Type int                `msgpack:"type"`
		NSP  string             `msgpack:"nsp"`
		ID   int                `msgpack:"id"`
		Data msgpack.RawMessage `msgpack:"data"`
	}{Type: int(parser.Ack), NSP: "/", Data: packed})
	if err != nil {
		return nil, nil, err
	}
	p, err := codec.Codec.NewDecoder().Decode(packet, true)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return p.Data, p.Attachments, nil
}

// packValue translates one raw JSON value; none is nil.
func packValue(value []byte, attachments [][]byte) (msgpack.RawMessage, error) {
	if len(value) == 0 {
		value = []byte("null")
	}
	array := append(append([]byte{'['}, value...), ']')
	packed, err := packArray(array, attachments)
	if err != nil {
		return nil, err
	}
	if len(packed) < 2 || packed[0] != oneElement {
		return nil, fmt.Errorf("%w: not one value", ErrMalformed)
	}
	return packed[1:], nil
}

// unpackValue translates one MessagePack value to a raw JSON array of it.
func unpackValue(packed msgpack.RawMessage) (array []byte, attachments [][]byte, err error) {
	if len(packed) == 0 {
		packed = msgpack.RawMessage{0xc0}
	}
	return unpackArray(append(msgpack.RawMessage{oneElement}, packed...))
}

// unpackJSON translates one MessagePack value to raw JSON; binary values become
// base64 strings.
func unpackJSON(packed msgpack.RawMessage) ([]byte, error) {
	array, attachments, err := unpackValue(packed)
	if err != nil {
		return nil, err
	}
	args, err := parser.SplitArgs(array)
	if err != nil || len(args) != 1 {
		return nil, fmt.Errorf("%w: not one value", ErrMalformed)
	}
	if len(attachments) == 0 {
		return args[0], nil
	}
	var tree any
	if err := parser.DecodeArg(args[0], attachments, &tree); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return json.Marshal(tree)
}
