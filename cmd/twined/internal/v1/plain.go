package v1

import (
	"bytes"

	"github.com/twine-realtime/twine/twine/parser"
)

// plainBatch reads a body that is a batch as most publishers send it: messages with a room, an event, data and an id, and
// strings without escapes. Package json takes four times as long, see BenchmarkBatch. It reports false for everything else,
// malformed bodies among it. The messages share memory with the body, which is UTF-8.
func plainBatch(body []byte) ([]Message, bool) {
	rest, ok := bytes.CutPrefix(body, []byte(`{"messages":`))
	if !ok {
		return nil, false
	}
	if rest, ok = bytes.CutSuffix(bytes.TrimRight(rest, " \t\r\n"), []byte("}")); !ok {
		return nil, false
	}
	list, err := parser.SplitArgs(rest)
	if err != nil || len(list) == 0 {
		return nil, false
	}
	messages := make([]Message, len(list))
	for i := range list {
		if !plainMessage(list[i], &messages[i]) {
			return nil, false
		}
	}
	return messages, true
}

func plainMessage(object []byte, m *Message) bool {
	var seen [4]bool
	return parser.EachMember(object, func(name, value []byte) bool {
		var field int
		var to *string
		switch string(name) {
		case `"room"`:
			field, to = 0, &m.Room
		case `"event"`:
			field, to = 1, &m.Event
		case `"id"`:
			field, to = 2, &m.ID
		case `"data"`:
			field = 3
		default:
			return false
		}
		if seen[field] {
			return false
		}
		seen[field] = true
		if to == nil {
			m.Data = value
			return true
		}
		if value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 {
			return false
		}
		*to = string(value[1 : len(value)-1])
		return true
	})
}
