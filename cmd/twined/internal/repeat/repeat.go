// Package repeat tells a message that was published again from another one that has got the same id by mistake.
package repeat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"

	"github.com/twine-realtime/twine/recovery"
)

// ErrOther means that an id is already that of another message, which was sent. This one was not.
var ErrOther = errors.New("the id is already that of another message")

// Message is what a publisher has sent.
type Message struct {
	Rooms, Except []string // their order and repetitions mean nothing
	Data          []byte   // the event, as in recovery.Entry
}

// Check looks up the message that has the same id, which is at the given offset, and returns ErrOther if it is not m.
// same compares the data of two messages; nil means SameJSON. A message that has left the history already can't be
// compared any more and passes for the same. Any other error says that the history can't be read now.
func Check(ctx context.Context, history recovery.Reader, namespace string, at recovery.Offset, m Message,
	same func(a, b []byte) bool) error {
	if same == nil {
		same = SameJSON
	}
	page, err := history.Read(ctx, namespace, recovery.Query{After: before(at), Through: at, Rooms: m.Rooms, Limit: 1, MaxBytes: 1})
	switch {
	case errors.Is(err, recovery.ErrGap):
		return nil
	case err != nil:
		return fmt.Errorf("failed to look up a message's first edition: %w", err)
	case len(page.Entries) == 0:
		return ErrOther // it is in none of the rooms
	}
	first := &page.Entries[0]
	if !sameSet(first.Rooms, m.Rooms) || !sameSet(first.Except, m.Except) || len(first.Attachments) > 0 || !same(first.Data, m.Data) {
		return ErrOther
	}
	return nil
}

// before returns the offset right before o.
func before(o recovery.Offset) recovery.Offset {
	if o.Seq > 0 {
		return recovery.Offset{MS: o.MS, Seq: o.Seq - 1}
	}
	return recovery.Offset{MS: o.MS - 1, Seq: math.MaxUint64}
}

func sameSet(a, b []string) bool {
	in := map[string]bool{}
	for _, s := range a {
		in[s] = false
	}
	for _, s := range b {
		if _, ok := in[s]; !ok {
			return false
		}
		in[s] = true
	}
	for _, both := range in {
		if !both {
			return false
		}
	}
	return true
}

// SameJSON reports whether two JSON texts mean the same: space, the order of members and the way in which characters
// are escaped do not matter, the digits of a number do.
func SameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errX := decode(a)
	y, errY := decode(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

func decode(text []byte) (v any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}
