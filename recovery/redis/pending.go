package redislog

import (
	"context"
	"fmt"
	"slices"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/wire"
)

// pending is something on its way into the stream and, once it is told, what
// became of it.
type pending struct {
	stream   *Stream
	ns       string
	kind     wire.Type
	data     []byte
	id       string
	unlogged bool
	failed   func(error)     // may be nil
	entry    *recovery.Entry // for the archive, if there is one
	log      *Sequencer      // nil: it is not part of the history
	size     int

	// Guarded by Stream.mu until told.
	handed   bool // nothing is left to wait for in the stream, or it failed
	archived bool // nothing is left to wait for in the archive
	told     bool
	offset   recovery.Offset
	dup      bool
	err      error
	done     chan struct{} // once somebody waits
}

// isDone is the channel of those that nobody had waited for.
var isDone = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Pending is something that was given to Send.
type Pending struct{ p *pending }

// Done is closed when the outcome is known.
func (p *Pending) Done() <-chan struct{} { return p.p.Done() }

// Wait waits until the message was handed out on this node too. Its errors are
// those of Sequencer.Publish.
func (p *Pending) Wait(ctx context.Context) (recovery.Offset, error) {
	offset, _, err := p.p.Wait(ctx)
	return offset, err
}

// Done implements recovery.Pending.
func (p *pending) Done() <-chan struct{} {
	p.stream.mu.Lock()
	defer p.stream.mu.Unlock()
	if p.done == nil {
		// Of those that are published together, most are told before they are waited for.
		if p.told {
			p.done = isDone
		} else {
			p.done = make(chan struct{})
		}
	}
	return p.done
}

// Wait implements recovery.Pending.
func (p *pending) Wait(ctx context.Context) (offset recovery.Offset, dup bool, err error) {
	done := p.Done()
	select {
	case <-done:
	default:
		select {
		case <-done:
		case <-ctx.Done():
			return recovery.Offset{}, false, fmt.Errorf("waiting for the stream: %w: %w", recovery.ErrNotDurable, ctx.Err())
		}
	}
	if p.err != nil {
		return recovery.Offset{}, false, p.err
	}
	return p.offset, p.dup, nil
}

// Send appends a message that is not part of the history: a command, or an
// unlogged broadcast. It does not wait; recovery.ErrFull and recovery.ErrClosed
// mean that the message will not be sent. Messages sent by one goroutine keep
// their order. It takes ownership of data.
//
// failed, unless nil, is called if it turns out that the message, as far as is
// known, is not in the stream. It must not block.
func (s *Stream) Send(ns string, kind wire.Type, data []byte, failed func(error)) (*Pending, error) {
	p := &pending{stream: s, ns: ns, kind: kind, data: data, failed: failed, size: 128 + len(data), archived: true}
	p.unlogged = kind == wire.BroadcastPacket
	room, err := s.enqueue(p)
	if room != nil {
		err = fmt.Errorf("queue of stream %q: %w", s.opts.Name, recovery.ErrFull)
	}
	if err != nil {
		return nil, err
	}
	return &Pending{p}, nil
}

// enqueue puts p into the queue. If there is no room it returns a channel that is
// closed when there may be.
func (s *Stream) enqueue(p *pending) (room <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || p.log != nil && p.log.closed {
		return nil, fmt.Errorf("stream %q: %w", s.opts.Name, recovery.ErrClosed)
	}
	// What is larger than the whole bound still fits an empty queue.
	if s.waiting > 0 && (s.waiting >= s.opts.MaxQueued || s.bytes+p.size > s.opts.MaxQueuedBytes) {
		if s.room == nil {
			s.room = make(chan struct{})
		}
		return s.room, nil
	}
	s.waiting++
	s.bytes += p.size
	if p.log != nil {
		p.log.waiting++
	}
	s.queue = append(s.queue, p)
	s.signal()
	return nil, nil
}

func (s *Stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// freeRoom takes entries out of the account. It needs mu.
func (s *Stream) freeRoom(entries, bytes int) {
	s.waiting -= entries
	s.bytes -= bytes
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// settle tells the publisher what became of p, if it is known, and takes p out
// of the account when nothing is left to do. It needs mu, and that handed or
// archived has just been set.
func (s *Stream) settle(p *pending) {
	if p.handed && (p.archived || s.opts.Durability == recovery.Async) && !p.told {
		p.told = true
		if p.done != nil {
			close(p.done)
		}
	}
	if p.handed && p.archived {
		if p.log != nil {
			p.log.waiting--
		}
		s.freeRoom(1, p.size)
	}
}

// fail ends what did not get into the stream, or not for certain.
func (s *Stream) fail(batch []*pending, err error) {
	s.mu.Lock()
	for _, p := range batch {
		p.err = err
		p.handed, p.archived = true, true
		s.settle(p)
	}
	s.mu.Unlock()
	for _, p := range batch {
		if p.failed != nil {
			p.failed(err)
		}
	}
}

// appended notes what the stream has. What this node is already past is done, as
// far as the stream is concerned; the rest waits to be read.
func (s *Stream) appended(batch []*pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range batch {
		if !p.dup && s.written.Before(p.offset) {
			s.written = p.offset
		}
		if s.pos.Before(p.offset) {
			s.addUnread(p)
			continue
		}
		s.handedOut(p, s.skipped)
	}
}

// addUnread puts p where it belongs by its offset: nearly always at the end, since
// only duplicates are older than what was appended before. It needs mu.
func (s *Stream) addUnread(p *pending) {
	i := len(s.unread)
	for i > 0 && s.unread[i-1].offset.After(p.offset) {
		i--
	}
	s.unread = slices.Insert(s.unread, i, p)
}

// handedOut notes that this node is past p. It needs mu.
func (s *Stream) handedOut(p *pending, skipped hole) {
	if p.offset.After(skipped.from) && !p.offset.After(skipped.to) && !p.dup {
		p.err = fmt.Errorf("%w: the stream lost entry %v", recovery.ErrNotDurable, p.offset)
	}
	p.handed = true
	s.settle(p)
}

// advance moves the position on. What lies in skipped was not handed out.
func (s *Stream) advance(to recovery.Offset, skipped *hole) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pos = to
	if skipped != nil {
		s.skipped = *skipped
	}
	for len(s.unread) > 0 && !s.unread[0].offset.After(to) {
		s.handedOut(s.unread[0], s.skipped)
		s.unread[0] = nil // what is under the slice would keep it
		s.unread = s.unread[1:]
	}
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// abandon fails what is left when all goroutines have ended.
func (s *Stream) abandon() {
	s.mu.Lock()
	rest := append(s.queue, s.unread...)
	s.queue, s.unread = nil, nil
	s.mu.Unlock()
	s.fail(rest, fmt.Errorf("%w: %w", recovery.ErrNotDurable, recovery.ErrClosed))
}
