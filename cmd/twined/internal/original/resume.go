package original

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
)

// A client that keeps its own position in each room, such as twine.js, does not depend on a session here: neither on its
// being stored nor on its being found again. It sends two events, both with an acknowledgement.
//
//	subscribe     rooms, {after, ids}
//	twine:missed  rooms, {after, through, ids}
//
// subscribe puts it into the rooms. The answer begins with {"offset": o}: later messages come by themselves.
//
// With an after, the answer also has what the rooms had in (after, o]. {"gap": {"from", "to"}} says that this is not to be
// had, and {"split": true} that it is too much for the rooms together: the client asks for fewer rooms at once. What is too
// long for one answer goes on at {"next": n}: twine:missed asks for what lies in (n, o].
//
// The messages are in "entries", [offset, number of values, rooms] each, rooms only if there are several; the values,
// which are the event's name and its arguments, follow the object as further values of the answer. So they are nested
// no deeper than in the event itself.

const (
	missedTimeout = 10 * time.Second
	missedEntries = 1000      // an answer
	missedBytes   = 256 << 10 // an answer, in terms of recovery.Entry.Size
)

// position is where a client is in rooms.
type position struct {
	After   string   `json:"after"` // it has all up to here; "": it begins now
	Through string   `json:"through"`
	IDs     []string `json:"ids"` // of its earlier sockets: what was not for those is not for it
}

// maxIDs is how many earlier ids of a client count.
const maxIDs = 16

// What a client is told that asks for the wrong thing. After any other error it has to come back.
var (
	errPosition      = errors.New(`the second argument is no position, such as {"after":"1767225600000-0"}`)
	errNotSubscribed = errors.New("not subscribed to the room")
)

// positionOf returns the second argument of an event, or nil if there is none.
func positionOf(e *twine.Event) (*position, error) {
	if e.Len() < 2 {
		return nil, nil
	}
	var p *position
	if err := e.Bind(1, &p); err != nil || p == nil || len(p.IDs) > maxIDs {
		return nil, errPosition
	}
	return p, nil
}

// offsets returns the position's two offsets. An empty one is zero.
func (p *position) offsets() (after, through recovery.Offset, err error) {
	if after, err = offsetOf(p.After); err == nil {
		through, err = offsetOf(p.Through)
	}
	return after, through, err
}

func offsetOf(text string) (recovery.Offset, error) {
	if text == "" {
		return recovery.Offset{}, nil
	}
	offset, err := recovery.ParseOffset(text)
	if err != nil {
		return recovery.Offset{}, errPosition
	}
	return offset, nil
}

// answer is the acknowledgement of a client with a position.
type answer struct {
	offset recovery.Offset // zero: the client knows
	gap    *recovery.GapError
	split  bool // it is too much for the rooms together
	page   recovery.Page
}

// resume subscribes a client to rooms and returns what it has missed there.
func resume(ctx context.Context, s *twine.Socket, rooms []string, p *position) (*answer, error) {
	after, _, err := p.offsets()
	if err != nil {
		return nil, err
	}
	if err := join(s, rooms); err != nil {
		return nil, err
	}
	// After the join: what is handed out later comes by itself. What is handed out in between does, too; the client has
	// offsets to tell by.
	fence, err := s.Namespace().Position(ctx)
	if err != nil {
		return nil, err
	}
	a := &answer{offset: fence}
	if p.After == "" || after == fence {
		return a, nil
	}
	q := recovery.Query{After: after, Through: fence, Rooms: rooms, Limit: missedEntries, MaxBytes: missedBytes}
	if after.After(fence) {
		// Another server of the cluster is ahead, or the log has lost its end. Nothing has to be read, but to know which.
		a.offset, q.Through = after, after
	}
	a.page, err = s.Namespace().Missed(ctx, q)
	if errors.As(err, &a.gap) {
		a.offset, a.split = fence, errors.Is(err, twine.ErrMaxReplay) && len(rooms) > 1
		a.gap.From, a.gap.To = after, fence
		return a, nil
	}
	return a, err
}

