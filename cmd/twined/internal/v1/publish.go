package v1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twine-realtime/twine/recovery"
)

const (
	publishTimeout = 15 * time.Second
	maxIDBytes     = 255
	maxEventBytes  = 255
	defaultEvent   = "message"
)

// Message is an event to publish.
type Message struct {
	Room   string          `json:"room"`   // one room,
	Rooms  []string        `json:"rooms"`  // or several: a client in more than one of them gets the event once
	Except []string        `json:"except"` // rooms, or ids of sockets, that do not get it
	Event  string          `json:"event"`  // "" means "message"
	Data   json.RawMessage `json:"data"`   // the event's only argument,
	Args   json.RawMessage `json:"args"`   // or all of them, as an array
	ID     string          `json:"id"`     // a second message with the same id is not sent
}

// Result is what became of a message.
type Result struct {
	Offset    string `json:"offset,omitempty"`
	Duplicate bool   `json:"duplicate,omitempty"`
	Error     string `json:"error,omitempty"`
}

func (a *API) publish(w http.ResponseWriter, r *http.Request) error {
	messages, batch, err := readMessages(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), publishTimeout)
	defer cancel()
	// All are queued before the first is waited for: they share the log's commits and keep their order.
	pending := make([]*recovery.Pending, len(messages))
	failures := make([]error, len(messages))
	for i, m := range messages {
		operator := a.Twine.To(m.Rooms...)
		if len(m.Except) > 0 {
			operator = operator.Except(m.Except...)
		}
		pending[i], failures[i] = operator.Enqueue(m.ID, m.Event, m.args()...)
	}
	results := make([]Result, len(messages))
	var failed error
	for i := range messages {
		var offset recovery.Offset
		err := failures[i]
		if err == nil {
			offset, results[i].Duplicate, err = pending[i].Wait(ctx)
		}
		if err != nil {
			results[i].Error = problemOf(err).Detail
			failed = err
			continue
		}
		results[i].Offset = offset.String()
	}
	switch {
	case failed != nil:
		problem := *problemOf(failed)
		if batch {
			problem.Results = results
		}
		return &problem
	case batch:
		return writeJSON(w, http.StatusCreated, map[string]any{"results": results})
	}
	return writeJSON(w, http.StatusCreated, results[0])
}

func bad(format string, args ...any) error {
	return newProblem(http.StatusBadRequest, fmt.Sprintf(format, args...))
}

// readMessages takes one message, or {"messages": [...]}.
func readMessages(w http.ResponseWriter, r *http.Request) (messages []Message, batch bool, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, false, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", MaxBodyBytes))
	case err != nil:
		return nil, false, bad("the body ended early")
	case !utf8.Valid(body):
		return nil, false, bad("the body is not valid UTF-8")
	}
	var in struct {
		Message
		Messages []Message `json:"messages"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return nil, false, bad("the body is not a message: %v", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, false, bad("there is something behind the message")
	}
	key, err := headerKey(r.Header)
	if err != nil {
		return nil, false, err
	}
	if in.Messages == nil {
		if in.Message.ID == "" {
			in.Message.ID = key
		}
		err := in.Message.check()
		return []Message{in.Message}, false, err
	}
	if len(in.Messages) == 0 || len(in.Messages) > maxMessages {
		return nil, true, bad("messages: from 1 to %d are taken at once", maxMessages)
	}
	for i := range in.Messages {
		m := &in.Messages[i]
		if m.ID == "" && key != "" {
			m.ID = key + "/" + strconv.Itoa(i)
		}
		if err := m.check(); err != nil {
			return nil, true, bad("messages[%d]: %v", i, err)
		}
	}
	return in.Messages, true, nil
}

func headerKey(h http.Header) (string, error) {
	keys := h.Values("Idempotency-Key")
	switch {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1:
		return "", bad("there is more than one Idempotency-Key")
	case keys[0] == "" || len(keys[0]) > maxIDBytes:
		return "", bad("the Idempotency-Key is empty or longer than %d bytes", maxIDBytes)
	}
	return keys[0], nil
}

func (m *Message) check() error {
	if m.Room != "" {
		m.Rooms = append(m.Rooms, m.Room)
	}
	if m.Event == "" {
		m.Event = defaultEvent
	}
	switch {
	case len(m.Rooms) == 0:
		return bad("room is missing; give \"room\" or \"rooms\"")
	case len(m.Rooms) > maxRooms || len(m.Except) > maxRooms:
		return bad("a message can be for %d rooms at the most", maxRooms)
	case m.Data != nil && m.Args != nil:
		return bad("give \"data\" or \"args\", not both")
	case m.Args != nil && m.Args[0] != '[':
		return bad("args is not an array")
	case len(m.ID) > maxIDBytes+8:
		return bad("id is longer than %d bytes", maxIDBytes)
	case len(m.Event) > maxEventBytes:
		return bad("event is longer than %d bytes", maxEventBytes)
	}
	for _, room := range m.Rooms {
		if err := validRoom(room); err != nil {
			return bad("%v", err)
		}
	}
	return nil
}

// args needs a message that was checked.
func (m *Message) args() []any {
	if m.Args == nil {
		if m.Data == nil {
			return nil
		}
		return []any{m.Data}
	}
	var raw []json.RawMessage
	if json.Unmarshal(m.Args, &raw) != nil {
		return nil // an array of anything is one of raw messages
	}
	args := make([]any, len(raw))
	for i := range raw {
		args[i] = raw[i]
	}
	return args
}
