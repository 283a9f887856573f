package msgpack

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twine-realtime/twine/twine/parser"
	"github.com/vmihailenco/msgpack/v5"
)

// A packet's map without its namespace and payload is at most this long.
const maxEnvelope = 64

// Encode implements [parser.Codec]. The result is one binary message.
func (codec) Encode(p *parser.Packet) ([]parser.Part, error) {
	containers, err := checkOutgoing(p)
	if err != nil {
		return nil, err
	}
	size := maxEnvelope + len(p.Namespace) + len(p.Data)
	for _, a := range p.Attachments {
		size += len(a)
	}
	w := writer{buffer: buffer{make([]byte, 0, size)}, enc: msgpack.GetEncoder(), containers: containers,
		attachments: p.Attachments}
	w.enc.Reset(&w.buffer)
	defer msgpack.PutEncoder(w.enc)
	w.packet(p)
	return []parser.Part{{Data: w.bytes, Binary: true}}, nil
}

// checkOutgoing checks a packet and returns the outline of its data, so that what follows may rely on valid JSON.
func checkOutgoing(p *parser.Packet) ([]container, error) {
	if p.Type > parser.ConnectError {
		return nil, errType
	}
	if p.Type == parser.Ack && !p.HasID {
		return nil, errAckID
	}
	if err := checkNamespace(p.Namespace); err != nil {
		return nil, err
	}
	if len(p.Attachments) > 0 && p.Type != parser.Event && p.Type != parser.Ack {
		return nil, errAttachmentType
	}
	if len(p.Attachments) > parser.MaxAttachments {
		return nil, parser.ErrTooManyAttachments
	}
	if len(p.Data) == 0 {
		if p.Type != parser.Connect && p.Type != parser.Disconnect {
			return nil, errPayload
		}
		return nil, nil
	}

	fits := false
	array := p.Data
	switch first := p.Data[0]; p.Type {
	case parser.Event, parser.Ack:
		fits = first == '['
	case parser.Connect, parser.ConnectError:
		fits = first == '{' || first == '"' && p.Type == parser.ConnectError
		array = append(append([]byte{'['}, p.Data...), ']') // which is what SplitArgs validates
	}
	if !fits {
		return nil, errPayload
	}
	if args, err := parser.SplitArgs(array); err != nil {
		return nil, err
	} else if len(array) > len(p.Data) && len(args) != 1 {
		return nil, errPayload
	}
	o := outliner{json: p.Data, placeholders: len(p.Attachments) > 0}
	o.value()
	return o.containers, checkPlaceholders(o.containers, len(p.Attachments))
}

func checkNamespace(name string) error {
	switch {
	case name == "":
		return nil
	case name[0] != '/' || strings.IndexByte(name, ',') >= 0:
		return errNamespace
	case !utf8.ValidString(name):
		return errUTF8
	}
	return nil
}

// buffer is what the encoder writes to. It never fails.
type buffer struct{ bytes []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

func (b *buffer) WriteByte(c byte) error {
	b.bytes = append(b.bytes, c)
	return nil
}

// writer translates valid JSON and attachments into MessagePack. Its encoder cannot fail, because the buffer does not.
type writer struct {
	buffer
	enc         *msgpack.Encoder
	json        string
	containers  []container // those that are still to come
	attachments [][]byte
	i           int // in json
}

func (w *writer) packet(p *parser.Packet) {
	members := 2
	if len(p.Data) > 0 {
		members++
	}
	if p.HasID {
		members++
	}
	_ = w.enc.EncodeMapLen(members)
	_ = w.enc.EncodeString(keyType)
	_ = w.enc.EncodeUint(uint64(p.Type))
	if len(p.Data) > 0 {
		_ = w.enc.EncodeString(keyData)
		w.json = string(p.Data) // a copy, whose parts are strings without another one
		w.value()
	}
	if p.HasID {
		_ = w.enc.EncodeString(keyID)
		_ = w.enc.EncodeUint(p.ID)
	}
	_ = w.enc.EncodeString(keyNamespace)
	namespace := p.Namespace
	if namespace == "" {
		namespace = "/"
	}
	_ = w.enc.EncodeString(namespace)
}

// value translates the value that starts at i. It recurses at most parser.MaxDepth times, because validation went before.
func (w *writer) value() {
	w.i = skipSpace(w.json, w.i)
	switch c := w.json[w.i]; c {
	case '{', '[':
		w.container(c)
	case '"':
		w.str()
	case 't':
		_ = w.enc.EncodeBool(true)
		w.i += len("true")
	case 'f':
		_ = w.enc.EncodeBool(false)
		w.i += len("false")
	case 'n':
		_ = w.enc.EncodeNil()
		w.i += len("null")
	default:
		end := skipNumber(w.json, w.i)
		w.number(w.json[w.i:end])
		w.i = end
	}
	w.i = skipSpace(w.json, w.i)
}

func (w *writer) container(open byte) {
	c := w.containers[0]
	if c.attachment >= 0 {
		a := w.attachments[c.attachment]
		_ = w.enc.EncodeBytesLen(len(a)) // not EncodeBytes, to which a nil slice is nil
		w.bytes = append(w.bytes, a...)
		w.containers = w.containers[c.inner+1:]
		w.i = c.end
		return
	}
	w.containers = w.containers[1:]
	w.i++
	if open == '{' {
		_ = w.enc.EncodeMapLen(c.elements)
	} else {
		_ = w.enc.EncodeArrayLen(c.elements)
	}
	for range c.elements {
		if open == '{' {
			w.i = skipSpace(w.json, w.i)
			w.str()
			w.i = skipSpace(w.json, w.i) + len(":")
		}
		w.value()
		w.i++ // a comma, or the end
	}
	w.i = c.end
}

func (w *writer) str() {
	end := skipString(w.json, w.i)
	quoted := w.json[w.i:end]
	w.i = end
	if strings.IndexByte(quoted, '\\') < 0 {
		_ = w.enc.EncodeString(quoted[1 : len(quoted)-1])
		return
	}
	var s string
	_ = json.Unmarshal([]byte(quoted), &s) // it is valid; a half of a surrogate pair becomes U+FFFD
	_ = w.enc.EncodeString(s)
}

// number writes a literal as a whole number, as notepack does, if it is one that fits.
func (w *writer) number(literal string) {
	if n, err := strconv.ParseInt(literal, 10, 64); err == nil {
		_ = w.enc.EncodeInt(n)
		return
	}
	if n, err := strconv.ParseUint(literal, 10, 64); err == nil {
		_ = w.enc.EncodeUint(n)
		return
	}
	f, _ := strconv.ParseFloat(literal, 64) // out of range it is infinite, as for JSON.parse
	const exact = 1 << 53
	if f == math.Trunc(f) && math.Abs(f) <= exact {
		_ = w.enc.EncodeInt(int64(f))
		return
	}
	_ = w.enc.EncodeFloat64(f)
}
