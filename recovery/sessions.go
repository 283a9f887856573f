package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// What Sessions answers when a session is not to be had.
var (
	ErrUnknownSession = errors.New("unknown session")
	ErrExpired        = errors.New("session expired")
	ErrSuperseded     = errors.New("session was claimed by another connection")
	ErrSessionExists  = errors.New("session exists")
)

// DefaultHold is how long a session that is held, but neither stored nor
// released, is kept: its process must have died. Whoever holds a session has to
// store it more often than that.
const DefaultHold = 48 * time.Hour

// State is what outlives a connection: who the client was to the application,
// and how far it had read.
type State struct {
	PID       string // private id: whoever knows it may claim the session
	SID       string // public id of the socket
	Namespace string
	Rooms     []string        // rooms the socket was in
	Data      json.RawMessage `json:",omitempty"` // the application's data; nil: none
	Position  Offset          // everything up to here was received
	TwineID   string          // identity of the browser, over all its tabs; empty: none

	// Set by Sessions; ignored in what is stored.

	Owner        string    // token of the connection that holds it; empty once it was released
	Disconnected time.Time // when it was released; zero while it is held
	Expires      time.Time // when it will be forgotten
}

// Sessions keeps the state of connections and says whose it is.
//
// A session has one owner at a time, known by a token that its connection made
// up: any string but the empty one, never used twice. Claim makes the caller the owner,
// whoever was before; from then on everything the former owner tries fails with
// ErrSuperseded. So a half-open old connection can never overwrite what its
// successor stored, however late its packets are.
//
// Claim changes nothing but the owner. The state remains as it was until the new
// owner stores its own, so a connection that is cut while it is being restored
// can be restored again, from the same position.
//
// Times to live are in wall clock time. Methods may be called concurrently; each
// is atomic. Implementations have to pass the suite in package recoverytest.
type Sessions interface {
	// Create stores a new session, owned by token. ErrSessionExists if the PID
	// is taken.
	Create(ctx context.Context, st State, token string) error

	// Store replaces the state of a session. ErrSuperseded unless token is its
	// owner's (a released session has none), ErrUnknownSession if there is none.
	Store(ctx context.Context, st State, token string) error

	// Claim makes token the owner, and returns the stored state (Disconnected is
	// when it was released, if it was) and the token of the connection that
	// held the session until now (empty: none did).
	// ErrUnknownSession, or ErrExpired for one that is past its time and not
	// yet forgotten.
	Claim(ctx context.Context, pid, token string) (st State, previous string, err error)

	// Release stores the state and lets the session go; it is forgotten ttl
	// from now unless it is claimed. The errors are Store's.
	Release(ctx context.Context, st State, token string, ttl time.Duration) error

	// Delete forgets a session. ErrSuperseded unless token is that of the newest
	// claim, released or not; nil if there is no such session.
	Delete(ctx context.Context, pid, token string) error

	// ByTwineID returns the sessions of one browser that have not expired, held
	// or not, the most recently released first and the held ones before them.
	// None for an empty id.
	ByTwineID(ctx context.Context, twineID string) ([]State, error)

	// Expire forgets what expired before now. What is past its time counts as
	// expired in any case; this makes room.
	Expire(ctx context.Context, now time.Time) error

	// Close lets the storage go. Calls that come later fail with ErrClosed.
	Close() error
}

// SortStates puts states into the order of ByTwineID.
func SortStates(states []State) {
	slices.SortFunc(states, func(a, b State) int {
		if a.Disconnected.IsZero() != b.Disconnected.IsZero() {
			if a.Disconnected.IsZero() {
				return -1
			}
			return 1
		}
		return cmp.Or(b.Disconnected.Compare(a.Disconnected), cmp.Compare(a.PID, b.PID))
	})
}
