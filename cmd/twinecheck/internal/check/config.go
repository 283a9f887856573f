// Package check puts a server under fault: publishers publish, clients subscribe, connections are cut and the server is
// killed, and in the end every message is accounted for.
package check

import (
	"errors"
	"time"

	"github.com/twine-realtime/twine/cmd/twinecheck/internal/faults"
)

// Config says what happens in a run. Times are measured from its start.
type Config struct {
	Clients        int
	Rooms          int
	RoomsPerClient int
	Publishers     int
	// Rate is how many messages a second all publishers together try to publish. What the server does not take in time
	// is not made up for.
	Rate float64
	// Duration is for how long messages are published.
	Duration time.Duration
	// Padding is the size of the filler that each message carries, in bytes.
	Padding int

	// Cuts is how many client connections to break.
	Cuts int
	// CutKinds are the ways to break them, of which each is as likely as the others. Empty means all.
	CutKinds []faults.Kind
	// Kills is how many times to end the server and start it again, in turn with SIGKILL and SIGTERM.
	Kills int
	// FailOver has the target's store fail over once, in the middle.
	FailOver bool
	// Down is how long a server stays away, give or take all of it.
	Down time.Duration
	// Silence is how long a connection that was made silent stays so before it is reset, give or take half.
	Silence time.Duration
	// Backoff is the mean delay before a client's first attempt to reconnect. Stock clients have one second.
	Backoff time.Duration

	// PublishTimeout bounds one attempt to publish.
	PublishTimeout time.Duration
	// Quiet is how long nothing has to happen at the end before the run is judged.
	Quiet time.Duration
	// Settle bounds how long after Duration the run is judged whatever happens.
	Settle time.Duration

	// Seed makes the choices of two runs the same: who subscribes to what, what is published where, which cuts happen
	// when. What they hit depends on the machine.
	Seed uint64
	// Progress, if set, is called about every ProgressInterval.
	Progress func(Progress)
}

// Progress is how far a run has come.
type Progress struct {
	Elapsed    time.Duration
	Deliveries int
	Cuts       int
	Kills      int
}

func (c *Config) validate() error {
	switch {
	case c.Clients < 1 || c.Rooms < 1 || c.Publishers < 1 || c.RoomsPerClient < 1:
		return errors.New("at least one client, room, room per client and publisher is needed")
	case c.Rooms > 65_000 || c.Publishers > 65_000:
		return errors.New("there may be at most 65,000 rooms and as many publishers")
	case c.Rate <= 0 || c.Duration <= 0:
		return errors.New("rate and duration must be positive")
	case c.Cuts < 0 || c.Kills < 0 || c.Padding < 0 || c.Down < 0:
		return errors.New("cuts, kills, padding and down must not be negative")
	case c.Silence <= 0 || c.Backoff <= 0 || c.PublishTimeout <= 0 || c.Quiet <= 0 || c.Settle <= 0:
		return errors.New("silence, backoff, publish timeout, quiet and settle must be positive")
	}
	return nil
}
