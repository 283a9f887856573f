package twine

import (
	"context"
	"errors"

	"github.com/twine-realtime/twine/recovery"
)

// ErrMaxReplay is the cause of a gap that is due to [Recovery.MaxReplay] alone: the log has all of it.
var ErrMaxReplay = errTooMany

// Position returns the offset of the newest event of the log that was handed out to the namespace's sockets on this
// server. A socket that is in a room by now gets every later event of the room. Without recovery it returns
// [ErrNoRecovery].
func (ns *Namespace) Position(ctx context.Context) (recovery.Offset, error) {
	h, err := ns.openLog(ctx)
	if err != nil {
		return recovery.Offset{}, err
	}
	return h.sequencer.Handed(), nil
}

// Missed returns the first page of what a client has missed that keeps its own position, which is the query's After;
// History reads on from the page's Next. It is for clients that have no session to come back to: one joins its rooms,
// asks for the [Namespace.Position] of then, and has missed what lies between its own and that.
//
// If the log does not have all of it any more, or it is more than [Recovery.MaxReplay] events ([ErrMaxReplay]), the error is
// a *recovery.GapError, as it is for a position that this log has never reached.
func (ns *Namespace) Missed(ctx context.Context, q recovery.Query) (recovery.Page, error) {
	h, err := ns.openLog(ctx)
	if err != nil {
		return recovery.Page{}, err
	}
	gap := recovery.GapError{Namespace: ns.name, From: q.After, To: q.Through}
	first, err := h.reader.Read(ctx, ns.name, q)
	if errors.Is(err, recovery.ErrFuture) {
		gap.Cause = err
		return recovery.Page{}, &gap
	}
	n := len(first.Entries)
	for page := first; err == nil && page.More && n <= h.opts.MaxReplay; n += len(page.Entries) {
		q.After = page.Next
		page, err = h.reader.Read(ctx, ns.name, q)
	}
	if err != nil {
		return recovery.Page{}, err
	}
	if n > h.opts.MaxReplay {
		gap.Cause = ErrMaxReplay
		return recovery.Page{}, &gap
	}
	return first, nil
}
