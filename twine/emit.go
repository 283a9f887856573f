package twine

import (
	"context"
	"errors"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
)

// Flags modify how an event is sent, see [adapter.Flags].
type Flags = adapter.Flags

// While a socket is being connected or catches up, what is sent to it is held back, up to this many packets and bytes.
const (
	maxHeld      = 16_384
	maxHeldBytes = 4 << 20
)

// OnAnyOutgoing's functions may be this many events behind.
const maxObserved = 1024

// Emit sends an event to the client. It returns [ErrDisconnected] if the socket is disconnected, or an error if an
// argument cannot be encoded. See the package's documentation about sending.
func (s *Socket) Emit(event string, args ...any) error { return s.emit(Flags{}, event, args) }

// EmitWithAck sends an event and waits for the client's acknowledgement, until ctx ends: then the error matches
// [ErrTimeout] if that was its deadline. It fails with [ErrDisconnected] as soon as the socket disconnects.
//
// It may be called in a handler of the same socket, whose other events wait meanwhile.
func (s *Socket) EmitWithAck(ctx context.Context, event string, args ...any) (*Reply, error) {
	return s.emitWithAck(ctx, Flags{}, event, args)
}

// Timeout returns an emitter that waits for an acknowledgement this long. Zero means as long as the context lasts.
func (s *Socket) Timeout(d time.Duration) Emitter { return Emitter{socket: s}.Timeout(d) }

// Volatile returns an emitter whose events are dropped if the connection cannot take them at once.
func (s *Socket) Volatile() Emitter { return Emitter{socket: s}.Volatile() }

// Unlogged returns an emitter whose events are not kept: with recovery on, a client that is away misses them.
func (s *Socket) Unlogged() Emitter { return Emitter{socket: s}.Unlogged() }

// Compress returns an emitter that asks the transport to compress, or not to.
func (s *Socket) Compress(compress bool) Emitter { return Emitter{socket: s}.Compress(compress) }

// Emitter sends events to one client in a certain way. It is an immutable value: each method returns another one.
type Emitter struct {
	socket *Socket
	flags  Flags
}

// Timeout is that of [Socket.Timeout].
func (e Emitter) Timeout(d time.Duration) Emitter { e.flags.Timeout = d; return e }

// Volatile is that of [Socket.Volatile].
func (e Emitter) Volatile() Emitter { e.flags.Volatile = true; return e }

// Unlogged is that of [Socket.Unlogged].
func (e Emitter) Unlogged() Emitter { e.flags.Unlogged = true; return e }

// Compress is that of [Socket.Compress].
func (e Emitter) Compress(compress bool) Emitter { e.flags.NoCompress = !compress; return e }

// Emit is that of [Socket.Emit]. A volatile event that was dropped is no error.
func (e Emitter) Emit(event string, args ...any) error { return e.socket.emit(e.flags, event, args) }

// EmitWithAck is that of [Socket.EmitWithAck]. A volatile event that was dropped is reported as [ErrDropped].
func (e Emitter) EmitWithAck(ctx context.Context, event string, args ...any) (*Reply, error) {
	return e.socket.emitWithAck(ctx, e.flags, event, args)
}

func (s *Socket) emit(flags Flags, event string, args []any) error {
	p, err := eventPacket(s.namespace, event, args)
	if err != nil {
		return err
	}
	switch {
	case s.rec == nil || s.ns == nil || s.ns.log() == nil:
		var w *wire
		if w, err = s.client.server.encode(p, ""); err == nil {
			if flags.NoCompress {
				w.uncompressed()
			}
			err = s.send(w, p, flags)
		}
	case flags.Volatile || flags.Unlogged || s.state.Load() == stateJoining:
		err = s.sendUnlogged(p, flags)
	default:
		err = s.sendLogged(p)
	}
	if errors.Is(err, ErrDropped) {
		return nil
	}
	return err
}

// sendLogged puts an event for this socket into the log. The client gets it even if it is away for a while.
func (s *Socket) sendLogged(p *parser.Packet) error {
	s.mu.Lock()
	gone := s.state.Load() == stateEnded && (!s.connected || !s.resumable(s.more.reason))
	s.mu.Unlock()
	if gone {
		return ErrDisconnected
	}
	return s.ns.log().append(p, adapter.Options{Rooms: []string{s.id}})
}

