package original

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twine-realtime/twine/twine"
)

// maxRooms bounds how many rooms one client may be in, and so what it can cost.
const maxRooms = 10_000

var errTooManyRooms = fmt.Errorf("no more than %d rooms", maxRooms)

// Handle lets clients of the main namespace subscribe to rooms with the original's events. What they ask for in the
// wrong form is passed over. A client that asks for an acknowledgement gets one, with {"error": "..."} if there was one.
// Clients that keep their own positions have more to ask for, see position.
func Handle(srv *twine.Server, log *slog.Logger) {
	srv.On("subscribe", roomEvent(log, subscribe, resume))
	srv.On("twine:missed", roomEvent(log, nil, missed))
	srv.On("unsubscribe", roomEvent(log, unsubscribe, nil))
	srv.On("updateSessionTS", updateSession)
	srv.On("stateRecovery", func(_ context.Context, _ *twine.Socket, e *twine.Event) {
		acknowledge(e, nil) // what a client missed is sent without its asking
	})
}

// updateSession notes the timestamp of a message that the client has handled.
func updateSession(_ context.Context, s *twine.Socket, e *twine.Event) {
	var ms float64
	err := e.Bind(0, &ms)
	if err == nil && ms > 0 && ms < 1<<53 {
		s.ConfirmReceived(time.UnixMilli(int64(ms)))
	}
	acknowledge(e, err)
}

func join(s *twine.Socket, rooms []string) error {
	if joined := s.Rooms(); len(joined)+len(rooms) > maxRooms {
		in := make(map[string]bool, len(joined))
		for _, room := range joined {
			in[room] = true
		}
		n := len(joined)
		for _, room := range rooms {
			if !in[room] {
				n++
			}
		}
		if n > maxRooms {
			return errTooManyRooms
		}
	}
	s.Join(rooms...)
	return nil
}

func subscribe(s *twine.Socket, rooms []string) error {
	if err := join(s, rooms); err != nil {
		return err
	}
	for _, room := range rooms {
		if err := s.Unlogged().Emit("roomJoined", "You have joined room: "+room); err != nil {
			return err
		}
	}
	return nil
}

func unsubscribe(s *twine.Socket, rooms []string) error {
	s.Leave(rooms...)
	for _, room := range rooms {
		if err := s.Unlogged().Emit("roomLeft", "You have left room: "+room); err != nil {
			return err
		}
	}
	return nil
}

// roomEvent handles an event whose argument is a room, or a list of rooms as Socket.IO's own join takes it: with
// positioned, unless that is nil, if a position follows, and with plain otherwise.
func roomEvent(log *slog.Logger, plain func(*twine.Socket, []string) error,
	positioned func(context.Context, *twine.Socket, []string, *position) (*answer, error)) func(context.Context, *twine.Socket, *twine.Event) {
	return func(ctx context.Context, s *twine.Socket, e *twine.Event) {
		var p *position
		rooms, err := eventRooms(e)
		if err == nil && positioned != nil {
			p, err = positionOf(e)
		}
		switch {
		case err != nil:
		case p != nil:
			resumeEvent(ctx, log, s, e, rooms, p, positioned)
			return
		case plain == nil:
			err = errPosition
		default:
			err = plain(s, rooms)
		}
		if err != nil {
			log.Debug("event not carried out", "event", e.Name(), "socket", s.ID(), "error", err)
		}
		acknowledge(e, err)
	}
}

func eventRooms(e *twine.Event) ([]string, error) {
	var rooms []string
	var room string
	if e.Bind(0, &room) == nil {
		rooms = []string{room}
	} else if e.Bind(0, &rooms) != nil {
		return nil, errors.New("the first argument is neither a room nor a list of rooms")
	}
	for _, room := range rooms {
		if err := validRoom(room); err != nil {
			return nil, fmt.Errorf("the room %w", err)
		}
	}
	return rooms, nil
}

func acknowledge(e *twine.Event, err error) {
	switch {
	case !e.WantsAck():
	case err != nil:
		e.Ack(map[string]string{"error": err.Error()})
	default:
		e.Ack()
	}
}
