package twine_test

import (
	"errors"
	"testing"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine"
)

// TestMissed reads what a client with a position of its own has missed.
func TestMissed(t *testing.T) {
	srv := twine.NewServer(&twine.Options{Recovery: &twine.Recovery{MaxReplay: 3}})
	defer srv.Close(t.Context())
	ns := srv.Of("/")
	start, err := ns.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publish := func(room string) recovery.Offset {
		t.Helper()
		published, err := srv.To(room).Publish(t.Context(), "", "message", 1)
		if err != nil {
			t.Fatal(err)
		}
		return published.Offset
	}
	for range 3 {
		publish("r")
	}
	last := publish("other")
	if at, err := ns.Position(t.Context()); err != nil || at != last {
		t.Errorf("the position is %v, %v, want %v", at, err, last)
	}
	query := recovery.Query{After: start, Through: last, Rooms: []string{"r"}, Limit: 2}
	page, err := ns.Missed(t.Context(), query)
	if err != nil || len(page.Entries) != 2 || !page.More {
		t.Fatalf("the first page is %+v, %v", page, err)
	}
	query.After = page.Next
	if page, err = ns.History(t.Context(), query); err != nil || len(page.Entries) != 1 || page.More {
		t.Errorf("the second page is %+v, %v", page, err)
	}

	query.After, query.Rooms = start, []string{"r", "other"}
	gap := (*recovery.GapError)(nil)
	if page, err := ns.Missed(t.Context(), query); !errors.As(err, &gap) || !errors.Is(err, twine.ErrMaxReplay) || gap.From != start || gap.To != last {
		t.Errorf("one too many: %+v, %v", page, err)
	}
	query.After = recovery.Offset{MS: 1}
	if _, err := ns.Missed(t.Context(), query); !errors.Is(err, recovery.ErrGap) || errors.Is(err, twine.ErrMaxReplay) {
		t.Errorf("before the log: %v", err)
	}
	query.After, query.Through = recovery.MaxOffset, recovery.MaxOffset
	if _, err := ns.Missed(t.Context(), query); !errors.Is(err, recovery.ErrGap) || !errors.Is(err, recovery.ErrFuture) {
		t.Errorf("after the log: %v", err)
	}
}

func TestMissedWithoutRecovery(t *testing.T) {
	srv := twine.NewServer(nil)
	defer srv.Close(t.Context())
	if _, err := srv.Of("/").Position(t.Context()); !errors.Is(err, twine.ErrNoRecovery) {
		t.Errorf("the position: %v", err)
	}
	if _, err := srv.Of("/").Missed(t.Context(), recovery.Query{}); !errors.Is(err, twine.ErrNoRecovery) {
		t.Errorf("what was missed: %v", err)
	}
}
