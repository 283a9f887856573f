package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Command is a Join, Leave or Disconnect, which travel in the stream.
type Command struct {
	Options Options  `json:"opts" msgpack:"opts"`
	Rooms   []string `json:"rooms,omitempty" msgpack:"rooms"` // Join, Leave
	Close   bool     `json:"close,omitempty" msgpack:"close"` // Disconnect: the transport too
}

// StreamData returns the command as the data field of a stream entry.
func (c *Command) StreamData() ([]byte, error) {
	if err := checkNames(c.Rooms, c.Options.Rooms, c.Options.Except); err != nil {
		return nil, err
	}
	out := *c
	out.Options = out.Options.withLists()
	data, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return data, nil
}

// ParseCommand reads the data field of a stream entry. Its errors match
// ErrMalformed.
func ParseCommand(data string) (*Command, error) {
	c := new(Command)
	if data == "" || data[0] != '{' {
		packed, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return c, unpack(packed, c)
	}
	if err := json.Unmarshal([]byte(data), c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return c, nil
}
