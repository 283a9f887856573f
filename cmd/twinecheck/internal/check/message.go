package check

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// payload is what is published. The filler depends on the other two, so that it cannot be another message's.
type payload struct {
	Publisher int    `json:"p"`
	Number    uint32 `json:"n"`
	Filler    string `json:"x"`
}

func newPayload(publisher int, number uint32, padding int) payload {
	return payload{publisher, number, filler(publisher, number, padding)}
}

func filler(publisher int, number uint32, size int) string {
	unit := fmt.Sprintf("%d/%d ", publisher, number)
	return string(bytes.Repeat([]byte(unit), size/len(unit)+1)[:size])
}

// body is what a publisher posts.
type body struct {
	Room    string  `json:"room_id"`
	Payload payload `json:"payload"`
}

// message is what a client receives: the payload with two members of the server's own.
type message struct {
	payload
	Room      string `json:"room"`
	Timestamp int64  `json:"timestamp"`
}

// parseMessage returns an error for what the server cannot have made from a payload.
func parseMessage(raw json.RawMessage, padding int) (m message, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return m, fmt.Errorf("message %.200q: %w", raw, err)
	}
	if m.Timestamp <= 0 || m.Publisher < 0 || m.Publisher >= 1<<16 || m.Filler != filler(m.Publisher, m.Number, padding) {
		return m, fmt.Errorf("message %.200q: not as it was published", raw)
	}
	return m, nil
}
