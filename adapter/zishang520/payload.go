package zishang520

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/zishang520/engine.io/v2/types"
	sio "github.com/zishang520/socket.io-go-parser/v2/parser"

	"github.com/twine-realtime/twine/twine/parser"
)

// encoder is the library's own, so that arguments mean here what they mean to it.
var encoder = sio.NewEncoder()

// encode translates arguments, as the library has them, to canonical ones. It
// reads the readers among them, as sending them would.
func encode(args []any) (data []byte, attachments [][]byte, err error) {
	if args == nil {
		args = []any{}
	}
	// An answer, because its arguments may be anything.
	id := uint64(0)
	parts := encoder.Encode(&sio.Packet{Type: sio.ACK, Nsp: "/", Id: &id, Data: args})
	decoder := parser.JSON.NewDecoder()
	for i, part := range parts {
		p, err := decoder.Decode(part.Bytes(), i > 0)
		if err != nil {
			// The library's encoder leaves out what it cannot encode, and does not say why.
			if _, cause := json.Marshal(args); i == 0 && cause != nil {
				err = cause
			}
			return nil, nil, fmt.Errorf("zishang520: arguments can't be encoded: %w", err)
		}
		if p != nil {
			return p.Data, p.Attachments, nil
		}
	}
	return nil, nil, fmt.Errorf("zishang520: arguments can't be encoded: %w", parser.ErrMalformed)
}

// decode translates canonical arguments to what the library's parser makes of
// them: binary values become *types.BytesBuffer.
func decode(data []byte, attachments [][]byte) ([]any, error) {
	if len(data) == 0 {
		return []any{}, nil
	}
	raw, err := parser.SplitArgs(data)
	if err != nil {
		return nil, err
	}
	args := make([]any, len(raw))
	for i := range raw {
		if err := parser.DecodeArg(raw[i], attachments, &args[i]); err != nil {
			return nil, err
		}
		args[i] = buffered(args[i])
	}
	return args, nil
}

// buffered puts binary values into buffers of the library. A reader of such a
// buffer uses it up, so each gets a copy.
func buffered(value any) any {
	switch v := value.(type) {
	case []byte:
		return types.NewBytesBuffer(bytes.Clone(v))
	case []any:
		for i := range v {
			v[i] = buffered(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = buffered(v[key])
		}
	}
	return value
}
