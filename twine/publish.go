package twine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/parser"
)

// broadcast sends an event on the way that is right for it.
func (ns *Namespace) broadcast(p *parser.Packet, o adapter.Options) error {
	opts := ns.server.opts.Recovery
	if opts == nil {
		return ns.adapter.Broadcast(ns.server.ctx, p, o)
	}
	h := ns.log()
	switch {
	case h == nil:
		return fmt.Errorf("%w: the log of namespace %s is not open", recovery.ErrNotDurable, ns.name)
	case o.Flags.Local:
		return h.unlogged(p, o)
	case o.Flags.Volatile || o.Flags.Unlogged:
		if opts.Shared != nil {
			return ns.adapter.Broadcast(ns.server.ctx, p, o) // it comes back by way of host.Unlogged
		}
		return h.unlogged(p, o)
	}
	return h.append(p, o)
}

// log returns the namespace's log: nil without recovery, or as long as it could not be opened.
func (ns *Namespace) log() *history { return ns.history.Load() }

// reopenEvery is how often it is tried to open a log that could not be opened.
const reopenEvery = time.Second

// openLog returns the namespace's log, and opens it if need be. Without recovery it returns [ErrNoRecovery].
func (ns *Namespace) openLog(ctx context.Context) (*history, error) {
	if h := ns.log(); h != nil {
		return h, nil
	}
	srv := ns.server
	if srv.opts.Recovery == nil {
		return nil, ErrNoRecovery
	}
	ns.opening.Lock()
	defer ns.opening.Unlock()
	if h := ns.log(); h != nil {
		return h, nil
	}
	if ns.closed {
		return nil, fmt.Errorf("log of namespace %s: %w", ns.name, recovery.ErrClosed)
	}
	if ns.notOpened != nil && time.Since(ns.triedAt) < reopenEvery {
		return nil, ns.notOpened
	}
	h, err := srv.openHistory(ctx, ns)
	ns.triedAt = time.Now()
	if err != nil {
		srv.opts.Logger.Error("twine: namespace has no log", slog.String("namespace", ns.name), slog.Any("error", err))
		ns.notOpened = fmt.Errorf("%w: open the log of namespace %s: %w", recovery.ErrNotDurable, ns.name, err)
		return nil, ns.notOpened
	}
	ns.history.Store(h)
	return h, nil
}

// closeLog closes the log for good.
func (ns *Namespace) closeLog(ctx context.Context) error {
	ns.opening.Lock()
	ns.closed = true
	ns.opening.Unlock()
	return ns.log().close(ctx)
}

// History reads the log of the namespace, see recovery.Log's Read: events that were emitted or published to the query's
// rooms or to everyone. Without recovery it returns [ErrNoRecovery].
func (ns *Namespace) History(ctx context.Context, q recovery.Query) (recovery.Page, error) {
	h, err := ns.openLog(ctx)
	if err != nil {
		return recovery.Page{}, err
	}
	return h.reader.Read(ctx, ns.name, q)
}

// HistoryStart returns the offset after which the namespace's log is complete. Without recovery it returns
// [ErrNoRecovery].
func (ns *Namespace) HistoryStart(ctx context.Context) (recovery.Offset, error) {
	h, err := ns.openLog(ctx)
	if err != nil {
		return recovery.Offset{}, err
	}
	return h.reader.Start(ctx, ns.name)
}

// HistoryLast returns the newest offset of the namespace's log. Without recovery it returns [ErrNoRecovery].
func (ns *Namespace) HistoryLast(ctx context.Context) (recovery.Offset, error) {
	h, err := ns.openLog(ctx)
	if err != nil {
		return recovery.Offset{}, err
	}
	return h.reader.Last(ctx, ns.name)
}

// Enqueue is [BroadcastOperator.Publish] without waiting for the outcome, which is that of the result's Wait. Events that
// one goroutine enqueues keep their order. It fails with recovery.ErrFull when too many wait.
func (b BroadcastOperator) Enqueue(id, event string, args ...any) (recovery.Pending, error) {
	h, err := b.ns.openLog(b.ns.server.ctx)
	if err != nil {
		return nil, err
	}
	p, err := eventPacket(b.ns.name, event, args)
	if err != nil {
		return nil, err
	}
	e, err := h.entryOf(p, b.opts, id)
	if err != nil {
		return nil, err
	}
	return h.sequencer.Append(e)
}

// Published is what became of an event that was published.
type Published struct {
	// Offset is the event's place in the log of its namespace.
	Offset recovery.Offset
	// Duplicate tells that an event with the same id is in the log already. Offset is that one's, and nothing was sent.
	Duplicate bool
}

// ErrNoRecovery means that the server was made without [Options.Recovery].
var ErrNoRecovery = errors.New("twine: recovery is off")

// Publish is Emit that waits until the event is accepted, see [Recovery.Durability]. id, unless empty, identifies the
// event: as long as the log has one with the same id, it is not sent again. An error that matches
// recovery.ErrNotDurable says that the event may or may not be in the log; the same id may be published again. Flags
// have no effect. Without recovery it returns [ErrNoRecovery].
func (b BroadcastOperator) Publish(ctx context.Context, id, event string, args ...any) (Published, error) {
	h, err := b.ns.openLog(ctx)
	if err != nil {
		return Published{}, err
	}
	p, err := eventPacket(b.ns.name, event, args)
	if err != nil {
		return Published{}, err
	}
	e, err := h.entryOf(p, b.opts, id)
	if err != nil {
		return Published{}, err
	}
	offset, duplicate, err := h.sequencer.Publish(ctx, e)
	return Published{offset, duplicate}, err
}
