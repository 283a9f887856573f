package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
)

// brokenLog is a log whose storage has failed.
type brokenLog struct{ recovery.Log }

func (brokenLog) Append(context.Context, string, []recovery.Entry) error {
	return fmt.Errorf("append: %w", recovery.ErrBroken)
}

func TestWatchedLog(t *testing.T) {
	broken := make(chan struct{})
	log := &watchedLog{Log: memory.NewLog(memory.LogOptions{}), broken: broken}
	if err := log.Append(t.Context(), "/", []recovery.Entry{{Offset: recovery.Offset{MS: 1}}}); !errors.Is(err, recovery.ErrOrder) {
		t.Errorf("got %v", err)
	}
	select {
	case <-broken:
		t.Error("an entry out of order passes for a failure of storage")
	default:
	}
	log.Log = brokenLog{log.Log}
	for range 2 {
		if err := log.Append(t.Context(), "/", nil); !errors.Is(err, recovery.ErrBroken) {
			t.Errorf("got %v", err)
		}
	}
	<-broken
}
