package twine

import (
	"crypto/rand"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine/engineio"
)

// Recovery turns on connection state recovery: a client that was cut off gets its id, its rooms and what it missed. See
// package recovery for how, and what is promised.
//
// Every event that is emitted or broadcast then goes through the log of its namespace, except volatile ones, those that
// ask for an acknowledgement, those with Local, and what is sent with Unlogged. It carries its offset as one more
// argument, as with the reference implementation. Volatile and other unlogged events carry the current offset for the
// sake of clients, which take any string in the last place for one.
type Recovery struct {
	// Log is the durable tier. Nil means that Hot is all there is: nothing outlives the process.
	Log recovery.Log
	// Hot is the tier in memory that replays are read from first. Nil means a memory.Log of two minutes.
	Hot recovery.HotLog
	// Sessions keeps the clients' state. Nil means in memory. None of the three is closed by the server.
	Sessions recovery.Sessions

	// Durability says when Publish returns, see package recovery.
	Durability recovery.Durability
	// MaxDisconnection is how long after its disconnect a client may come back. Zero means 2 minutes.
	MaxDisconnection time.Duration
	// MaxReplay is how many events are replayed to one client at the most. One that missed more is told so: it is not
	// recovered, and gets the event "twine:gap". Zero means 1,000.
	MaxReplay int
	// ResumeIdle restores clients that come back before they have received any event too. The reference does not.
	ResumeIdle bool
	// RunMiddleware runs the namespace's middleware for restored clients too (the reference's skipMiddlewares: false).
	RunMiddleware bool

	// Identify returns an identity that a browser keeps when its page is reloaded, such as a cookie, or "" for none. A
	// client that comes without a session of its own then resumes the rooms and the position that the identity left
	// behind. Nil turns this off.
	Identify func(h *engineio.Handshake) string
	// ResumeDelay is how long the events that a resumed client missed are held back after it has connected. Some
	// clients, such as the original Twine library, look for messages only a while after they have a connection. Zero
	// means none.
	ResumeDelay time.Duration

	// Timeout bounds each call of the stores. Zero means 5 s.
	Timeout time.Duration

	// Shared, unless nil, is the log of a cluster that this server is part of, in place of Log; its own settings say when
	// an event is accepted, and Durability has no effect. Options.Adapter has to be the cluster's too, and Sessions
	// shared by its servers. The server does not close it.
	Shared recovery.SharedLog
	// Peers are the servers that share Sessions. Nil means that there is no other: who else holds a session is gone.
	Peers recovery.Peers
	// ClockSkew is how far the clocks of the servers and of the shared log may be apart. [Socket.ConfirmReceived] allows
	// for it. Zero means not at all, which is right for a server that stands alone.
	ClockSkew time.Duration
}

func (r *Recovery) withDefaults() *Recovery {
	if r == nil {
		return nil
	}
	opts := *r
	if opts.MaxDisconnection <= 0 {
		opts.MaxDisconnection = 2 * time.Minute
	}
	if opts.Hot == nil {
		opts.Hot = memory.NewLog(memory.LogOptions{Window: min(opts.MaxDisconnection, 2*time.Minute)})
	}
	if opts.Sessions == nil {
		opts.Sessions = memory.NewSessions(memory.SessionsOptions{})
	}
	if opts.MaxReplay <= 0 {
		opts.MaxReplay = 1000
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 5 * time.Second
	}
	return &opts
}

// newSecret returns a random text that nobody can guess.
func newSecret() string { return rand.Text() }
