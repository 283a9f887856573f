package msgpack

import (
	"strings"

	"github.com/twine-realtime/twine/twine/parser"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// Longer names are not kept for the next packet: a connection must not hold on to what a peer once sent.
const maxKeptNamespace = 64

// A packet's JSON is begun with this much memory at most. What it needs beyond follows what is really there.
const maxFirstJSON = 1024

type decoder struct {
	namespace string // that of the last packet, mostly that of the next one too
}

// Decode implements [parser.Decoder]. Each message is a packet.
func (d *decoder) Decode(data []byte, binary bool) (*parser.Packet, error) {
	if !binary {
		return nil, errText
	}
	w := wirePacket{reader: reader{in: data, out: make([]byte, 0, min(len(data)+16, maxFirstJSON))}}
	if err := w.read(); err != nil {
		return nil, err
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	p := &parser.Packet{Type: parser.Type(w.kind), Namespace: d.name(w.namespace), ID: w.id, HasID: w.hasID}
	if len(w.attachments) > 0 {
		p.Attachments = w.attachments
	}
	if w.payload != payloadAbsent {
		p.Data = w.out
	}
	return p, nil
}

func (d *decoder) name(namespace []byte) string {
	switch {
	case string(namespace) == "/":
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

type payload byte

const (
	payloadAbsent payload = iota
	payloadObject
	payloadArray
	payloadString
	payloadOther
)

// wirePacket is a packet's map while it is read. Its data becomes the reader's JSON.
type wirePacket struct {
	reader
	kind      uint64
	namespace []byte
	id        uint64
	hasID     bool
	payload   payload
	event     []byte // the first element of an array, as JSON
}

func (w *wirePacket) read() error {
	code, err := w.code()
	if err != nil {
		return err
	}
	n, ok, err := w.mapLen(code)
	if err != nil {
		return err
	}
	if !ok {
		return errNotMap
	}
	var seen [4]bool
	for range n {
		key, err := w.key()
		if err != nil {
			return err
		}
		member := memberOf(key)
		if member >= 0 {
			if seen[member] {
				return errTwice
			}
			seen[member] = true
		}
		switch member {
		case memberType:
			err = w.readType()
		case memberData:
			err = w.readData()
		case memberNamespace:
			err = w.readNamespace()
		case memberID:
			err = w.readID()
		default: // such as the options that a client adds for itself
			err = w.ignore()
		}
		if err != nil {
			return err
		}
	}
	if len(w.in) > 0 {
		return errTrailing
	}
	if !seen[memberType] || !seen[memberNamespace] {
		return errMissing
	}
	return nil
}

const (
	memberType = iota
	memberData
	memberNamespace
	memberID
)

// memberOf returns one of the constants above, or -1.
func memberOf(key []byte) int {
	switch string(key) {
	case keyType:
		return memberType
	case keyData:
		return memberData
	case keyNamespace:
		return memberNamespace
	case keyID:
		return memberID
	}
	return -1
}

func (w *wirePacket) readType() error {
	kind, ok, err := w.uint()
	if err != nil {
		return err
	}
	if !ok || kind > uint64(parser.ConnectError) {
		return errType
	}
	w.kind = kind
	return nil
}

func (w *wirePacket) readID() error {
	if absent, err := w.absent(); absent || err != nil {
		return err
	}
	id, ok, err := w.uint()
	if err != nil {
		return err
	}
	if !ok {
		return errNumber
	}
	w.id, w.hasID = id, true
	return nil
}

func (w *wirePacket) readNamespace() error {
	code, err := w.code()
	if err != nil {
		return err
	}
	name, ok, err := w.str(code)
	if err != nil {
		return err
	}
	if !ok || len(name) == 0 || name[0] != '/' || strings.IndexByte(string(name), ',') >= 0 {
		return errNamespace
	}
	w.namespace = name
	return nil
}

func (w *wirePacket) readData() error {
	if absent, err := w.absent(); absent || err != nil {
		return err
	}
	code := w.in[0]
	switch {
	case msgpcode.IsFixedMap(code) || code == msgpcode.Map16 || code == msgpcode.Map32:
		w.payload = payloadObject
	case msgpcode.IsString(code):
		w.payload = payloadString
	case msgpcode.IsFixedArray(code) || code == msgpcode.Array16 || code == msgpcode.Array32:
		w.payload = payloadArray
	default:
		w.payload = payloadOther
	}
	start := len(w.out)
	if err := w.value(0); err != nil {
		return err
	}
	if w.payload == payloadArray && w.firstEnd > start {
		w.event = w.out[start+1 : w.firstEnd]
	}
	return nil
}

// absent steps over nil or undefined, if that is what comes.
func (w *wirePacket) absent() (bool, error) {
	switch {
	case len(w.in) == 0:
		return false, errTruncated
	case w.in[0] == msgpcode.Nil:
		w.in = w.in[1:]
		return true, nil
	case isUndefined(w.in):
		w.in = w.in[undefinedLen:]
		return true, nil
	}
	return false, nil
}

// check checks that the members of the packet fit together.
func (w *wirePacket) check() error {
	kind := parser.Type(w.kind)
	fits := false
	switch kind {
	case parser.Connect:
		fits = w.payload == payloadAbsent || w.payload == payloadObject
	case parser.Disconnect:
		fits = w.payload == payloadAbsent
	case parser.Event, parser.Ack:
		fits = w.payload == payloadArray
	case parser.ConnectError:
		fits = w.payload == payloadObject || w.payload == payloadString
	}
	switch {
	case !fits:
		return errPayload
	case len(w.attachments) == 0:
	case kind != parser.Event && kind != parser.Ack:
		return errAttachmentType
	case w.lookalike:
		return errPlaceholder
	}
	if kind == parser.Event {
		return checkEventName(w.event)
	}
	return nil
}

func checkEventName(raw []byte) error {
	if len(raw) == 0 {
		return errEventName
	}
	name, err := parser.EventName(raw)
	if err != nil {
		return errEventName
	}
	if raw[0] == '"' && parser.Reserved(name) {
		return parser.ErrReservedEvent
	}
	return nil
}
