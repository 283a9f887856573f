package original

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/repeat"
)

// Stamp returns the JSON object payload with its members "room" and "timestamp" (Unix milliseconds) set. Every other
// member stays as it was written, digit by digit, and in its place.
func Stamp(payload json.RawMessage, room string, now time.Time) (json.RawMessage, error) {
	switch {
	case payload == nil:
		return nil, errors.New("payload is missing")
	case payload[0] != '{':
		return nil, errors.New("payload is not an object")
	}
	members := payload[1 : len(payload)-1]
	if bytes.Contains(payload, []byte(`room`)) || bytes.Contains(payload, []byte(`timestamp`)) || bytes.IndexByte(payload, '\\') >= 0 {
		// Perhaps one of the two is there already, or hides behind an escape.
		var err error
		if members, err = without(payload, "room", "timestamp"); err != nil {
			return nil, err
		}
	}
	members = bytes.TrimSpace(members)
	roomText, err := json.Marshal(room)
	if err != nil {
		return nil, err
	}
	stamped := make([]byte, 0, len(members)+len(roomText)+48)
	stamped = append(stamped, '{')
	if len(members) > 0 {
		stamped = append(append(stamped, members...), ',')
	}
	stamped = append(append(stamped, `"room":`...), roomText...)
	stamped = strconv.AppendInt(append(stamped, `,"timestamp":`...), now.UnixMilli(), 10)
	return append(stamped, '}'), nil
}

// SameMessage reports whether two events with stamped messages as their arguments were made of the same payload, at
// whatever time.
func SameMessage(a, b []byte) bool {
	return repeat.SameJSON(withoutTime(a), withoutTime(b))
}

// withoutTime cuts off what Stamp has put last, or returns an event that is not stamped as it is.
func withoutTime(event []byte) []byte {
	const member = `,"timestamp":`
	i := bytes.LastIndex(event, []byte(member))
	if i < 0 {
		return event
	}
	digits, ok := bytes.CutSuffix(event[i+len(member):], []byte("}]"))
	if _, err := strconv.ParseInt(string(digits), 10, 64); !ok || err != nil {
		return event
	}
	return append(event[:i:i], "}]"...)
}

// without returns the members of a valid JSON object, less those with the given names.
func without(object json.RawMessage, names ...string) ([]byte, error) {
	var kept []byte
	decoder := json.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
next:
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		for _, name := range names {
			if token == name {
				continue next
			}
		}
		name, err := json.Marshal(token)
		if err != nil {
			return nil, err
		}
		if kept != nil {
			kept = append(kept, ',')
		}
		kept = append(append(append(kept, name...), ':'), value...)
	}
	return kept, nil
}
