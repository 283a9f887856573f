package zishang520

import (
	"context"
	"errors"
	"sync"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/parser"
)

// history is where the events of a namespace go that clients of other servers
// can recover, and come from, in the order of the cluster.
type history struct {
	b   *bridge
	log recovery.SharedSequencer

	outcomes queue // of what was appended, in its order

	mu   sync.Mutex
	last recovery.Pending
}

// join begins to hand out the events of the namespace.
func (b *bridge) join(log recovery.SharedLog) error {
	ctx, cancel := context.WithTimeout(b.base, b.opts.Timeout)
	defer cancel()
	h := &history{b: b}
	var err error
	h.log, err = log.Join(ctx, recovery.SharedOptions{Namespace: b.Nsp().Name(), Deliver: h.deliver, Gap: h.gap})
	if err != nil {
		return err
	}
	b.history = h
	return nil
}

// logs reports whether a broadcast is part of the history.
func (h *history) logs(o adapter.Options) bool {
	return h != nil && !o.Flags.Volatile && !o.Flags.Local
}

// append puts an event into the log, from where it is delivered on this server
// too. It waits only if too many are under way.
func (h *history) append(p *parser.Packet, o adapter.Options) error {
	e := recovery.Entry{Rooms: o.Rooms, Except: o.Except, Data: p.Data, Attachments: p.Attachments}
	h.mu.Lock()
	pending, err := h.log.Append(e)
	if err == nil {
		h.last = pending
	}
	h.mu.Unlock()
	if errors.Is(err, recovery.ErrFull) {
		ctx, cancel := context.WithTimeout(h.b.base, h.b.opts.Timeout)
		defer cancel()
		_, _, err = h.log.Publish(ctx, e)
	}
	if err == nil && pending != nil {
		h.outcomes.put(func() {
			_, _, err := pending.Wait(h.b.base)
			h.b.failed("broadcast", err)
		})
	}
	return err
}

// settle waits until what was appended so far was handed out, or failed. Who
// leaves a room gets what was sent there before.
func (h *history) settle() {
	if h == nil {
		return
	}
	h.mu.Lock()
	last := h.last
	h.mu.Unlock()
	if last == nil {
		return
	}
	ctx, cancel := context.WithTimeout(h.b.base, h.b.opts.Timeout)
	defer cancel()
	_, _, _ = last.Wait(ctx) // what became of it is told elsewhere
}

// deliver hands events to the sockets of this server.
func (h *history) deliver(entries []recovery.Entry) {
	for i := range entries {
		e := &entries[i]
		p := &parser.Packet{Type: parser.Event, Namespace: h.b.Nsp().Name(), Data: e.Data, Attachments: e.Attachments}
		o := adapter.Options{Rooms: e.Rooms, Except: e.Except, Flags: adapter.Flags{Local: true}}
		h.b.failed("delivery", h.b.cluster.Broadcast(h.b.base, p, o))
	}
}

// gap closes all connections: clients that come back know that they may have
// missed something. This server cannot give it to them.
func (h *history) gap(gap *recovery.GapError) {
	members := h.b.cluster.Members(adapter.Options{})
	h.b.opts.Logger.Error("zishang520: events did not reach this server; its clients are disconnected", "namespace", h.b.Nsp().Name(),
		"from", gap.From.String(), "to", gap.To.String(), "clients", len(members))
	for _, m := range members {
		m.(*member).hangUp()
	}
}

// close waits for what is under way.
func (h *history) close() {
	if h == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.b.opts.Timeout)
	defer cancel()
	if err := h.log.Close(ctx); err != nil {
		h.b.opts.Logger.Warn("zishang520: not everything is known to be in the history", "namespace", h.b.Nsp().Name(), "error", err)
	}
	h.outcomes.close()
}
