package twine

import (
	"context"

	"github.com/twine-realtime/twine/recovery"
)

// History reads the log of the namespace, see recovery.Log's Read: events that were emitted or published to the query's
// rooms or to everyone. Without recovery it returns [ErrNoRecovery].
func (ns *Namespace) History(ctx context.Context, q recovery.Query) (recovery.Page, error) {
	if ns.history == nil {
		return recovery.Page{}, ErrNoRecovery
	}
	return ns.history.reader.Read(ctx, ns.name, q)
}

// HistoryStart returns the offset after which the namespace's log is complete. Without recovery it returns
// [ErrNoRecovery].
func (ns *Namespace) HistoryStart(ctx context.Context) (recovery.Offset, error) {
	if ns.history == nil {
		return recovery.Offset{}, ErrNoRecovery
	}
	return ns.history.reader.Start(ctx, ns.name)
}

// Enqueue is [BroadcastOperator.Publish] without waiting for the outcome, which is that of the result's Wait. Events that
// one goroutine enqueues keep their order. It fails with recovery.ErrFull when too many wait.
func (b BroadcastOperator) Enqueue(id, event string, args ...any) (*recovery.Pending, error) {
	if b.ns.history == nil {
		return nil, ErrNoRecovery
	}
	p, err := eventPacket(b.ns.name, event, args)
	if err != nil {
		return nil, err
	}
	e, err := b.ns.history.entryOf(p, b.opts, id)
	if err != nil {
		return nil, err
	}
	return b.ns.history.sequencer.Append(e)
}
