package parser

import (
	"bytes"
	"math"
	"unicode/utf8"
)

// Longer names are not kept for the next packet: a connection must not hold on to what a peer once sent.
const maxKeptNamespace = 64

type jsonDecoder struct {
	pending     *Packet // waits for its attachments
	outstanding int
	namespace   string // that of the last packet, mostly that of the next one too
}

func (d *jsonDecoder) Decode(data []byte, binary bool) (*Packet, error) {
	p, err := d.decode(data, binary)
	if err != nil {
		d.pending, d.outstanding = nil, 0
		return nil, err
	}
	return p, nil
}

func (d *jsonDecoder) decode(data []byte, binary bool) (*Packet, error) {
	if binary {
		if d.pending == nil {
			return nil, errUnexpectedBinary
		}
		p := d.pending
		p.Attachments = append(p.Attachments, append([]byte{}, data...))
		if d.outstanding--; d.outstanding > 0 {
			return nil, nil
		}
		d.pending = nil
		return p, nil
	}
	if d.pending != nil {
		return nil, errUnexpectedText
	}
	p, attachments, err := d.text(data)
	if err != nil || attachments == 0 {
		return p, err
	}
	p.Attachments = make([][]byte, 0, attachments)
	d.pending, d.outstanding = p, attachments
	return nil, nil
}

// text decodes the text message of a packet and returns how many attachments will follow.
func (d *jsonDecoder) text(data []byte) (p *Packet, attachments int, err error) {
	if len(data) == 0 {
		return nil, 0, errEmpty
	}
	if !utf8.Valid(data) {
		return nil, 0, errUTF8
	}
	h, i, err := parseHeader(data)
	if err != nil {
		return nil, 0, err
	}
	payload := trimSpace(data[i:])
	if i < len(data) && isSpace(data[i]) {
		return nil, 0, errPayload // the grammar has no white space before the payload
	}
	if err := checkPayload(h.kind, payload); err != nil {
		return nil, 0, err
	}
	if h.attachments > 0 {
		if err := checkPlaceholders(payload, h.attachments); err != nil {
			return nil, 0, err
		}
	}
	p = &Packet{Type: h.kind, Namespace: d.name(h.namespace), ID: h.id, HasID: h.hasID}
	if len(payload) > 0 {
		p.Data = bytes.Clone(payload)
	}
	return p, h.attachments, nil
}

func (d *jsonDecoder) name(namespace []byte) string {
	switch {
	case len(namespace) == 0 || string(namespace) == "/":
		return "/"
	case string(namespace) == d.namespace:
		return d.namespace
	}
	name := string(namespace)
	if len(name) <= maxKeptNamespace {
		d.namespace = name
	}
	return name
}

type header struct {
	kind        Type
	attachments int
	namespace   []byte // empty for the main namespace
	id          uint64
	hasID       bool
}

// parseHeader parses what precedes the payload and returns the index at which the payload starts:
//
//	<type>[<number of attachments>-][<namespace>,][<id>]
//
// A namespace that ends the message needs no comma.
func parseHeader(data []byte) (h header, i int, err error) {
	h.kind = Type(data[0] - '0')
	i = 1
	switch h.kind {
	case Connect, Disconnect, Event, Ack, ConnectError:
	case wireBinaryEvent, wireBinaryAck:
		h.kind -= wireBinaryEvent - Event
		end := skipDigits(data, i)
		if end == i || end >= len(data) || data[end] != '-' {
			return h, 0, errAttachmentCount
		}
		for _, c := range data[i:end] {
			if h.attachments = h.attachments*10 + int(c-'0'); h.attachments > MaxAttachments {
				return h, 0, ErrTooManyAttachments
			}
		}
		if h.attachments == 0 {
			return h, 0, errAttachmentCount
		}
		i = end + 1
	default:
		return h, 0, errType
	}

	if i < len(data) && data[i] == '/' {
		if comma := bytes.IndexByte(data[i:], ','); comma >= 0 {
			h.namespace = data[i : i+comma]
			i += comma + 1
		} else {
			h.namespace = data[i:]
			i = len(data)
		}
	}

	end := skipDigits(data, i)
	for _, c := range data[i:end] {
		digit := uint64(c - '0')
		if h.id > (math.MaxUint64-digit)/10 {
			return h, 0, errID
		}
		h.id = h.id*10 + digit
		h.hasID = true
	}
	return h, end, nil
}

// checkPayload checks that the whole payload is JSON of the shape that the type wants.
func checkPayload(kind Type, payload []byte) error {
	if !hasShape(kind, payload) {
		return errPayload
	}
	if len(payload) == 0 {
		return nil
	}
	end, err := skipValue(payload, 0, 0)
	if err != nil {
		return err
	}
	if end != len(payload) {
		return errJSON
	}
	if kind == Event {
		return checkEventName(payload)
	}
	return nil
}

// hasShape tells from its first byte whether a payload may be of the kind that the type wants.
func hasShape(kind Type, payload []byte) bool {
	if len(payload) == 0 {
		return kind == Connect || kind == Disconnect
	}
	switch first := payload[0]; kind {
	case Connect:
		return first == '{'
	case Event, Ack:
		return first == '['
	case ConnectError:
		return first == '{' || first == '"'
	}
	return false
}

// checkEventName checks the first element of a valid JSON array.
func checkEventName(array []byte) error {
	i := skipSpace(array, 1)
	switch c := array[i]; {
	case c == '-' || isDigit(c):
		return nil
	case c != '"':
		return errEventName
	}
	end, err := skipString(array, i)
	if err != nil {
		return err
	}
	name := array[i+1 : end-1]
	if bytes.IndexByte(name, '\\') < 0 {
		if isReserved(name) {
			return ErrReservedEvent
		}
		return nil
	}
	unquoted, err := EventName(array[i:end])
	if err != nil {
		return err
	}
	if Reserved(unquoted) {
		return ErrReservedEvent
	}
	return nil
}
