package streams

import (
	"context"
	"sync"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/recovery/redis/wire"
)

// onMessage handles what another server has published. It runs on the hub's
// goroutine and does not block.
func (a *Adapter) onMessage(m *wire.Message) {
	switch m.Type {
	case wire.BroadcastPacket:
		p := m.Broadcast.Packet
		p.Namespace = a.host.Name()
		if m.Broadcast.RequestID == "" {
			a.deliverLogged(&p, fromWire(m.Broadcast.Options))
			return
		}
		m.Broadcast.Packet = p
		a.askClients(m)
	case wire.FetchSockets:
		a.events.put(func() { a.describe(m) })
	case wire.ServerEvent:
		a.events.put(func() { a.serverEvent(m) })
	case wire.SocketsFetched, wire.ServerAnswer, wire.ClientCount:
		if r := a.request(m.RequestID); r != nil {
			r.answer(m)
		}
	case wire.ClientAnswer:
		if r := a.request(m.RequestID); r != nil && r.acks != nil {
			r.acks.Answer(m.Member, m.Data, m.Attachments)
		}
	case wire.ClientLost:
		if r := a.request(m.RequestID); r != nil && r.acks != nil {
			r.acks.Lost(m.Member)
		}
	}
}

func (a *Adapter) request(id string) *request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests[id]
}

// reply sends an answer to the server that asked.
func (a *Adapter) reply(to string, m *wire.Message) {
	m.UID, m.Namespace = a.uid, a.host.Name()
	a.out.publish(wire.PrivateChannel(a.opts.ChannelPrefix, a.host.Name(), to), m)
}

func (a *Adapter) describe(m *wire.Message) {
	all, err := a.InProcess.FetchSockets(a.base, fromWire(m.Options))
	if err != nil {
		a.opts.Logger.Warn("streams: sockets can't be described", "namespace", a.host.Name(), "error", err)
	}
	sockets := make([]wire.Socket, 0, len(all))
	for _, d := range all {
		sockets = append(sockets, wire.Socket{ID: d.ID, Rooms: d.Rooms, Handshake: d.Handshake, Data: d.Data})
	}
	a.reply(m.UID, &wire.Message{Type: wire.SocketsFetched, RequestID: m.RequestID, Sockets: sockets})
}

func (a *Adapter) serverEvent(m *wire.Message) {
	if m.RequestID == "" {
		a.host.ServerSideEvent(m.Data, m.Attachments, nil)
		return
	}
	var once sync.Once
	a.host.ServerSideEvent(m.Data, m.Attachments, func(data []byte, attachments [][]byte) {
		once.Do(func() {
			a.reply(m.UID, &wire.Message{Type: wire.ServerAnswer, RequestID: m.RequestID, Data: data, Attachments: attachments})
		})
	})
}

// askClients delivers a broadcast of another server whose receivers are to
// answer, and passes their answers on.
func (a *Adapter) askClients(m *wire.Message) {
	o := fromWire(m.Broadcast.Options)
	timeout := o.Flags.Timeout
	if timeout <= 0 {
		timeout = a.opts.AckTimeout
	}
	ctx, cancel := context.WithTimeout(a.base, min(timeout, 24*time.Hour))
	relay := &relay{a: a, to: m, cancel: cancel, open: -1}
	p := m.Broadcast.Packet
	n, err := a.InProcess.BroadcastWithAck(ctx, &p, o, relay)
	if err != nil {
		a.opts.Logger.Warn("streams: broadcast can't be delivered", "namespace", a.host.Name(), "error", err)
	}
	relay.asked(n)
	a.reply(m.UID, &wire.Message{Type: wire.ClientCount, RequestID: m.Broadcast.RequestID, Count: n})
}

// relay passes clients' answers on to the server that asked.
type relay struct {
	a      *Adapter
	to     *wire.Message
	cancel context.CancelFunc

	mu       sync.Mutex
	open     int // who has not answered; -1: not known yet
	answered int
}

var _ adapter.Acks = (*relay)(nil)

func (r *relay) Answer(member string, data []byte, attachments [][]byte) {
	r.a.reply(r.to.UID, &wire.Message{Type: wire.ClientAnswer, RequestID: r.to.Broadcast.RequestID, Member: member, Data: data, Attachments: attachments})
	r.one()
}

func (r *relay) Lost(member string) {
	if r.to.Twine {
		r.a.reply(r.to.UID, &wire.Message{Type: wire.ClientLost, RequestID: r.to.Broadcast.RequestID, Member: member})
	}
	r.one()
}

func (r *relay) one() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered++
	r.check()
}

func (r *relay) asked(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = n
	r.check()
}

// check ends the wait when nobody is waited for. It needs mu.
func (r *relay) check() {
	if r.open >= 0 && r.answered >= r.open {
		r.cancel()
	}
}
