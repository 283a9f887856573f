package parser

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
)

// EventData returns [Packet].Data and [Packet].Attachments of an event: the JSON array ["event",args...]. A reserved
// name is refused with [ErrReservedEvent]; the arguments are those of [EncodeArgs].
func EventData(event string, args ...any) (data []byte, attachments [][]byte, err error) {
	if Reserved(event) {
		return nil, nil, fmt.Errorf("%w %q", ErrReservedEvent, event)
	}
	e := newArgsEncoder()
	e.buf = append(e.buf, '[')
	e.buf = appendString(e.buf, event)
	return e.finish(args)
}

// EncodeArgs returns the arguments as a JSON array, as they are sent in an acknowledgement.
//
// A []byte becomes an attachment, nil or not: as an argument, or inside a map[string]any, []any or [][]byte at any
// depth. Anywhere else, as in a struct, it becomes the base64 string that package json makes of it. A json.RawMessage is
// validated and taken verbatim; everything else is marshalled by package json, without escaping HTML. Attachments are
// copied, so that the caller may change its values as soon as EncodeArgs returns.
//
// Errors match [ErrMalformed] if the result would be no valid packet (too many attachments, too deep, invalid raw JSON,
// an object that would be mistaken for an attachment's placeholder); others are those of package json.
func EncodeArgs(args ...any) (data []byte, attachments [][]byte, err error) {
	e := newArgsEncoder()
	e.buf = append(e.buf, '[')
	return e.finish(args)
}

type argsEncoder struct {
	buf         []byte
	attachments [][]byte
}

func newArgsEncoder() *argsEncoder { return &argsEncoder{buf: make([]byte, 0, 128)} }

func (e *argsEncoder) finish(args []any) ([]byte, [][]byte, error) {
	for i, arg := range args {
		if len(e.buf) > 1 {
			e.buf = append(e.buf, ',')
		}
		if err := e.value(arg, 1); err != nil {
			return nil, nil, fmt.Errorf("argument %d: %w", i, err)
		}
	}
	e.buf = append(e.buf, ']')
	if len(e.attachments) > 0 {
		if err := checkPlaceholders(e.buf, len(e.attachments)); err != nil {
			return nil, nil, err
		}
	}
	return e.buf, e.attachments, nil
}

// value appends v, which outer arrays and maps enclose.
func (e *argsEncoder) value(v any, outer int) error {
	switch v := v.(type) {
	case nil:
		e.buf = append(e.buf, "null"...)
	case string:
		e.buf = appendString(e.buf, v)
	case bool:
		e.buf = strconv.AppendBool(e.buf, v)
	case int:
		e.buf = strconv.AppendInt(e.buf, int64(v), 10)
	case int64:
		e.buf = strconv.AppendInt(e.buf, v, 10)
	case uint64:
		e.buf = strconv.AppendUint(e.buf, v, 10)
	case []byte:
		return e.attachment(v, outer)
	case json.RawMessage:
		return e.raw(v, outer)
	case map[string]any:
		return e.object(v, outer)
	case []any:
		if v == nil {
			e.buf = append(e.buf, "null"...)
			return nil
		}
		return appendArray(e, v, outer)
	case [][]byte:
		if v == nil {
			e.buf = append(e.buf, "null"...)
			return nil
		}
		return appendArray(e, v, outer)
	default:
		return e.marshal(v, outer)
	}
	return nil
}

func (e *argsEncoder) attachment(b []byte, outer int) error {
	if len(e.attachments) == MaxAttachments {
		return ErrTooManyAttachments
	}
	if outer >= MaxDepth {
		return ErrTooDeep
	}
	e.buf = append(e.buf, `{"_placeholder":true,"num":`...)
	e.buf = strconv.AppendInt(e.buf, int64(len(e.attachments)), 10)
	e.buf = append(e.buf, '}')
	e.attachments = append(e.attachments, append([]byte{}, b...))
	return nil
}

func (e *argsEncoder) raw(raw json.RawMessage, outer int) error {
	if raw == nil {
		e.buf = append(e.buf, "null"...)
		return nil
	}
	trimmed := trimSpace(raw)
	if err := checkJSON(trimmed, outer); err != nil {
		return err
	}
	e.buf = append(e.buf, trimmed...)
	return nil
}

func (e *argsEncoder) object(m map[string]any, outer int) error {
	if m == nil {
		e.buf = append(e.buf, "null"...)
		return nil
	}
	if outer >= MaxDepth { // a map that contains itself ends here too
		return ErrTooDeep
	}
	e.buf = append(e.buf, '{')
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.buf = appendString(e.buf, key)
		e.buf = append(e.buf, ':')
		if err := e.value(m[key], outer+1); err != nil {
			return err
		}
	}
	e.buf = append(e.buf, '}')
	return nil
}

func appendArray[T any](e *argsEncoder, values []T, outer int) error {
	if outer >= MaxDepth {
		return ErrTooDeep
	}
	e.buf = append(e.buf, '[')
	for i, v := range values {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		if err := e.value(v, outer+1); err != nil {
			return err
		}
	}
	e.buf = append(e.buf, ']')
	return nil
}

// marshaller keeps a json.Encoder, the only way to have package json leave HTML alone, and its target together.
type marshaller struct {
	enc *json.Encoder
	buf []byte
}

func (m *marshaller) Write(p []byte) (int, error) {
	m.buf = append(m.buf, p...)
	return len(p), nil
}

var marshallers = sync.Pool{New: func() any {
	m := new(marshaller)
	m.enc = json.NewEncoder(m)
	m.enc.SetEscapeHTML(false)
	return m
}}

func (e *argsEncoder) marshal(v any, outer int) error {
	start := len(e.buf)
	m := marshallers.Get().(*marshaller)
	m.buf = e.buf
	err := m.enc.Encode(v)
	e.buf, m.buf = m.buf, nil
	marshallers.Put(m)
	if err != nil {
		return err
	}
	e.buf = e.buf[:len(e.buf)-1] // the line feed behind each value
	// A MarshalJSON method may return what package json lets pass but a decoder does not.
	return checkJSON(e.buf[start:], outer)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as JSON.stringify writes it, with U+FFFD for what is not UTF-8.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf && !special[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[done:i]...)
				dst = append(dst, "\ufffd"...)
				done = i + 1
			}
			i += size
			continue
		}
		dst = append(dst, s[done:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&0xf])
		}
		i++
		done = i
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}
