package recovery

import (
	"context"
	"errors"
)

// Pending is an entry on its way into a log. Its methods may be called
// concurrently.
type Pending interface {
	// Done is closed when the outcome is known.
	Done() <-chan struct{}
	// Wait waits for the outcome. The results are those of Sequencer.Publish.
	Wait(ctx context.Context) (offset Offset, dup bool, err error)
}

// SharedLog is a log that all servers of a cluster append to, such as
// redislog.Stream. Its methods may be called concurrently.
type SharedLog interface {
	// Join begins to hand out a namespace's entries to this server, from now on.
	// A namespace has one SharedSequencer at a time. If it fails it may be called
	// again.
	Join(ctx context.Context, opts SharedOptions) (SharedSequencer, error)
}

// SharedOptions describe a SharedSequencer. Namespace, Deliver and Gap are
// required.
type SharedOptions struct {
	Namespace string

	// Hot gets every entry right before it is handed out; nil: none. It makes
	// reads of what this server has seen cheap. It is not closed. One that has the
	// method Adopt of memory.Log spares a copy.
	Hot HotLog

	// Deliver hands entries out to local sockets. It is called with ascending
	// entries, from one goroutine at a time, and never for an entry twice. It
	// must not block, nor call the SharedSequencer. The slice may not be kept;
	// what its entries refer to may, and must not be modified.
	Deliver func(entries []Entry)

	// Gap says that entries were lost to this server: those between From and To.
	// The connections of all clients of the namespace have to be closed before
	// it returns, so that nothing that is delivered later reaches them: what
	// they have received so far is their position, and with it they can be
	// restored, or are told what they missed. It is called from the goroutine
	// of Deliver, under the same rules.
	Gap func(gap *GapError)

	// Moved says that everything up to an offset was handed out, also when the
	// entries were other namespaces'. Nil: nobody wants to know. It is called
	// from the goroutine of Deliver, under the same rules.
	Moved func(to Offset)
}

// SharedSequencer is one server's end of a namespace in a SharedLog. It does what
// a Sequencer does for a server that stands alone, and has its methods; that other
// servers' entries come in between is all the difference. It also reads the
// history. A Read after a position that this server has not reached yet, because
// the client was connected to another one, waits until it has.
type SharedSequencer interface {
	Reader
	Publish(ctx context.Context, e Entry) (offset Offset, dup bool, err error)
	Append(e Entry) (Pending, error)
	Fence(f func(fence Offset))
	Handed() Offset
	Close(ctx context.Context) error
}

var (
	// ErrNoPeer means that a server is not there any more, as far as the others know.
	ErrNoPeer = errors.New("no such server in the cluster")
	// ErrSilent means that a server does not listen at the moment. It has crashed,
	// which it takes a while to be sure of, or is about to be back.
	ErrSilent = errors.New("server does not listen")
)

// Peers are the servers that share a Sessions, such as redislog.Peers. Its methods
// may be called concurrently.
type Peers interface {
	// Name is that of this server. No other ever has the same. It has no "-" in it.
	Name() string
	// Serve has requests of other servers answered by f, each on a goroutine of its
	// own, until the function that it returns is called; that waits for those
	// under way. ctx ends when nobody waits for the answer any more.
	Serve(f func(ctx context.Context, request []byte) (answer []byte)) (stop func())
	// Ask sends a request to another server and waits for its answer. ErrNoPeer
	// says that it is gone, ErrSilent that asking again a little later will tell;
	// other errors, that it may or may not have been asked.
	Ask(ctx context.Context, name string, request []byte) (answer []byte, err error)
}