func (s *Socket) emitWithAck(ctx context.Context, flags Flags, event string, args []any) (*Reply, error) {
	p, err := eventPacket(s.namespace, event, args)
	if err != nil {
		return nil, err
	}
	p.ID, p.HasID = s.ns.nextAckID(), true
	w, err := s.client.server.encode(p, "")
	if err != nil {
		return nil, err
	}
	if flags.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, flags.Timeout)
		defer cancel()
	}
	one := newSingleAck()
	if !s.await(p.ID, one) {
		return nil, ErrDisconnected
	}
	defer s.Forget(p.ID)
	if err := s.send(w, p, flags); err != nil {
		return nil, err
	}
	return one.wait(ctx)
}

// send queues a packet that is not of the log. event is the packet if OnAnyOutgoing's functions have to see it.
func (s *Socket) send(w *wire, event *parser.Packet, flags Flags) error {
	if s.state.Load() == stateLive {
		return s.queue(w, flags.Volatile)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sendLocked(held{wire: w, packet: event}, flags.Volatile)
}

// sendUnlogged queues an event past the log, with the position that the socket has reached.
func (s *Socket) sendUnlogged(p *parser.Packet, flags Flags) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() == stateJoining {
		return s.holdLocked(held{packet: p}, flags.Volatile)
	}
	w, err := s.client.server.encode(p, s.rec.pos)
	if err != nil {
		return err
	}
	if flags.NoCompress {
		w.uncompressed()
	}
	return s.sendLocked(held{wire: w, packet: p}, flags.Volatile)
}

// sendLocked needs mu.
func (s *Socket) sendLocked(h held, volatile bool) error {
	state := s.state.Load()
	switch {
	case state == stateEnded:
		return ErrDisconnected
	case state == stateJoining, state == stateCatchingUp && h.offset != "":
		return s.holdLocked(h, volatile)
	}
	if err := s.queue(h.wire, volatile); err != nil {
		return err
	}
	if h.offset != "" {
		s.rec.pos, s.rec.received = h.offset, true
	}
	if state == stateObserved {
		s.observeLocked(h.packet)
	}
	return nil
}

// queueAt queues an event of the log and moves the position on. It needs mu.
func (s *Socket) queueAt(w *wire, offset string) error {
	if s.state.Load() == stateEnded {
		return ErrDisconnected
	}
	if err := s.queue(w, false); err != nil {
		return err
	}
	if offset != "" {
		s.rec.pos, s.rec.received = offset, true
	}
	return nil
}

func (s *Socket) queue(w *wire, volatile bool) error {
	if volatile {
		if !s.session.TrySend(w.messages...) {
			return ErrDropped
		}
		return nil
	}
	if s.session.Send(w.messages...) != nil {
		return ErrDisconnected
	}
	return nil
}

// holdLocked keeps a packet until the socket is connected or has caught up. It needs mu.
func (s *Socket) holdLocked(h held, volatile bool) error {
	if volatile {
		return ErrDropped
	}
	x := s.extra()
	if h.packet != nil {
		x.heldBytes += len(h.packet.Data)
		for _, a := range h.packet.Attachments {
			x.heldBytes += len(a)
		}
	}
	if len(x.held) >= maxHeld || (len(x.held) > 0 && x.heldBytes > maxHeldBytes) {
		s.session.Close(engineio.ReasonSlowConsumer)
		return ErrDisconnected
	}
	x.held = append(x.held, h)
	return nil
}

// observeLocked has OnAnyOutgoing's functions called. It needs mu.
func (s *Socket) observeLocked(event *parser.Packet) {
	if x := s.extra(); event != nil && len(x.sent) < maxObserved {
		x.sent = append(x.sent, event)
		s.startLocked()
	}
}

// Deliver implements [adapter.Member].
func (s *Socket) Deliver(d *adapter.Delivery) {
	w := d.Wire.(*wire)
	if d.Offset != "" {
		s.mu.Lock()
		_ = s.sendLocked(held{wire: w, packet: d.Packet, offset: d.Offset}, d.Flags.Volatile) // who is closed gets nothing
		s.mu.Unlock()
		return
	}
	if d.Acks != nil && !s.await(d.Packet.ID, d.Acks) {
		d.Acks.Lost(s.id)
		return
	}
	if s.state.Load() == stateLive && !d.Flags.Volatile {
		_ = s.session.Send(w.messages...)
		return
	}
	if err := s.send(w, d.Packet, d.Flags); err != nil && d.Acks != nil && s.forget(d.Packet.ID) {
		d.Acks.Lost(s.id)
	}
}
