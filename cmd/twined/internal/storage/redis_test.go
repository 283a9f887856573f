package storage

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
)

// fragile is an archive that can be out of reach.
type fragile struct {
	recovery.Log
	down atomic.Bool
}

func (f *fragile) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	if f.down.Load() {
		return errors.New("out of reach")
	}
	return f.Log.Append(ctx, ns, entries)
}

func (f *fragile) Last(ctx context.Context, ns string) (recovery.Offset, error) {
	if f.down.Load() {
		return recovery.Offset{}, errors.New("out of reach")
	}
	return f.Log.Last(ctx, ns)
}

// Nobody is sent to a node that is not ready, so it has to find out by itself that it could be.
func TestArchiveThatIsBackIsNoticed(t *testing.T) {
	f := &fragile{Log: memory.NewLog(memory.LogOptions{})}
	a := watch(f)
	if reason := a.unready(); reason != "" {
		t.Errorf("at first: %s", reason)
	}
	f.down.Store(true)
	if err := a.Append(t.Context(), "/", nil); err == nil {
		t.Fatal("it is not down")
	}
	for range 3 {
		if a.unready() == "" {
			t.Error("ready while it is down")
		}
	}
	f.down.Store(false)
	deadline := time.After(time.Minute)
	for a.unready() != "" {
		select {
		case <-deadline:
			t.Fatal("not noticed that it is back")
		case <-time.After(time.Millisecond):
		}
	}
	// Once it is stopped nothing is asked any more.
	if err := a.stop(t.Context()); err != nil {
		t.Error(err)
	}
	a.failing.Store(true)
	for range 3 {
		if a.unready() == "" {
			t.Error("ready after the end")
		}
	}
	if !a.failing.Load() {
		t.Error("it was asked after the end")
	}
}
