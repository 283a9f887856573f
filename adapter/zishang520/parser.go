package zishang520

import (
	"fmt"
	"io"
	"strings"

	"github.com/zishang520/engine.io/v2/events"
	"github.com/zishang520/engine.io/v2/types"
	sio "github.com/zishang520/socket.io-go-parser/v2/parser"

	"github.com/twine-realtime/twine/twine/parser"
)

// Parser returns a parser for [socket.ServerOptions.SetParser] that speaks the
// same as the library's own, but closes a connection that sends a malformed
// packet. With its own, an event without arguments (the message "42") ends the
// process.
func Parser() sio.Parser { return strict{} }

type strict struct{}

// NewEncoder implements sio.Parser.
func (strict) NewEncoder() sio.Encoder { return encoder }

// NewDecoder implements sio.Parser.
func (strict) NewDecoder() sio.Decoder {
	return &decoder{EventEmitter: events.New(), packets: parser.JSON.NewDecoder()}
}

type decoder struct {
	events.EventEmitter
	packets parser.Decoder
}

// Add implements sio.Decoder. It is called from one goroutine.
func (d *decoder) Add(message any) error {
	data, binary, err := contents(message)
	if err != nil {
		return err
	}
	p, err := d.packets.Decode(data, binary)
	if p == nil || err != nil {
		return err
	}
	packet := &sio.Packet{Type: sio.CONNECT + sio.PacketType(p.Type), Nsp: p.Namespace}
	if p.HasID {
		packet.Id = &p.ID
	}
	if packet.Data, err = payload(p); err != nil {
		return err
	}
	d.Emit("decoded", packet)
	return nil
}

func payload(p *parser.Packet) (data any, err error) {
	switch {
	case p.Type == parser.Event:
		args, err := decode(p.Data, p.Attachments)
		if err != nil {
			return nil, err
		}
		if _, ok := args[0].(string); !ok {
			// The protocol has numbers for names too; the library does not survive them.
			args[0] = fmt.Sprint(args[0])
		}
		return args, nil
	case p.Type == parser.Ack:
		return decode(p.Data, p.Attachments)
	case len(p.Data) > 0:
		err = parser.DecodeArg(p.Data, nil, &data)
	}
	return data, err
}

// Destroy implements sio.Decoder. There is nothing to do.
func (d *decoder) Destroy() {}

// contents returns the bytes of what the library's transports hand over.
func contents(message any) (data []byte, binary bool, err error) {
	switch m := message.(type) {
	case string:
		return []byte(m), false, nil
	case *types.StringBuffer:
		return m.Bytes(), false, nil
	case *strings.Reader:
		data, err = io.ReadAll(m)
		return data, false, err
	case []byte:
		return m, true, nil
	case io.Reader:
		data, err = io.ReadAll(m)
		return data, true, err
	}
	return nil, false, fmt.Errorf("zishang520: a message of type %T", message)
}