// missed reads on for a client that has subscribed.
func missed(ctx context.Context, s *twine.Socket, rooms []string, p *position) (*answer, error) {
	after, through, err := p.offsets()
	if err != nil || p.After == "" || p.Through == "" {
		return nil, errPosition
	}
	joined := s.Rooms()
	for _, room := range rooms {
		if !slices.Contains(joined, room) {
			return nil, fmt.Errorf("%w %q", errNotSubscribed, room)
		}
	}
	a := new(answer)
	if !after.Before(through) {
		return a, nil
	}
	a.page, err = s.Namespace().History(ctx, recovery.Query{After: after, Through: through, Rooms: rooms,
		Limit: missedEntries, MaxBytes: missedBytes})
	if errors.As(err, &a.gap) {
		a.gap.From, a.gap.To = after, through
		return a, nil
	}
	return a, err
}

// values returns the values of the acknowledgement. Messages that were kept from any of except are left out.
func (a *answer) values(except []string) ([]any, error) {
	head := map[string]any{}
	if !a.offset.IsZero() {
		head["offset"] = a.offset.String()
	}
	if a.split {
		head["split"] = true
		return []any{head}, nil
	}
	if a.gap != nil {
		head["gap"] = map[string]any{"from": a.gap.From.String(), "to": a.gap.To.String()}
		return []any{head}, nil
	}
	values := []any{head}
	entries := []any{}
	next, more, attachments := a.page.Next, a.page.More, 0
	for i := range a.page.Entries {
		e := &a.page.Entries[i]
		if e.Excepts(except) {
			continue
		}
		if attachments += len(e.Attachments); attachments > parser.MaxAttachments {
			next, more = a.page.Entries[i-1].Offset, true // there is one: an entry alone has no more than that
			break
		}
		args, err := argsOf(e)
		if err != nil {
			return nil, fmt.Errorf("message %s of the log: %w", e.Offset, err)
		}
		entry := []any{e.Offset.String(), len(args)}
		if len(e.Rooms) > 1 {
			rooms, err := json.Marshal(e.Rooms)
			if err != nil {
				return nil, err
			}
			entry = append(entry, json.RawMessage(rooms))
		}
		entries = append(entries, entry)
		values = append(values, args...)
	}
	if len(entries) > 0 {
		head["entries"] = entries
	}
	if more {
		head["next"] = next.String()
	}
	return values, nil
}

// argsOf returns an entry's event name and arguments.
func argsOf(e *recovery.Entry) ([]any, error) {
	raw, err := parser.SplitArgs(e.Data)
	if err != nil {
		return nil, err
	}
	args := make([]any, len(raw))
	for i, arg := range raw {
		if len(e.Attachments) == 0 {
			args[i] = json.RawMessage(arg)
			continue
		}
		// They get other numbers.
		if err := parser.DecodeArg(arg, e.Attachments, &args[i]); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// resumeEvent answers an event of a client with a position.
func resumeEvent(ctx context.Context, log *slog.Logger, s *twine.Socket, e *twine.Event, rooms []string, p *position,
	do func(context.Context, *twine.Socket, []string, *position) (*answer, error)) {
	ctx, cancel := context.WithTimeout(ctx, missedTimeout)
	defer cancel()
	a, err := do(ctx, s, rooms, p)
	if errors.Is(err, errPosition) || errors.Is(err, errNotSubscribed) || errors.Is(err, errTooManyRooms) {
		acknowledge(e, err)
		return
	}
	var values []any
	if err == nil {
		values, err = a.values(append(s.Rooms(), p.IDs...))
	}
	if err == nil && e.WantsAck() {
		err = e.Ack(values...)
	}
	if err != nil && !errors.Is(err, twine.ErrDisconnected) {
		log.Warn("the history is not to be had, the client has to come back", "socket", s.ID(), "error", err)
		s.Conn().Close(engineio.ReasonTransportClose)
	}
}
