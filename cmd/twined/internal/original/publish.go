package original

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/twine-realtime/twine/cmd/twined/internal/repeat"
	"github.com/twine-realtime/twine/twine/parser"
)

const (
	// MaxBodyBytes is the largest publish request: as much as a client may send in one message.
	MaxBodyBytes = 1_000_000
	// MaxRoomBytes is the longest name of a room.
	MaxRoomBytes = 1024
	// retrySeconds is told to a publisher whose message could not be taken now.
	retrySeconds = "1"
)

// Publisher is POST /api/twine.
type Publisher struct {
	// Authorized tells whether the value of the Authorization header is a valid key.
	Authorized func(key string) bool
	// Publish hands the message, a JSON object, to everyone in the room. A message with the same id, unless that is
	// empty, is handed out once. An error means that nobody gets it: for good if it matches parser.ErrMalformed, or
	// repeat.ErrOther because its id is that of a different message, and for now otherwise.
	Publish func(ctx context.Context, room, id string, message json.RawMessage) error
	Log     *slog.Logger
}

func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch key := r.Header.Get("Authorization"); {
	case key == "":
		unauthorized(w, "no API key: send it in the Authorization header")
		return
	case !p.Authorized(key):
		unauthorized(w, "wrong API key")
		return
	}
	body, status, err := readBody(w, r)
	if err != nil {
		writeText(w, status, err.Error())
		return
	}
	room, message, err := parsePublication(body, time.Now())
	if err != nil {
		writeText(w, http.StatusBadRequest, err.Error())
		return
	}
	id, err := idempotencyKey(r.Header)
	if err != nil {
		writeText(w, http.StatusBadRequest, err.Error())
		return
	}
	switch err := p.Publish(r.Context(), room, id, message); {
	case errors.Is(err, parser.ErrMalformed): // though it is JSON
		writeText(w, http.StatusBadRequest, "payload is nested too deep")
		return
	case errors.Is(err, repeat.ErrOther):
		writeText(w, http.StatusUnprocessableEntity, "the Idempotency-Key is already that of another message; this one was not published")
		return
	case err != nil:
		p.Log.Warn("message not published", "error", err)
		w.Header().Set("Retry-After", retrySeconds)
		writeText(w, http.StatusServiceUnavailable, "the message could not be published; try again")
		return
	}
	writeText(w, http.StatusCreated, "ok")
}

// maxKeyBytes is the longest Idempotency-Key.
const maxKeyBytes = 255

// idempotencyKey returns the name that the publisher gave to its message, so that it may send it again after an error
// or no answer at all. Without the header it is empty.
func idempotencyKey(header http.Header) (string, error) {
	keys := header.Values("Idempotency-Key")
	switch {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1:
		return "", errors.New("more than one Idempotency-Key")
	case keys[0] == "" || len(keys[0]) > maxKeyBytes:
		return "", fmt.Errorf("the Idempotency-Key is empty or longer than %d bytes", maxKeyBytes)
	}
	return keys[0], nil
}

func unauthorized(w http.ResponseWriter, text string) {
	w.Header().Set("WWW-Authenticate", `ApiKey realm="twine"`)
	writeText(w, http.StatusUnauthorized, text)
}

// readBody returns the whole body, or the status that says why not.
func readBody(w http.ResponseWriter, r *http.Request) (body []byte, status int, err error) {
	tooLarge := fmt.Errorf("the body is larger than %d bytes", MaxBodyBytes)
	if r.ContentLength > MaxBodyBytes {
		return nil, http.StatusRequestEntityTooLarge, tooLarge
	}
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	if limit := (*http.MaxBytesError)(nil); errors.As(err, &limit) {
		return nil, http.StatusRequestEntityTooLarge, tooLarge
	}
	if err != nil {
		return nil, http.StatusBadRequest, errors.New("the body ended early")
	}
	return body, 0, nil
}

// parsePublication takes a request's body apart: {"room_id": "...", "payload": {...}}. Other keys are ignored. The
// message that it returns is the payload, member by member as it came, with the room and the time set.
func parsePublication(body []byte, now time.Time) (room string, message json.RawMessage, err error) {
	if !utf8.Valid(body) {
		return "", nil, errors.New("the body is not valid UTF-8")
	}
	var fields map[string]json.RawMessage // a struct would also take Room_ID and the like
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			return "", nil, fmt.Errorf("the body is not valid JSON: %v, near byte %d", err, syntax.Offset)
		}
		return "", nil, errors.New("the body is not a JSON object")
	}
	if room, err = parseRoom(fields["room_id"]); err != nil {
		return "", nil, err
	}
	message, err = Stamp(fields["payload"], room, now)
	return room, message, err
}

func parseRoom(raw json.RawMessage) (room string, err error) {
	switch {
	case raw == nil:
		return "", errors.New("room_id is missing")
	case raw[0] != '"':
		return "", errors.New("room_id is not a string")
	}
	if err := json.Unmarshal(raw, &room); err != nil {
		return "", errors.New("room_id is not a string")
	}
	if err := validRoom(room); err != nil {
		return "", fmt.Errorf("room_id %w", err)
	}
	return room, nil
}

// validRoom's error says what is wrong with the room, and goes on after its name.
func validRoom(room string) error {
	switch {
	case room == "":
		return errors.New("is empty")
	case len(room) > MaxRoomBytes:
		return fmt.Errorf("is longer than %d bytes", MaxRoomBytes)
	}
	return nil
}
