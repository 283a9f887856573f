package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// question is a request to the other servers that waits for their answers.
type question struct {
	acks adapter.Acks // of a broadcast: gets the clients' answers

	mu       sync.Mutex
	expected int
	got      []*response // one of each server
	complete chan struct{}
}

// answer takes the answer of a server. Servers of Node do not say which one they are.
func (q *question) answer(r *response) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.got) == q.expected || r.UID != "" && slices.ContainsFunc(q.got, func(o *response) bool { return o.UID == r.UID }) {
		return
	}
	if q.got = append(q.got, r); len(q.got) == q.expected {
		close(q.complete)
	}
}

func (q *question) answers() []*response {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.got)
}

func marshal(v any) ([]byte, error) {
	message, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("pubsub: message for other servers: %w", err)
	}
	return message, nil
}

// open registers a question under a new id. q is nil if there is nobody to ask.
func (a *Adapter) open(ctx context.Context, acks adapter.Acks) (id string, q *question, err error) {
	n, err := a.others(ctx)
	if err != nil || n == 0 {
		return "", nil, err
	}
	id = a.uid + "-" + strconv.FormatUint(a.questionID.Add(1), 36)
	q = &question{acks: acks, expected: n, complete: make(chan struct{})}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.questions[id] = q
	return id, q, nil
}

func (a *Adapter) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.questions, id)
}

// wait waits until all servers have answered.
func (a *Adapter) wait(ctx context.Context, q *question) ([]*response, error) {
	var err error
	select {
	case <-q.complete:
	case <-ctx.Done():
		err = ctx.Err()
	case <-a.base.Done():
		err = errClosed
	}
	got := q.answers()
	if len(got) < q.expected {
		return got, fmt.Errorf("%w: %d of %d: %w", ErrMissing, len(got), q.expected, err)
	}
	return got, nil
}

// ask sends a request and waits until all servers have answered, or returns nothing if there is nobody to ask.
func (a *Adapter) ask(ctx context.Context, r *request) ([]*response, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.RequestsTimeout)
	defer cancel()
	id, q, err := a.open(ctx, nil)
	if q == nil {
		return nil, err
	}
	defer a.end(id)
	r.RequestID = id
	if err := a.command(ctx, r); err != nil {
		return nil, err
	}
	return a.wait(ctx, q)
}

// FetchSockets implements [adapter.Adapter]. With an error it returns the sockets that are known of until then.
func (a *Adapter) FetchSockets(ctx context.Context, o adapter.Options) ([]adapter.Details, error) {
	all, err := a.local.FetchSockets(ctx, o)
	if err != nil || o.Flags.Local {
		return all, err
	}
	if err := checkNames(o.Rooms, o.Except); err != nil {
		return nil, err
	}
	kind := typeFetch
	answers, err := a.ask(ctx, &request{Type: &kind, Opts: &selection{o.Rooms, o.Except}})
	for _, r := range answers {
		var sockets []remoteSocket
		if malformed := json.Unmarshal(r.Sockets, &sockets); malformed != nil {
			a.warn("malformed description of sockets", malformed)
		}
		for _, s := range sockets {
			all = append(all, adapter.Details{ID: s.ID, Rooms: s.Rooms, Handshake: s.Handshake, Data: s.Data})
		}
	}
	return all, err
}

// Sockets implements [adapter.Adapter]. With an error it returns the ids that are known of until then.
func (a *Adapter) Sockets(ctx context.Context, o adapter.Options) ([]string, error) {
	ids, err := a.local.Sockets(ctx, o)
	if err != nil || o.Flags.Local {
		return ids, err
	}
	if len(o.Except) > 0 { // of which the smaller request knows nothing
		all, err := a.FetchSockets(ctx, o)
		ids = make([]string, len(all))
		for i := range all {
			ids[i] = all[i].ID
		}
		return ids, err
	}
	if err := checkNames(o.Rooms); err != nil {
		return nil, err
	}
	kind, list := typeSockets, names(o.Rooms)
	answers, err := a.ask(ctx, &request{Type: &kind, Rooms: &list})
	for _, r := range answers {
		var more []string
		if malformed := json.Unmarshal(r.Sockets, &more); malformed != nil {
			a.warn("malformed list of sockets", malformed)
		}
		ids = append(ids, more...)
	}
	return ids, err
}

// AllRooms returns the rooms that have members on any server, in no particular order, each once. With an error it
// returns those that are known of until then.
func (a *Adapter) AllRooms(ctx context.Context) ([]string, error) {
	found := make(map[string]bool)
	for room := range a.Rooms() {
		found[room] = true
	}
	kind := typeAllRooms
	answers, err := a.ask(ctx, &request{Type: &kind})
	for _, r := range answers {
		if r.Rooms == nil {
			continue
		}
		for _, room := range *r.Rooms {
			found[room] = true
		}
	}
	list := make([]string, 0, len(found))
	for room := range found {
		list = append(list, room)
	}
	return list, err
}

// ServerSideEmitWithAck implements [adapter.Adapter].
func (a *Adapter) ServerSideEmitWithAck(ctx context.Context, data []byte, attachments [][]byte) ([]adapter.Answer, error) {
	plain, _, err := toNodeJSON(data, attachments)
	if err != nil {
		return nil, err
	}
	kind := typeServerSideEmit
	got, err := a.ask(ctx, &request{Type: &kind, Data: plain})
	answers := make([]adapter.Answer, 0, len(got))
	for _, r := range got {
		var answer adapter.Answer
		var malformed error
		if answer.Data, answer.Attachments, malformed = r.arguments(); malformed != nil {
			return answers, fmt.Errorf("pubsub: answer of another server: %w", malformed)
		}
		answers = append(answers, answer)
	}
	return answers, err
}

// BroadcastWithAck implements [adapter.Adapter]. It waits until the other servers have said how many clients they have
// asked. Whatever the error is, unless it is about the packet, the clients of this server are asked and counted.
func (a *Adapter) BroadcastWithAck(ctx context.Context, p *parser.Packet, o adapter.Options, acks adapter.Acks) (int, error) {
	if o.Flags.Local {
		return a.local.BroadcastWithAck(ctx, p, o, acks)
	}
	if err := checkNames(o.Rooms, o.Except); err != nil {
		return 0, err
	}
	asking, cancel := context.WithTimeout(ctx, a.opts.RequestsTimeout)
	defer cancel()
	var published <-chan error
	id, q, unreachable := a.open(asking, acks)
	if q != nil {
		context.AfterFunc(ctx, func() { a.end(id) })
		far := o
		if deadline, ok := ctx.Deadline(); ok {
			far.Flags.Timeout = max(time.Millisecond, time.Until(deadline))
		}
		message, err := packQuestion(a.uid, id, a.host.Name(), p, far)
		if err != nil {
			a.end(id)
			return 0, err
		}
		published, unreachable = a.line.out.start(a.requests, message)
	}
	n, err := a.local.BroadcastWithAck(ctx, p, o, acks)
	if err != nil || unreachable != nil || q == nil {
		return n, errors.Join(err, unreachable)
	}
	if err := finish(asking, published); err != nil {
		return n, err
	}
	counts, err := a.wait(asking, q)
	for _, r := range counts {
		n += *r.ClientCount
	}
	return n, err
}
