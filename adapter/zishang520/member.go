package zishang520

import (
	"encoding/json"
	"sync"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/adapter"
)

// member is a socket of the library, as our adapters see it.
//
// Whatever may run code of the library or the application goes through its
// queue: adapters call with rooms locked, or on the goroutine on which
// everything arrives that the cluster says.
type member struct {
	b     *bridge
	id    socket.SocketId
	queue queue

	mu      sync.Mutex
	pending map[uint64]adapter.Acks // answers that are waited for

	// Of reflect.
	stale, reflecting bool
}

var _ adapter.Member = (*member)(nil)

// ID implements [adapter.Member].
func (m *member) ID() string { return string(m.id) }

// socket returns nil before the middleware let it pass and after it has ended.
func (m *member) socket() *socket.Socket {
	s, _ := m.b.Nsp().Sockets().Load(m.id)
	return s
}

// Deliver implements [adapter.Member].
func (m *member) Deliver(d *adapter.Delivery) {
	if d.Acks != nil {
		m.mu.Lock()
		if m.pending == nil {
			m.pending = make(map[uint64]adapter.Acks)
		}
		m.pending[d.Packet.ID] = d.Acks
		m.mu.Unlock()
	}
	switch {
	case d.Flags.Volatile && !m.queue.idle():
		m.lost(d)
	case !m.queue.put(func() { m.send(d) }):
		m.lost(d)
		m.tooSlow()
	}
}

// send runs in the queue.
func (m *member) send(d *adapter.Delivery) {
	s := m.socket()
	if s == nil {
		m.lost(d)
		return
	}
	f := d.Wire.(*frames)
	if d.Acks != nil && m.waiting(d.Packet.ID) {
		s.Acks().Store(d.Packet.ID, func(args []any, _ error) { m.answer(d.Packet.ID, args) })
	}
	if len(s.ListenersAnyOutgoing()) > 0 {
		if packet, err := f.decoded(); err == nil {
			s.NotifyOutgoingListeners()(packet)
		}
	}
	s.Client().WriteToEngine(f.parts, f.options)
}

// tooSlow closes a connection that does not take what it is sent.
func (m *member) tooSlow() {
	m.b.opts.Logger.Warn("zishang520: closing a connection that is too slow", "namespace", m.b.Nsp().Name(), "socket", m.id)
	m.hangUp()
}

// hangUp closes the connection. It does not wait for the disconnect handlers.
func (m *member) hangUp() {
	if s := m.socket(); s != nil {
		go s.Conn().Close(true)
	}
}

func (m *member) waiting(ackID uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pending[ackID] != nil
}

// take returns who waits for an answer, for the first who asks.
func (m *member) take(ackID uint64) adapter.Acks {
	m.mu.Lock()
	defer m.mu.Unlock()
	acks := m.pending[ackID]
	delete(m.pending, ackID)
	return acks
}

func (m *member) answer(ackID uint64, args []any) {
	acks := m.take(ackID)
	if acks == nil {
		return
	}
	data, attachments, err := encode(args)
	if err != nil {
		m.b.opts.Logger.Warn("zishang520: malformed answer", "namespace", m.b.Nsp().Name(), "socket", m.id, "error", err)
		acks.Lost(m.ID())
		return
	}
	acks.Answer(m.ID(), data, attachments)
}

func (m *member) lost(d *adapter.Delivery) {
	if d.Acks == nil {
		return
	}
	if acks := m.take(d.Packet.ID); acks != nil {
		acks.Lost(m.ID())
	}
}

// ended tells those who wait for answers of a socket that has ended.
func (m *member) ended() {
	m.mu.Lock()
	pending := m.pending
	m.pending = nil
	m.mu.Unlock()
	for _, acks := range pending {
		acks.Lost(m.ID())
	}
}

// Forget implements [adapter.Member].
func (m *member) Forget(ackID uint64) {
	m.take(ackID)
	if s := m.socket(); s != nil {
		s.Acks().Delete(ackID)
	}
}

// Details implements [adapter.Member].
func (m *member) Details() (handshake, data json.RawMessage) {
	s := m.socket()
	if s == nil {
		return json.RawMessage("{}"), nil
	}
	if v := s.Data(); v != nil {
		var err error
		if data, err = json.Marshal(v); err != nil {
			m.b.opts.Logger.Warn("zishang520: data of a socket can't be encoded", "namespace", m.b.Nsp().Name(), "socket", m.id, "error", err)
		}
	}
	return packHandshake(s.Handshake()), data
}

// RoomsChanged implements [adapter.Member].
func (m *member) RoomsChanged() {
	m.mu.Lock()
	waits := m.stale
	m.stale = true
	m.mu.Unlock()
	if !waits {
		m.queue.put(m.reflect)
	}
}

// reflect makes the library's own maps of rooms say what our adapter says, which
// runs the application's listeners for that. Of concurrent calls one does the
// work of all.
func (m *member) reflect() {
	m.mu.Lock()
	m.stale = true
	if m.reflecting {
		m.mu.Unlock()
		return
	}
	m.reflecting = true
	for m.stale {
		m.stale = false
		m.mu.Unlock()
		m.b.reflect(m.id)
		m.mu.Lock()
	}
	m.reflecting = false
	m.mu.Unlock()
}

// Disconnect implements [adapter.Member]. It comes after what was delivered before.
func (m *member) Disconnect(closeTransport bool) {
	if !m.queue.put(func() {
		if s := m.socket(); s != nil {
			s.Disconnect(closeTransport)
		}
	}) {
		m.tooSlow()
	}
}
