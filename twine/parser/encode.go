package parser

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A type, a count of attachments and an id are at most this long.
const maxHeaderWithoutNamespace = 1 + len("10-") + len(",") + len("18446744073709551615")

func (jsonCodec) Encode(p *Packet) ([]Part, error) {
	text := make([]byte, 0, maxHeaderWithoutNamespace+len(p.Namespace)+len(p.Data))
	text, err := AppendText(text, p)
	if err != nil {
		return nil, err
	}
	parts := make([]Part, 1, 1+len(p.Attachments))
	parts[0] = Part{Data: text}
	for _, a := range p.Attachments {
		parts = append(parts, Part{Data: a, Binary: true})
	}
	return parts, nil
}

// AppendText appends the text message of p, as [JSON] encodes it, to dst and returns the extended buffer. The
// attachments of p are not part of it: each follows as a binary message of its own. On error dst is returned as it
// was; errors are those of [Codec.Encode].
func AppendText(dst []byte, p *Packet) ([]byte, error) {
	if err := checkOutgoing(p); err != nil {
		return dst, err
	}
	if n := len(p.Attachments); n == 0 {
		dst = append(dst, '0'+byte(p.Type))
	} else {
		dst = append(dst, '0'+byte(p.Type+wireBinaryEvent-Event))
		dst = strconv.AppendInt(dst, int64(n), 10)
		dst = append(dst, '-')
	}
	if p.Namespace != "" && p.Namespace != "/" {
		dst = append(dst, p.Namespace...)
		dst = append(dst, ',')
	}
	if p.HasID {
		dst = strconv.AppendUint(dst, p.ID, 10)
	}
	return append(dst, p.Data...), nil
}

func checkOutgoing(p *Packet) error {
	if p.Type > ConnectError {
		return errType
	}
	if !hasShape(p.Type, p.Data) {
		return errPayload
	}
	if p.Type == Ack && !p.HasID {
		return errAckID
	}
	if err := checkNamespace(p.Namespace); err != nil {
		return err
	}
	if len(p.Attachments) == 0 {
		return nil
	}
	if p.Type != Event && p.Type != Ack {
		return errAttachmentType
	}
	if len(p.Attachments) > MaxAttachments {
		return ErrTooManyAttachments
	}
	// What one client sent as plain JSON may look like a placeholder; passed on beside someone's attachments it would
	// make every receiver close its connection.
	if end, err := skipValue(p.Data, 0, 0); err != nil || end != len(p.Data) {
		return errJSON
	}
	return checkPlaceholders(p.Data, len(p.Attachments))
}

// checkNamespace checks a name that is to be sent: what is sent must be decoded as the same name.
func checkNamespace(name string) error {
	if name == "" {
		return nil
	}
	if name[0] != '/' || strings.IndexByte(name, ',') >= 0 {
		return errNamespace
	}
	if !utf8.ValidString(name) {
		return errUTF8
	}
	return nil
}

// AppendArg returns a copy of data, a valid JSON array such as [Packet].Data of an event, with jsonArg, a valid JSON
// value, as one more element at its end. Neither argument is kept. It returns nil if data does not end as an array does.
func AppendArg(data []byte, jsonArg []byte) []byte {
	data = trimSpace(data)
	if len(data) < 2 || data[0] != '[' || data[len(data)-1] != ']' {
		return nil
	}
	data = bytes.TrimRight(data[:len(data)-1], " \t\r\n")
	longer := make([]byte, 0, len(data)+len(jsonArg)+2)
	longer = append(longer, data...)
	if len(data) > 1 {
		longer = append(longer, ',')
	}
	longer = append(longer, jsonArg...)
	return append(longer, ']')
}
