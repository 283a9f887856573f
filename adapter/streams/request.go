package streams

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twine-realtime/twine/adapter"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/recovery/redis/wire"
	"github.com/twine-realtime/twine/twine/parser"
)

// request is a question to the other servers that waits for their answers.
type request struct {
	acks adapter.Acks // of a broadcast: gets the clients' answers

	mu       sync.Mutex
	expected int
	answers  map[string]*wire.Message // by server
	complete chan struct{}
}

// answer takes the answer of a server. Each counts once.
func (r *request) answer(m *wire.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers[m.UID] != nil {
		return
	}
	r.answers[m.UID] = m
	if len(r.answers) == r.expected {
		close(r.complete)
	}
}

// collected returns what came until now.
func (r *request) collected() []*wire.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*wire.Message, 0, len(r.answers))
	for _, m := range r.answers {
		all = append(all, m)
	}
	return all
}

// others returns how many servers there are besides this one.
func (a *Adapter) others(ctx context.Context) (int, error) {
	// Before this server has subscribed the count would be one too low.
	select {
	case <-a.subscribed:
	case <-ctx.Done():
		return 0, fmt.Errorf("streams: count servers: %w", ctx.Err())
	}
	n, err := a.hub.count(ctx, a.public)
	if err != nil {
		return 0, fmt.Errorf("streams: count servers: %w", err)
	}
	return max(0, n-1), nil
}

// ServerCount implements [adapter.Adapter].
func (a *Adapter) ServerCount(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.RequestTimeout)
	defer cancel()
	n, err := a.others(ctx)
	return n + 1, err
}

// open registers a request under a new id. r is nil if there is nobody to ask.
func (a *Adapter) open(ctx context.Context, acks adapter.Acks) (id string, r *request, err error) {
	n, err := a.others(ctx)
	if err != nil || n == 0 {
		return "", nil, err
	}
	id = redislog.NewUID()
	r = &request{acks: acks, expected: n, answers: make(map[string]*wire.Message), complete: make(chan struct{})}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests[id] = r
	return id, r, nil
}

func (a *Adapter) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.requests, id)
}

// ask sends a request and waits until all servers have answered.
func (a *Adapter) ask(ctx context.Context, r *request, m *wire.Message) ([]*wire.Message, error) {
	m.UID, m.Namespace, m.Twine = a.uid, a.host.Name(), true
	a.out.publish(a.public, m)
	var err error
	select {
	case <-r.complete:
	case <-ctx.Done():
		err = ctx.Err()
	case <-a.base.Done():
		err = context.Canceled
	}
	got := r.collected()
	if err != nil && len(got) < r.expected {
		return got, fmt.Errorf("streams: %w: %d of %d: %w", ErrMissing, len(got), r.expected, err)
	}
	return got, nil
}

// FetchSockets implements [adapter.Adapter].
func (a *Adapter) FetchSockets(ctx context.Context, o adapter.Options) ([]adapter.Details, error) {
	all, err := a.InProcess.FetchSockets(ctx, o)
	if err != nil || o.Flags.Local {
		return all, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.opts.RequestTimeout)
	defer cancel()
	id, r, err := a.open(ctx, nil)
	if r == nil {
		return all, err
	}
	defer a.end(id)
	answers, err := a.ask(ctx, r, &wire.Message{Type: wire.FetchSockets, RequestID: id, Options: toWire(o)})
	for _, m := range answers {
		for _, s := range m.Sockets {
			all = append(all, adapter.Details{ID: s.ID, Rooms: s.Rooms, Handshake: s.Handshake, Data: s.Data})
		}
	}
	return all, err
}

// Sockets implements [adapter.Adapter].
func (a *Adapter) Sockets(ctx context.Context, o adapter.Options) ([]string, error) {
	if o.Flags.Local {
		return a.InProcess.Sockets(ctx, o)
	}
	all, err := a.FetchSockets(ctx, o)
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	return ids, err
}

// ServerSideEmit implements [adapter.Adapter]. It does not wait for Redis.
func (a *Adapter) ServerSideEmit(_ context.Context, data []byte, attachments [][]byte) error {
	a.out.publish(a.public, &wire.Message{UID: a.uid, Namespace: a.host.Name(), Type: wire.ServerEvent, Data: data, Attachments: attachments})
	return nil
}

// ServerSideEmitWithAck implements [adapter.Adapter].
func (a *Adapter) ServerSideEmitWithAck(ctx context.Context, data []byte, attachments [][]byte) ([]adapter.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.RequestTimeout)
	defer cancel()
	id, r, err := a.open(ctx, nil)
	if r == nil {
		return nil, err
	}
	defer a.end(id)
	got, err := a.ask(ctx, r, &wire.Message{Type: wire.ServerEvent, RequestID: id, Data: data, Attachments: attachments})
	answers := make([]adapter.Answer, 0, len(got))
	for _, m := range got {
		answers = append(answers, adapter.Answer{Data: m.Data, Attachments: m.Attachments})
	}
	return answers, err
}

// BroadcastWithAck implements [adapter.Adapter]. It waits until the other servers
// have said how many clients they have asked.
func (a *Adapter) BroadcastWithAck(ctx context.Context, p *parser.Packet, o adapter.Options, acks adapter.Acks) (int, error) {
	if o.Flags.Local {
		return a.InProcess.BroadcastWithAck(ctx, p, o, acks)
	}
	asking, cancel := context.WithTimeout(ctx, a.opts.RequestTimeout)
	defer cancel()
	id, r, err := a.open(asking, acks)
	if err != nil {
		return 0, err
	}
	n, err := a.InProcess.BroadcastWithAck(ctx, p, o, acks)
	if r == nil || err != nil {
		a.end(id)
		return n, err
	}
	context.AfterFunc(ctx, func() { a.end(id) })
	b := &wire.Broadcast{Packet: *p, Options: toWire(o), RequestID: id}
	if deadline, ok := ctx.Deadline(); ok {
		b.Options.Flags.Timeout = float64(time.Until(deadline).Milliseconds())
	}
	answers, err := a.ask(asking, r, &wire.Message{Type: wire.BroadcastPacket, Broadcast: b})
	for _, m := range answers {
		n += m.Count
	}
	return n, err
}
