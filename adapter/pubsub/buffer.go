package pubsub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/twine-realtime/twine/twine/parser"
)

// JSON has no binary values. JSON.stringify makes of a Buffer an object that Buffer.from understands:
//
//	{"type":"Buffer","data":[1,2,255]}

// toNodeJSON returns a raw JSON array whose placeholders became such objects, and its elements.
func toNodeJSON(data []byte, attachments [][]byte) (out []byte, args [][]byte, err error) {
	if args, err = parser.SplitArgs(data); err != nil {
		return nil, nil, fmt.Errorf("pubsub: arguments: %w", err)
	}
	if len(attachments) == 0 {
		return data, args, nil
	}
	found := 0
	out = replaceLeaves(data, func(object []byte) []byte {
		n, ok := placeholder(object)
		if !ok || n >= len(attachments) {
			return nil
		}
		found++
		return appendBuffer(nil, attachments[n])
	})
	if found != len(attachments) {
		return nil, nil, fmt.Errorf("pubsub: arguments: %w: %d placeholders for %d binary values", parser.ErrMalformed, found, len(attachments))
	}
	args, err = parser.SplitArgs(out)
	return out, args, err
}

// fromNodeJSON is the opposite, for an array that may be malformed. What could not be told apart from a placeholder
// later, or are too many binary values, stays as it is.
func fromNodeJSON(data []byte) (out []byte, attachments [][]byte) {
	if !bytes.Contains(data, []byte(`"Buffer"`)) || bytes.Contains(data, []byte("_placeholder")) || bytes.Contains(data, []byte(`\u005f`)) {
		return data, nil
	}
	out = replaceLeaves(data, func(object []byte) []byte {
		b, ok := parseBuffer(object)
		if !ok {
			return nil
		}
		attachments = append(attachments, b)
		return fmt.Appendf(nil, `{"_placeholder":true,"num":%d}`, len(attachments)-1)
	})
	if len(attachments) == 0 || len(attachments) > parser.MaxAttachments {
		return data, nil
	}
	return out, attachments
}

// replaceLeaves returns JSON in which objects that contain no other are replaced, unless f returns nil for them.
func replaceLeaves(data []byte, f func(object []byte) []byte) []byte {
	var out []byte
	copied, start := 0, -1
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{':
			start = i
		case '}':
			if start < 0 {
				continue
			}
			if replacement := f(data[start : i+1]); replacement != nil {
				out = append(append(out, data[copied:start]...), replacement...)
				copied = i + 1
			}
			start = -1
		}
	}
	return append(out, data[copied:]...)
}

// placeholder returns the number of the attachment that an object stands for.
func placeholder(object []byte) (num int, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil || string(members["_placeholder"]) != "true" {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(members["num"]), 64) // 1.0 is 1 to parser too
	return int(f), err == nil && f >= 0 && f < parser.MaxAttachments && f == float64(int(f))
}

func appendBuffer(dst, b []byte) []byte {
	dst = append(dst, `{"type":"Buffer","data":[`...)
	for i, c := range b {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(c), 10)
	}
	return append(dst, `]}`...)
}

// parseBuffer reads what JSON.stringify makes of a Buffer.
func parseBuffer(object []byte) ([]byte, bool) {
	var members map[string]json.RawMessage
	if !bytes.Contains(object, []byte(`"Buffer"`)) || json.Unmarshal(object, &members) != nil ||
		len(members) != 2 || string(members["type"]) != `"Buffer"` {
		return nil, false
	}
	var numbers []uint16 // []uint8 would be text to package json
	list := members["data"]
	if len(list) == 0 || list[0] != '[' || json.Unmarshal(list, &numbers) != nil {
		return nil, false
	}
	b := make([]byte, len(numbers))
	for i, n := range numbers {
		if n > 255 {
			return nil, false
		}
		b[i] = byte(n)
	}
	return b, true
}
