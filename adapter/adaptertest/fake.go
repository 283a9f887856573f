// Package adaptertest holds the tests that every [adapter.Adapter] must pass, and the fakes to run one without a server.
package adaptertest

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// Host is a namespace without a server. Its zero value is ready for use.
type Host struct {
	Prepared atomic.Int64 // how many deliveries were prepared
	ackID    atomic.Uint64
}

// Name implements [adapter.Host].
func (h *Host) Name() string { return "/" }

// Prepare implements [adapter.Host]. Members see the packet itself.
func (h *Host) Prepare(d *adapter.Delivery) error {
	h.Prepared.Add(1)
	d.Wire = d.Packet
	return nil
}

// NextAckID implements [adapter.Host].
func (h *Host) NextAckID() uint64 { return h.ackID.Add(1) }

// ServerSideEvent implements [adapter.Host].
func (h *Host) ServerSideEvent([]byte, [][]byte, func([]byte, [][]byte)) {}

// Member is a socket that notes what happens to it.
type Member struct {
	id string

	mu           sync.Mutex
	got          []string
	forgotten    []uint64
	disconnected []bool
}

// NewMember returns a member with the id.
func NewMember(id string) *Member { return &Member{id: id} }

// ID implements [adapter.Member].
func (m *Member) ID() string { return m.id }

// Deliver implements [adapter.Member]. It answers at once if an answer is wanted.
func (m *Member) Deliver(d *adapter.Delivery) {
	m.mu.Lock()
	m.got = append(m.got, string(d.Packet.Data))
	m.mu.Unlock()
	if d.Acks != nil {
		d.Acks.Answer(m.id, []byte("[]"), nil)
	}
}

// Forget implements [adapter.Member].
func (m *Member) Forget(ackID uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgotten = append(m.forgotten, ackID)
}

// Details implements [adapter.Member].
func (m *Member) Details() (handshake, data json.RawMessage) {
	return json.RawMessage(`{}`), json.RawMessage(`"` + m.id + `"`)
}

// RoomsChanged implements [adapter.Member].
func (m *Member) RoomsChanged() {}

// Disconnect implements [adapter.Member].
func (m *Member) Disconnect(closeTransport bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disconnected = append(m.disconnected, closeTransport)
}

// Got returns the data of the packets that were delivered, in order.
func (m *Member) Got() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.got)
}

func (m *Member) forgot() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.forgotten)
}

func (m *Member) wasDisconnected() []bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.disconnected)
}

func event(data string) *parser.Packet { return &parser.Packet{Type: parser.Event, Data: []byte(data)} }
