package v1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twine-realtime/twine/cmd/twined/internal/original"
	"github.com/twine-realtime/twine/cmd/twined/internal/repeat"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/parser"
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
	Stamp  bool            `json:"stamp"`  // data gets the members room and timestamp, as in POST /api/twine
	ID     string          `json:"id"`     // a second message with the same id is not sent
}

// Result is what became of a message: an offset, or an error.
type Result struct {
	Offset    string `json:"offset,omitempty"`
	Duplicate bool   `json:"duplicate,omitempty"` // a message with the same id was there already, and this one was not sent
	Error     string `json:"error,omitempty"`
	Status    int    `json:"status,omitempty"` // of the error: 503 means that the message may be sent again
}

func (a *API) publish(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	messages, batch, err := readMessages(w, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), publishTimeout)
	defer cancel()
	began := time.Now()
	// All are queued before the first is waited for: they share the log's commits and keep their order.
	pending := make([]recovery.Pending, len(messages))
	failures := make([]error, len(messages))
	for i := range messages {
		pending[i], failures[i] = a.enqueue(&messages[i])
	}
	results := make([]Result, len(messages))
	var worst *Problem
	for i := range messages {
		err := failures[i]
		if err == nil {
			err = a.await(ctx, pending[i], &messages[i], &results[i])
		}
		if a.Published != nil {
			a.Published(began, results[i].Duplicate, err)
		}
		if err != nil {
			problem := problemOf(err)
			results[i] = Result{Error: problem.Detail, Status: problem.Status}
			// What can be mended by sending it again comes first.
			if worst == nil || problem.Status > worst.Status {
				worst = problem
			}
		}
	}
	switch {
	case worst != nil && batch:
		worst.Results = results
		return worst
	case worst != nil:
		return worst
	case batch:
		return writeJSON(w, http.StatusCreated, map[string]any{"results": results})
	}
	return writeJSON(w, http.StatusCreated, results[0])
}

func (a *API) enqueue(m *Message) (recovery.Pending, error) {
	operator := a.Twine.To(m.Rooms...)
	if len(m.Except) > 0 {
		operator = operator.Except(m.Except...)
	}
	return operator.Enqueue(m.ID, m.Event, m.args()...)
}

// await waits for what becomes of a message.
func (a *API) await(ctx context.Context, pending recovery.Pending, m *Message, result *Result) error {
	offset, duplicate, err := pending.Wait(ctx)
	if err != nil {
		return err
	}
	result.Offset, result.Duplicate = offset.String(), duplicate
	if !duplicate {
		return nil
	}
	data, _, err := parser.EventData(m.Event, m.args()...)
	if err != nil {
		return err
	}
	same := repeat.SameJSON
	if m.Stamp {
		same = original.SameMessage // its time is another
	}
	return repeat.Check(ctx, a.History, namespace, offset, repeat.Message{Rooms: m.Rooms, Except: m.Except, Data: data}, same)
}

func bad(format string, args ...any) error {
	return newProblem(http.StatusBadRequest, fmt.Sprintf(format, args...))
}

// readMessages takes one message, or {"messages": [...]}.
func readMessages(w http.ResponseWriter, r *http.Request) (messages []Message, batch bool, err error) {
	body, err := readBody(w, r)
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
	if plain, ok := plainBatch(body); ok {
		in.Messages = plain
	} else {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&in); err != nil {
			return nil, false, bad("the body is not a message: %v", err)
		}
		if _, err := decoder.Token(); err != io.EOF {
			return nil, false, bad("there is something behind the message")
		}
	}
	key, err := headerKey(r.Header)
	if err != nil {
		return nil, false, err
	}
	if in.Messages == nil {
		if err := in.Message.check(time.Now()); err != nil {
			return nil, false, bad("%v", err)
		}
		if in.Message.ID == "" {
			in.Message.ID = key
		}
		return []Message{in.Message}, false, nil
	}
	if !reflect.ValueOf(in.Message).IsZero() {
		return nil, true, bad("give one message, or \"messages\", not both")
	}
	if len(in.Messages) == 0 || len(in.Messages) > maxMessages {
		return nil, true, bad("messages: from 1 to %d are taken at once", maxMessages)
	}
	received := time.Now()
	var malformed *Problem
	for i := range in.Messages {
		m := &in.Messages[i]
		err := m.check(received)
		if err == nil {
			// Otherwise those in front of it would be sent before it is found out.
			_, _, err = parser.EventData(m.Event, m.args()...)
		}
		if err != nil {
			malformed = malformed.with(i, len(in.Messages), err)
		}
		if m.ID == "" && key != "" {
			m.ID = key + "/" + strconv.Itoa(i)
		}
	}
	if malformed != nil {
		return nil, true, malformed
	}
	return in.Messages, true, nil
}

// readBody takes memory at once for what the client says that it sends, within reason.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	const most = 256 << 10
	var body bytes.Buffer
	if n := r.ContentLength; n > 0 {
		body.Grow(int(min(n, most)) + bytes.MinRead)
	}
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	return body.Bytes(), err
}

// with adds that one message of a batch is malformed. The others are held back: a publisher may well want to mend the batch and
// send it as a whole, in its order.
func (p *Problem) with(i, count int, err error) *Problem {
	if p == nil {
		p = newProblem(http.StatusBadRequest, fmt.Sprintf("messages[%d]: %v; none was published", i, err))
		p.Results = make([]Result, count)
		for i := range p.Results {
			p.Results[i] = Result{Error: "not published, because another message is malformed", Status: http.StatusFailedDependency}
		}
	}
	p.Results[i] = Result{Error: err.Error(), Status: http.StatusBadRequest}
	return p
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

// check makes a message whole, or says what is wrong with it.
func (m *Message) check(now time.Time) error {
	if m.Room != "" {
		m.Rooms = append(m.Rooms, m.Room)
	}
	if m.Event == "" {
		m.Event = defaultEvent
	}
	switch {
	case len(m.Rooms) == 0:
		return errors.New("room is missing; give \"room\" or \"rooms\"")
	case len(m.Rooms) > maxRooms || len(m.Except) > maxRooms:
		return fmt.Errorf("a message can be for %d rooms at the most", maxRooms)
	case m.Data != nil && m.Args != nil:
		return errors.New("give \"data\" or \"args\", not both")
	case m.Args != nil && m.Args[0] != '[':
		return errors.New("args is not an array")
	case len(m.ID) > maxIDBytes:
		return fmt.Errorf("id is longer than %d bytes", maxIDBytes)
	case len(m.Event) > maxEventBytes:
		return fmt.Errorf("event is longer than %d bytes", maxEventBytes)
	case parser.Reserved(m.Event):
		return fmt.Errorf("the event's name %q is reserved by Socket.IO", m.Event)
	}
	for _, rooms := range [][]string{m.Rooms, m.Except} {
		for _, room := range rooms {
			if err := validRoom(room); err != nil {
				return err
			}
		}
	}
	if m.Stamp {
		return m.stamp(now)
	}
	return nil
}

// stamp puts the room and the time into the data, by which the client libraries' listenOn knows whose message it is.
func (m *Message) stamp(now time.Time) (err error) {
	m.Rooms = slices.Compact(m.Rooms)
	if len(m.Rooms) != 1 || m.Data == nil || m.Data[0] != '{' {
		return errors.New("stamp needs one room, and data that is an object")
	}
	m.Data, err = original.Stamp(m.Data, m.Rooms[0], now)
	return err
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
