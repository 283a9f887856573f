package recovery

import (
	"context"
	"errors"
	"fmt"
)

// What a Log, a Sequencer or a Tiered answers when it cannot do what it was
// asked. Match with errors.Is: the errors that come back say more.
var (
	// ErrGap means that the history after a position is not complete any more,
	// so that a replay from there would hide a hole. It comes as a *GapError.
	ErrGap = errors.New("history is incomplete")
	// ErrFuture means a position after the newest entry: forged, or given out
	// by a log that has since lost its end.
	ErrFuture = errors.New("position is in the future")
	// ErrOrder means that entries to append are not in ascending order, or not
	// after the newest one. Nothing was appended.
	ErrOrder = errors.New("entries are out of order")
	// ErrFull means that a bound was reached: of the storage, or of a queue. It
	// is worth trying again later.
	ErrFull = errors.New("full")
	// ErrNotDurable means that an entry could not be promised to outlive a
	// crash. Publishing it again with the same ID is safe and delivers it once.
	ErrNotDurable = errors.New("not durable")
	// ErrBroken means that the storage failed in a way that makes its own state
	// doubtful. The log has to be closed and opened again.
	ErrBroken = errors.New("storage failed")
	// ErrClosed means that the log, sessions or sequencer was closed.
	ErrClosed = errors.New("closed")
)

// GapError says which stretch of history is missing: entries in (From, To] may
// be lost to the reader. It matches ErrGap and whatever Cause matches.
type GapError struct {
	Namespace string
	From, To  Offset
	Cause     error // nil: the entries expired, or the tier was lost and begun anew
}

func (e *GapError) Error() string {
	s := fmt.Sprintf("%v between %v and %v in namespace %q", ErrGap, e.From, e.To, e.Namespace)
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Is makes every GapError match ErrGap.
func (e *GapError) Is(target error) bool { return target == ErrGap }

func (e *GapError) Unwrap() error { return e.Cause }

// How much a page holds when its Query does not say.
const (
	DefaultPageEntries = 1000
	DefaultPageBytes   = 1 << 20
)

// Query asks for the entries with After < offset <= Through that are addressed
// to any of Rooms, or to everyone.
type Query struct {
	After   Offset
	Through Offset   // zero: up to the newest
	Rooms   []string // none: only what is addressed to everyone
	Limit   int      // at most so many entries a page; zero: DefaultPageEntries
	// MaxBytes bounds the page in terms of Entry.Size; zero: DefaultPageBytes.
	// A page holds one entry at least if there is one, whatever its size.
	MaxBytes int
}

// Bounds returns the query's bounds with the defaults put in.
func (q *Query) Bounds() (through Offset, entries, bytes int) {
	through, entries, bytes = q.Through, q.Limit, q.MaxBytes
	if through.IsZero() {
		through = MaxOffset
	}
	if entries <= 0 {
		entries = DefaultPageEntries
	}
	if bytes <= 0 {
		bytes = DefaultPageBytes
	}
	return through, entries, bytes
}

// Page is the answer to a Query.
type Page struct {
	Entries []Entry // ascending, each once
	// Next is how far the answer is complete: every entry asked for in
	// (After, Next] is in this page. To read on, ask again with After = Next.
	Next Offset
	// More says that there may be more after Next, within what was asked for.
	// Without it, Next is Through, or the log's newest offset if that is less.
	More bool
}

// Log holds the entries of any number of namespaces, each in its own ascending
// order. Its methods may be called concurrently; each call is atomic.
//
// For each namespace a log knows two offsets, Start <= Last: it is complete for
// what lies between, and says so when asked for anything else. A log that
// begins empty, for the first time or because its storage was lost, sets both
// to the current time: what may have been before is a gap, not silence.
//
// The suite in package recoverytest says the same in executable form; every
// implementation has to pass it.
type Log interface {
	// Append adds entries to a namespace, all or none. Their offsets must be
	// ascending and after Last (ErrOrder). When it returns nil they are as
	// durable as this tier makes them.
	//
	// After an error the entries may nevertheless be there. To find out, ask
	// Last: it is at or past the last of them if and only if they are, and
	// what it says is final.
	Append(ctx context.Context, ns string, entries []Entry) error

	// Read returns one page of a query. Its errors match ErrGap if After is
	// before Start, or if stored entries in the range cannot be read back, and
	// ErrFuture if After is after Last.
	Read(ctx context.Context, ns string, q Query) (Page, error)

	// Start is the offset after which the namespace's history is complete.
	Start(ctx context.Context, ns string) (Offset, error)

	// Last is the newest appended offset; it does not go back when entries
	// expire, nor, in a durable tier, when the process restarts.
	Last(ctx context.Context, ns string) (Offset, error)

	// Lookup finds entries of a namespace by their ID. The result has those ids
	// that are known; an ID is known at least until its entry may be forgotten.
	Lookup(ctx context.Context, ns string, ids []string) (map[string]Offset, error)

	// Trim allows the log to forget entries with offsets before the given one,
	// in all namespaces. It may keep more than it has to. Start moves to the
	// newest entry of a namespace that was forgotten, and no further: a
	// namespace that loses nothing stays complete.
	Trim(ctx context.Context, before Offset) error

	// Close ends the log's goroutines and lets its storage go. Calls that come
	// later fail with ErrClosed.
	Close() error
}

// HotLog is a tier that holds recent entries only, and follows a deeper one.
type HotLog interface {
	Log

	// Begin says that the namespace's next entry follows at, up to which the
	// deeper tier is complete. A log that has never been told, nor been appended
	// to, takes at for its Start and Last, whenever it was made. One whose Last
	// is before at has missed entries: it forgets what it has and does the same.
	// Otherwise nothing happens.
	Begin(ctx context.Context, ns string, at Offset) error
}
