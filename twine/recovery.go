package twine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
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

// history is the log of one namespace and what this server knows of it.
type history struct {
	ns        *Namespace
	opts      *Recovery
	sequencer *recovery.Sequencer
	reader    *recovery.Tiered
	deliver   func(d *adapter.Delivery, o adapter.Options) (int, error)

	// newest is the newest entry that every live socket concerned has in its queue, as text.
	newest atomic.Pointer[string]

	claiming sync.Mutex
	claims   map[string]*Socket // those that have claimed a session and not stored their own state yet, by its key

	replayed wires

	appending sync.Mutex        // held while an event is appended and noted as
	last      *recovery.Pending // the newest one
}

// localDeliverer is an adapter that can deliver to the sockets of this server alone, such as adapter.InProcess.
type localDeliverer interface {
	Deliver(d *adapter.Delivery, o adapter.Options) (int, error)
}

// newHistory opens the log of a namespace, or returns nil if recovery is off.
func (srv *Server) newHistory(ns *Namespace) (*history, error) {
	opts := srv.opts.Recovery
	if opts == nil {
		return nil, nil
	}
	local, ok := ns.adapter.(localDeliverer)
	if !ok {
		return nil, fmt.Errorf("twine: recovery of %s: the adapter cannot deliver locally", ns.name)
	}
	h := &history{ns: ns, opts: opts, deliver: local.Deliver}
	durable := opts.Log
	if durable == nil {
		h.reader = recovery.Tiers(opts.Hot)
	} else {
		h.reader = recovery.Tiers(opts.Hot, durable)
		durable = reportingLog{durable, srv.opts.Logger}
	}
	ctx, cancel := context.WithTimeout(srv.ctx, opts.Timeout)
	defer cancel()
	var err error
	h.sequencer, err = recovery.NewSequencer(ctx, recovery.SequencerOptions{
		Namespace: ns.name, Durable: durable, Hot: opts.Hot, Durability: opts.Durability,
		Deliver: h.handOut, CommitTimeout: 2 * opts.Timeout, Logger: srv.opts.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("twine: recovery of %s: %w", ns.name, err)
	}
	start := h.sequencer.Handed().String()
	h.newest.Store(&start)
	return h, nil
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
	var offset string
	for i := range entries {
		e := &entries[i]
		offset = e.Offset.String()
		d := &adapter.Delivery{Offset: offset, Packet: &parser.Packet{Type: parser.Event, Namespace: h.ns.name,
			Data: e.Data, Attachments: e.Attachments}}
		if _, err := h.deliver(d, adapter.Options{Rooms: e.Rooms, Except: e.Except}); err != nil {
			// It was encoded once already, to see that it can be.
			h.ns.server.opts.Logger.Error("twine: event of the log can't be delivered",
				slog.String("namespace", h.ns.name), slog.String("offset", offset), slog.Any("error", err))
		}
	}
	h.newest.Store(&offset)
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
		_, err = h.deliver(&adapter.Delivery{Packet: p, Flags: o.Flags, Offset: fence.String()}, o)
	})
	return err
}

func (h *history) close(ctx context.Context) error {
	if h == nil {
		return nil
	}
	return h.sequencer.Close(ctx)
}

// broadcast sends an event on the way that is right for it.
func (ns *Namespace) broadcast(p *parser.Packet, o adapter.Options) error {
	switch {
	case ns.history == nil:
		return ns.adapter.Broadcast(ns.server.ctx, p, o)
	case o.Flags.Volatile || o.Flags.Local || o.Flags.Unlogged:
		return ns.history.unlogged(p, o)
	}
	return ns.history.append(p, o)
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
	if b.ns.history == nil {
		return Published{}, ErrNoRecovery
	}
	p, err := eventPacket(b.ns.name, event, args)
	if err != nil {
		return Published{}, err
	}
	e, err := b.ns.history.entryOf(p, b.opts, id)
	if err != nil {
		return Published{}, err
	}
	offset, duplicate, err := b.ns.history.sequencer.Publish(ctx, e)
	return Published{offset, duplicate}, err
}

// newSecret returns a random text that nobody can guess.
func newSecret() string { return rand.Text() }
