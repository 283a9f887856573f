package twine

import (
	"context"
	"errors"
	"sync"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// await notes who is to be told the answer to the event with this id. It reports false if the socket has ended.
func (s *Socket) await(id uint64, acks adapter.Acks) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() == stateEnded {
		return false
	}
	x := s.extra()
	if x.acks == nil {
		x.acks = make(map[uint64]adapter.Acks)
	}
	x.acks[id] = acks
	return true
}

// Forget implements [adapter.Member].
func (s *Socket) Forget(ackID uint64) { s.forget(ackID) }

// forget reports whether an answer was still awaited.
func (s *Socket) forget(id uint64) bool {
	_, ok := s.takeAck(id)
	return ok
}

func (s *Socket) takeAck(id uint64) (adapter.Acks, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		return nil, false
	}
	acks, ok := s.more.acks[id]
	if !ok {
		return nil, false
	}
	if delete(s.more.acks, id); len(s.more.acks) == 0 {
		s.more.acks = nil
	}
	return acks, true
}

// answered hands over an acknowledgement. It runs on the reader, so that a handler of this socket may wait for it.
func (s *Socket) answered(p *parser.Packet) {
	if !p.HasID {
		return
	}
	if acks, ok := s.takeAck(p.ID); ok {
		acks.Answer(s.id, p.Data, p.Attachments)
	}
}

// answer is one client's; lost is true if it will never come.
type answer struct {
	socket      string
	data        []byte
	attachments [][]byte
	lost        bool
}

// singleAck waits for one client.
type singleAck chan answer

func newSingleAck() singleAck { return make(singleAck, 1) }

func (a singleAck) Answer(socket string, data []byte, attachments [][]byte) {
	a.put(answer{socket: socket, data: data, attachments: attachments})
}

func (a singleAck) Lost(socket string) { a.put(answer{socket: socket, lost: true}) }

func (a singleAck) put(got answer) {
	select {
	case a <- got:
	default: // it has one
	}
}

func (a singleAck) wait(ctx context.Context) (*Reply, error) {
	var got answer
	select {
	case got = <-a:
	case <-ctx.Done():
		select {
		case got = <-a: // both at once: the answer counts
		default:
			return nil, waitError(ctx)
		}
	}
	if got.lost {
		return nil, ErrDisconnected
	}
	return newReply(got.socket, got.data, got.attachments)
}

// waitError tells why a wait ended without what was waited for.
func waitError(ctx context.Context) error {
	if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return timeoutError(ctx.Err())
}

// manyAcks collects the answers to a broadcast.
type manyAcks struct {
	mu       sync.Mutex
	answers  []answer
	lost     int
	expected int // -1 while unknown
	complete chan struct{}
}

func newManyAcks() *manyAcks { return &manyAcks{expected: -1, complete: make(chan struct{})} }

func (a *manyAcks) Answer(socket string, data []byte, attachments [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, answer{socket: socket, data: data, attachments: attachments})
	a.check()
}

func (a *manyAcks) Lost(string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost++
	a.check()
}

func (a *manyAcks) expect(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expected = n
	a.check()
}

// check closes complete when the last answer is there. It needs mu.
func (a *manyAcks) check() {
	if a.expected < 0 || len(a.answers)+a.lost < a.expected {
		return
	}
	select {
	case <-a.complete:
	default:
		close(a.complete)
	}
}

// wait returns the answers that came before ctx ended, with an error if some are missing.
func (a *manyAcks) wait(ctx context.Context) ([]Reply, error) {
	var missing error
	select {
	case <-a.complete:
	case <-ctx.Done():
		missing = waitError(ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.expected >= 0 && len(a.answers) >= a.expected {
		missing = nil
	} else if missing == nil {
		missing = ErrDisconnected
	}
	replies := make([]Reply, 0, len(a.answers))
	for _, got := range a.answers {
		r, err := newReply(got.socket, got.data, got.attachments)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		replies = append(replies, *r)
	}
	return replies, missing
}
