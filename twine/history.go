package twine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
)

// history is the log of one namespace and what this server knows of it.
type history struct {
	ns        *Namespace
	opts      *Recovery
	sequencer sequencer
	reader    recovery.Reader
	local     localDeliverer

	// newest is the newest entry that every live socket concerned has in its queue, as text.
	newest atomic.Pointer[string]

	claiming sync.Mutex
	claims   map[string]*Socket // those that have claimed a session and not stored their own state yet, by its key

	replayed wires

	appending sync.Mutex       // held while an event is appended and noted as
	last      recovery.Pending // the newest one
}

// sequencer is a recovery.Sequencer or a recovery.SharedSequencer.
type sequencer interface {
	Publish(ctx context.Context, e recovery.Entry) (offset recovery.Offset, dup bool, err error)
	Append(e recovery.Entry) (recovery.Pending, error)
	Fence(f func(fence recovery.Offset))
	Handed() recovery.Offset
	Close(ctx context.Context) error
}

// localDeliverer is an adapter that can deliver to the sockets of this server alone, such as adapter.InProcess.
type localDeliverer interface {
	Deliver(d *adapter.Delivery, o adapter.Options) (int, error)
	Occupied(rooms []string) bool
}

// openHistory opens the log of a namespace.
func (srv *Server) openHistory(ctx context.Context, ns *Namespace) (*history, error) {
	opts := srv.opts.Recovery
	local, ok := ns.adapter.(localDeliverer)
	if !ok {
		return nil, errors.New("the adapter has no recovery; that of package streams has")
	}
	h := &history{ns: ns, opts: opts, local: local}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	var err error
	if opts.Shared != nil {
		err = h.join(ctx)
	} else {
		err = h.standAlone(ctx)
	}
	if err != nil {
		return nil, err
	}
	h.moveTo(h.sequencer.Handed())
	return h, nil
}

func (h *history) standAlone(ctx context.Context) error {
	opts, logger := h.opts, h.ns.server.opts.Logger
	durable := opts.Log
	if durable == nil {
		h.reader = recovery.Tiers(opts.Hot)
	} else {
		h.reader = recovery.Tiers(opts.Hot, durable)
		durable = reportingLog{durable, logger}
	}
	sequencer, err := recovery.NewSequencer(ctx, recovery.SequencerOptions{
		Namespace: h.ns.name, Durable: durable, Hot: opts.Hot, Durability: opts.Durability,
		Deliver: h.handOut, CommitTimeout: 2 * opts.Timeout, Logger: logger,
	})
	h.sequencer = sequencer
	return err
}

func (h *history) join(ctx context.Context) error {
	shared, err := h.opts.Shared.Join(ctx, recovery.SharedOptions{
		Namespace: h.ns.name, Hot: h.opts.Hot, Deliver: h.handOut, Gap: h.skip, Moved: h.moveTo,
	})
	h.sequencer, h.reader = shared, shared
	return err
}

// moveTo notes that everything up to an offset was handed out. In a shared log that also happens when the entries are
// those of other namespaces.
func (h *history) moveTo(to recovery.Offset) {
	offset := to.String()
	h.newest.Store(&offset)
}

// skip closes the connections of all who would miss what this server could not read from the log. They come back with
// the positions that they have reached.
func (h *history) skip(gap *recovery.GapError) {
	members := h.ns.adapter.Members(adapter.Options{})
	h.ns.server.opts.Logger.Warn("twine: a part of the log did not reach this server; its clients have to come back for it",
		slog.String("namespace", h.ns.name), slog.String("from", gap.From.String()), slog.String("to", gap.To.String()),
		slog.Int("clients", len(members)))
	for _, m := range members {
		s, ok := m.(*Socket)
		if !ok || s.rec == nil {
			continue
		}
		s.mu.Lock()
		s.rec.stopped = true
		s.mu.Unlock()
		s.session.Close(engineio.ReasonForcedClose)
	}
}

// reportingLog says when entries are lost that nobody waits for.
type reportingLog struct {
	recovery.Log
	logger *slog.Logger
}

func (l reportingLog) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	err := l.Log.Append(ctx, ns, entries)
	if err != nil {
		l.logger.Error("twine: the log did not take events; unless they were published and are published again, nobody gets them",
			slog.String("namespace", ns), slog.Int("events", len(entries)), slog.Any("error", err))
	}
	return err
}

// handOut delivers entries of the log to the sockets of this server, in the log's order.
func (h *history) handOut(entries []recovery.Entry) {
	for i := range entries {
		e := &entries[i]
		if !h.local.Occupied(e.Rooms) {
			continue // most entries, where many servers share a log and rooms are small
		}
		offset := e.Offset.String()
		d := &adapter.Delivery{Offset: offset, Packet: &parser.Packet{Type: parser.Event, Namespace: h.ns.name,
			Data: e.Data, Attachments: e.Attachments}}
		err := host{h.ns}.Prepare(d)
		if err == nil {
			_, err = h.local.Deliver(d, adapter.Options{Rooms: e.Rooms, Except: e.Except})
		}
		if err != nil {
			// It was encoded once already, to see that it can be.
			h.ns.server.opts.Logger.Error("twine: event of the log can't be delivered",
				slog.String("namespace", h.ns.name), slog.String("offset", offset), slog.Any("error", err))
		}
	}
	h.moveTo(entries[len(entries)-1].Offset)
}

// entryOf returns p as it goes into the log, after a check that it can be sent when it comes out.
func (h *history) entryOf(p *parser.Packet, o adapter.Options, id string) (recovery.Entry, error) {
	if len(p.Attachments) > 0 || h.ns.server.opts.Codec != parser.JSON {
		if _, err := h.ns.server.encode(p, ""); err != nil {
			return recovery.Entry{}, err
		}
	}
	return recovery.Entry{Rooms: o.Rooms, Except: o.Except, Data: p.Data, Attachments: p.Attachments, ID: id}, nil
}

// append puts an event into the log, from where it is delivered. It does not wait.
func (h *history) append(p *parser.Packet, o adapter.Options) error {
	e, err := h.entryOf(p, o, "")
	if err != nil {
		return err
	}
	h.appending.Lock()
	defer h.appending.Unlock()
	pending, err := h.sequencer.Append(e)
	if err == nil {
		h.last = pending
	}
	return err
}

// settle waits until what was appended so far was handed out, or failed. Who is to leave a room, or to be disconnected,
// gets what was sent before.
func (h *history) settle() {
	if h == nil {
		return
	}
	h.appending.Lock()
	last := h.last
	h.appending.Unlock()
	if last == nil {
		return
	}
	select {
	case <-last.Done():
		return
	default:
	}
	timeout := time.NewTimer(h.opts.Timeout)
	defer timeout.Stop()
	select {
	case <-last.Done():
	case <-timeout.C:
	}
}

// unlogged delivers an event past the log, with the position that those who get it have reached.
func (h *history) unlogged(p *parser.Packet, o adapter.Options) (err error) {
	h.sequencer.Fence(func(fence recovery.Offset) {
		_, err = h.local.Deliver(&adapter.Delivery{Packet: p, Flags: o.Flags, Offset: fence.String()}, o)
	})
	return err
}

func (h *history) close(ctx context.Context) error {
	if h == nil {
		return nil
	}
	return h.sequencer.Close(ctx)
}
