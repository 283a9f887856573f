package twine

import (
	"bytes"
	"fmt"

	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
)

// wire is a packet as it is sent: encoded and framed once, shared by every connection that it is queued on.
type wire struct {
	messages []*engineio.Message
	one      [1]*engineio.Message // room for messages, which rarely are more than one
}

// uncompressed marks a wire that nobody has yet as one that is not to be compressed.
func (w *wire) uncompressed() {
	for i, m := range w.messages {
		w.messages[i] = m.Uncompressed()
	}
}

// encode encodes and frames p. offset, if not empty, becomes one more argument; it needs no escaping.
func (srv *Server) encode(p *parser.Packet, offset string) (*wire, error) {
	w := new(wire)
	w.messages = w.one[:0]
	if srv.opts.Codec == parser.JSON {
		buf := make([]byte, engineio.Headroom, engineio.Headroom+len(p.Namespace)+len(p.Data)+len(offset)+24)
		buf, err := parser.AppendText(buf, p)
		if err != nil {
			return nil, fmt.Errorf("twine: encode packet: %w", err)
		}
		if offset != "" {
			buf = addOffset(buf, offset)
		}
		w.messages = append(w.messages, engineio.NewTextInPlace(buf))
		for _, attachment := range p.Attachments {
			w.messages = append(w.messages, engineio.NewBinary(attachment))
		}
		return w, nil
	}
	if offset != "" {
		withOffset := *p
		withOffset.Data = parser.AppendArg(p.Data, []byte(`"`+offset+`"`))
		p = &withOffset
	}
	parts, err := srv.opts.Codec.Encode(p)
	if err != nil {
		return nil, fmt.Errorf("twine: encode packet: %w", err)
	}
	for _, part := range parts {
		if part.Binary {
			w.messages = append(w.messages, engineio.NewBinary(part.Data))
		} else {
			w.messages = append(w.messages, engineio.NewText(part.Data))
		}
	}
	return w, nil
}

// addOffset puts one more argument into a text message that ends with a JSON array, in place: parser.AppendArg would
// take memory for another copy of the arguments.
func addOffset(text []byte, offset string) []byte {
	const space = " \t\r\n"
	text = bytes.TrimRight(text, space)
	text = bytes.TrimRight(text[:len(text)-1], space)
	if text[len(text)-1] != '[' {
		text = append(text, ',')
	}
	text = append(text, '"')
	text = append(text, offset...)
	return append(text, `"]`...)
}

// eventPacket makes the packet of an event that this server emits.
func eventPacket(namespace, event string, args []any) (*parser.Packet, error) {
	if parser.Reserved(event) {
		return nil, fmt.Errorf("twine: emit %q: %w", event, parser.ErrReservedEvent)
	}
	data, attachments, err := parser.EventData(event, args...)
	if err != nil {
		return nil, fmt.Errorf("twine: emit %q: %w", event, err)
	}
	return &parser.Packet{Type: parser.Event, Namespace: namespace, Data: data, Attachments: attachments}, nil
}
