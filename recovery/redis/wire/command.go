package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Command is a Join, Leave or Disconnect, which travel in the stream.
type Command struct {
	Options Options  `json:"opts"`
	Rooms   []string `json:"rooms,omitempty"` // Join, Leave
	Close   bool     `json:"close,omitempty"` // Disconnect: the transport too
}

type rawCommand struct {
	Options *Options `json:"opts" msgpack:"opts"`
	Rooms   []string `json:"rooms" msgpack:"rooms"`
	Close   bool     `json:"close" msgpack:"close"`
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
	var raw rawCommand
	if data == "" || data[0] != '{' {
		packed, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if err := unpackChecked(packed, &raw); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal([]byte(data), &raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if raw.Options == nil { // it would be for everyone
		return nil, fmt.Errorf("%w: a command that does not say for whom it is", ErrMalformed)
	}
	return &Command{Options: *raw.Options, Rooms: raw.Rooms, Close: raw.Close}, nil
}
