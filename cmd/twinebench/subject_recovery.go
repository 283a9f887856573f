package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/twine"
)

// recoverySubject is the library with connection state recovery over the disk tier, set up as the daemon does it: what is
// accepted is on the disk, sessions too, and a client may come back before it has received anything.
type recoverySubject struct {
	*twineSubject
	store *disk.Store
}

// publishTimeout is how long an event may take to become durable.
const publishTimeout = 30 * time.Second

func newRecoverySubject(dir string) (*recoverySubject, error) {
	if dir == "" {
		return nil, errors.New("recovery needs a data folder")
	}
	store, err := disk.Open(filepath.Join(dir, "twine.db"), disk.Options{})
	if err != nil {
		return nil, err
	}
	options := &twine.Options{Recovery: &twine.Recovery{
		Log:              store.Log(),
		Sessions:         store.Sessions(),
		MaxDisconnection: 24 * time.Hour,
		MaxReplay:        1_000_000, // more than is ever missed here
		ResumeIdle:       true,
	}}
	return &recoverySubject{newTwineSubject(options), store}, nil
}

func (r *recoverySubject) emit(payload string, last bool) error {
	to := r.To(room)
	if !last {
		if err := to.Emit("m", payload); !errors.Is(err, recovery.ErrFull) {
			return err
		}
	}
	return publish(to, "m", payload)
}

// publish waits until the event is durable, and for room in the log's queue before that.
func publish(to twine.BroadcastOperator, event, payload string) error {
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	_, err := to.Publish(ctx, "", event, payload)
	return err
}

// publish publishes message n to a room that nobody is in.
func (r *recoverySubject) publish(n int, text string) error {
	return publish(r.To(publishRoom(n)), "message", text)
}

// publishRooms is how many rooms publishers address in turn.
const publishRooms = 1000

func publishRoom(n int) string { return fmt.Sprintf("room-%d", n%publishRooms) }
