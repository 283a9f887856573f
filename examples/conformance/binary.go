package main

import (
	"context"
	"errors"

	"github.com/twine-realtime/twine/twine"
)

var errNotExpected = errors.New("not what the suite sends")

// handleBinary answers the events with which a client tests that binary values arrive as such.
func handleBinary(on handlerOf) {
	// What arrived of a series, so that its last event is answered only if the others came before it.
	type series struct{ abuff1, blob1, blob2 bool }
	seriesOf := func(s *twine.Socket) *series {
		got, ok := s.Data().(*series)
		if !ok {
			got = new(series)
			s.SetData(got)
		}
		return got
	}

	emit := func(event string, binary []byte) func(context.Context, *twine.Socket, *twine.Event) error {
		return func(_ context.Context, s *twine.Socket, _ *twine.Event) error { return s.Emit(event, binary) }
	}
	on("doge", emit("doge", []byte("asdfasdf")))
	on("getbin", emit("takebin", []byte("asdfasdf")))

	// answer emits an event if the one that came is what the suite sends.
	answer := func(event string, expected func(got *series, e *twine.Event) bool) func(context.Context, *twine.Socket, *twine.Event) error {
		return func(_ context.Context, s *twine.Socket, e *twine.Event) error {
			if !expected(seriesOf(s), e) {
				return errNotExpected
			}
			return s.Emit(event)
		}
	}
	isBinary := func(_ *series, e *twine.Event) bool { return isBytes(e, 0) }
	isMixed := func(_ *series, e *twine.Event) bool {
		var arg any
		if e.Bind(0, &arg) != nil {
			return false
		}
		object, _ := arg.(map[string]any)
		_, binary := object["message"].([]byte)
		return binary && object["hello"] == "lol" && object["goodbye"] == "gotcha"
	}
	on("buffa", answer("buffack", isBinary))
	on("blob", answer("back", isBinary))
	on("jsonbuff", answer("jsonbuff-ack", isMixed))
	on("jsonblob", answer("jsonblob-ack", isMixed))

	note := func(expected func(got *series, e *twine.Event) bool) func(context.Context, *twine.Socket, *twine.Event) error {
		return func(_ context.Context, s *twine.Socket, e *twine.Event) error {
			if !expected(seriesOf(s), e) {
				return errNotExpected
			}
			return nil
		}
	}
	on("abuff1", note(func(got *series, e *twine.Event) bool {
		got.abuff1 = isBytes(e, 0)
		return got.abuff1
	}))
	on("abuff2", answer("abuff2-ack", func(got *series, _ *twine.Event) bool { return got.abuff1 }))
	on("blob1", note(func(got *series, e *twine.Event) bool {
		got.blob1 = isBytes(e, 0)
		return got.blob1
	}))
	on("blob2", note(func(got *series, e *twine.Event) bool {
		var text string
		got.blob2 = got.blob1 && e.Bind(0, &text) == nil && text == "second"
		return got.blob2
	}))
	on("blob3", answer("blob3-ack", func(got *series, e *twine.Event) bool { return got.blob2 && isBytes(e, 0) }))
}

// isBytes tells whether an argument is a binary value.
func isBytes(e *twine.Event, i int) bool {
	var arg any
	if e.Bind(i, &arg) != nil {
		return false
	}
	_, ok := arg.([]byte)
	return ok
}
