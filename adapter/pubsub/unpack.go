package pubsub

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
	codec "github.com/twine-realtime/twine/twine/parser/msgpack"
)

// broadcast is what another server broadcasts. Its payload is not looked at before it is known that somebody wants it.
type broadcast struct {
	uid       string
	namespace string // empty: the main one's
	options   adapter.Options
	payload   string // MessagePack, an array
}

// A packet's type as socket.io-parser numbers it. Old emitters tell a binary event from others.
const (
	nodeEvent       = 2
	nodeBinaryEvent = 5
)

// unpackBroadcast reads what arrived on a broadcast channel. Its errors match errMalformed.
func unpackBroadcast(message string) (*broadcast, error) {
	r := reader{message}
	n, err := r.arrayLen()
	if err != nil {
		return nil, err
	}
	if n < 3 {
		return nil, malformed("a broadcast of less than three parts")
	}
	b := new(broadcast)
	if b.uid, err = r.text(); err != nil {
		return nil, err
	}
	if err := b.readPacket(&r); err != nil {
		return nil, err
	}
	return b, readOptions(&r, &b.options)
}

func (b *broadcast) readPacket(r *reader) error {
	n, err := r.mapLen()
	if err != nil {
		return err
	}
	kind := float64(-1)
	for range n {
		key, err := r.text()
		if err != nil {
			return err
		}
		switch {
		case r.skipNothing():
		case key == "type":
			kind, err = r.number()
		case key == "nsp":
			b.namespace, err = r.text()
		case key == "data":
			b.payload, err = r.value()
		default: // such as options that a server keeps for itself
			_, err = r.value()
		}
		if err != nil {
			return err
		}
	}
	if kind != nodeEvent && kind != nodeBinaryEvent {
		return malformed("a broadcast that is no event")
	}
	if b.payload == "" {
		return malformed("a broadcast without data")
	}
	return nil
}

// unpackPayload reads an event's payload. Its errors match errMalformed.
func unpackPayload(payload string) (data []byte, attachments [][]byte, err error) {
	return translate(eventHead, payload)
}

// What comes before the payload in a packet that the codec reads.
var (
	eventHead  = packetHead(parser.Event)
	answerHead = packetHead(parser.Ack)
)

func packetHead(kind parser.Type) string {
	head := appendMapLen(nil, 4)
	head = append(appendText(head, "type"), byte(kind))
	head = append(appendText(head, "id"), 0)
	head = appendText(appendText(head, "nsp"), "/")
	return string(appendText(head, "data"))
}

func translate(head string, parts ...string) (data []byte, attachments [][]byte, err error) {
	p, err := codec.Codec.NewDecoder().Decode([]byte(head+strings.Join(parts, "")), true)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return p.Data, p.Attachments, nil
}

// unpack reads a request that is not JSON, which all but those of typeBroadcast are.
func (r *request) unpack(message string) error {
	in := reader{message}
	n, err := in.mapLen()
	if err != nil {
		return err
	}
	found := false
	for range n {
		key, err := in.text()
		if err != nil {
			return err
		}
		switch key {
		case "uid":
			r.UID, err = in.text()
		case "requestId":
			r.RequestID, err = in.text()
		case "type":
			var f float64
			f, err = in.number()
			kind := int(f)
			r.Type = &kind
		case "packet":
			err = r.broadcast.readPacket(&in)
		case "opts":
			found = true
			err = readOptions(&in, &r.broadcast.options)
		case "twine":
			r.Twine, err = in.boolean()
		default:
			_, err = in.value()
		}
		if err != nil {
			return err
		}
	}
	if r.Type == nil || *r.Type != typeBroadcast || !found || r.broadcast.payload == "" || r.RequestID == "" {
		return malformed("a request in MessagePack that is no broadcast")
	}
	return nil
}

// unpack reads a response that is not JSON, which is one client's answer.
func (r *response) unpack(message string) error {
	in := reader{message}
	n, err := in.mapLen()
	if err != nil {
		return err
	}
	first, args := "\xc0", ""
	for range n {
		key, err := in.text()
		if err != nil {
			return err
		}
		switch key {
		case "requestId":
			r.RequestID, err = in.text()
		case "type":
			var f float64
			f, err = in.number()
			r.Type = int(f)
		case "uid":
			r.UID, err = in.text()
		case "member":
			r.Member, err = in.text()
		case "packet":
			first, err = in.value()
		case "args":
			args, err = in.value()
		default:
			_, err = in.value()
		}
		if err != nil {
			return err
		}
	}
	if args != "" {
		r.answer, r.attachments, err = translate(answerHead, args)
	} else {
		r.answer, r.attachments, err = translate(answerHead, "\x91", first)
	}
	return err
}

// readOptions reads whom a broadcast is for and how it is sent.
func readOptions(r *reader, o *adapter.Options) error {
	n, err := r.mapLen()
	if err != nil {
		return err
	}
	for range n {
		key, err := r.text()
		if err != nil {
			return err
		}
		switch {
		case r.skipNothing():
		case key == "rooms":
			o.Rooms, err = r.names()
		case key == "except":
			o.Except, err = r.names()
		case key == "flags":
			err = readFlags(r, &o.Flags)
		default:
			_, err = r.value()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readFlags(r *reader, f *adapter.Flags) error {
	n, err := r.mapLen()
	if err != nil {
		return err
	}
	for range n {
		key, err := r.text()
		if err != nil {
			return err
		}
		switch {
		case r.skipNothing():
		case key == "volatile":
			f.Volatile, err = r.boolean()
		case key == "compress":
			var compress bool
			compress, err = r.boolean()
			f.NoCompress = !compress
		case key == "timeout":
			var ms float64
			if ms, err = r.number(); err == nil && ms > 0 { // NaN is not
				f.Timeout = time.Duration(min(ms, float64(maxAckTimeout/time.Millisecond)) * float64(time.Millisecond))
			}
		default:
			_, err = r.value()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// memberOf returns the value that a map has under a key.
func memberOf(packed []byte, key string) (string, error) {
	r := reader{string(packed)}
	n, err := r.mapLen()
	if err != nil {
		return "", err
	}
	for range n {
		k, err := r.text()
		if err != nil {
			return "", err
		}
		v, err := r.value()
		if err != nil {
			return "", err
		}
		if k == key {
			return v, nil
		}
	}
	return "", malformed("a map without " + key)
}

func (r *reader) names() ([]string, error) {
	n, err := r.arrayLen()
	if err != nil {
		return nil, err
	}
	list := make([]string, n)
	for i := range list {
		if list[i], err = r.name(); err != nil {
			return nil, err
		}
	}
	return slices.Clip(list), nil
}
