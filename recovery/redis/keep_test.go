package redislog

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
)

// notAdopting is a hot log that keeps what it is given.
type notAdopting struct{ recovery.HotLog }

// What is handed out stays when the reply that it came in is overwritten by the next one, whatever becomes of the hot log.
func TestWhatIsKeptIsNotPartOfTheReply(t *testing.T) {
	ctx := context.Background()
	closed := memory.NewLog(memory.LogOptions{})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		hot  recovery.HotLog
		want error
	}{
		"no hot log":            {nil, nil},
		"in memory":             {memory.NewLog(memory.LogOptions{}), nil},
		"of another kind":       {notAdopting{memory.NewLog(memory.LogOptions{})}, nil},
		"in memory, closed":     {closed, recovery.ErrClosed},
		"another's, and closed": {notAdopting{closed}, recovery.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			reply := []byte(`["a"]`)
			entries := []recovery.Entry{{Offset: recovery.OffsetAt(time.Now().Add(time.Minute)), Data: reply}}
			q := &Sequencer{opts: SequencerOptions{Namespace: "/", Hot: test.hot}}
			if err := q.keep(entries); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			clear(reply)
			if got := string(entries[0].Data); got != `["a"]` {
				t.Errorf("handed out: %q", got)
			}
			if test.hot == nil || test.want != nil {
				return
			}
			start, err := test.hot.Start(ctx, "/")
			if err != nil {
				t.Fatal(err)
			}
			page, err := test.hot.Read(ctx, "/", recovery.Query{After: start})
			if err != nil || len(page.Entries) != 1 || string(page.Entries[0].Data) != `["a"]` {
				t.Errorf("kept: %v, %v", page, err)
			}
		})
	}
}
