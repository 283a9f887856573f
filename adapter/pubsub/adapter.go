package pubsub

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// Adapter is one namespace of one server.
type Adapter struct {
	rooms
	local *adapter.InProcess
	host  adapter.Host
	hub   *hub
	line  *line
	opts  Options
	uid   string // tells this adapter from the others of its namespace

	pattern                       string // of the channels of broadcasts
	requests, responses, specific string // channels

	unready chan struct{} // closed when the channels are subscribed to, and nil then; the listener's

	// What other servers want from this one, each in its order: descriptions, handlers to run, and answers to look at.
	asked, events, answers queue

	base   context.Context
	cancel context.CancelFunc
	closer sync.Once

	mu         sync.Mutex
	questions  map[string]*question // by request id
	questionID atomic.Uint64
}

// rooms are the methods that concern the sockets of this server. There are no more of InProcess: that this adapter does
// not deliver past Broadcast is how a server sees that it cannot have recovery with it.
type rooms interface {
	Add(m adapter.Member, rooms ...string)
	AddAll(m adapter.Member, rooms ...string) bool
	Del(m adapter.Member, rooms ...string)
	DelAll(m adapter.Member)
	Member(id string) adapter.Member
	Members(o adapter.Options) []adapter.Member
	SocketRooms(id string) []string
	Rooms() map[string]int
}

var _ adapter.Adapter = (*Adapter)(nil)

func newAdapter(host adapter.Host, h *hub) *Adapter {
	local := adapter.NewInProcess(host)
	a := &Adapter{rooms: local, local: local, host: host, hub: h, opts: h.opts, uid: rand.Text()[:16],
		unready: make(chan struct{}), questions: make(map[string]*question)}
	key, name := h.opts.Key, host.Name()
	a.pattern = broadcastPattern(key, name)
	a.requests = requestChannel(key, name)
	a.responses = responseChannel(key, name)
	a.specific = specificResponseChannel(key, name, a.uid)
	a.base, a.cancel = context.WithCancel(context.Background())
	h.join(a)
	return a
}

// channels returns what the adapter subscribes to: the pattern first.
func (a *Adapter) channels() []string {
	return []string{a.pattern, a.requests, a.responses, a.specific}
}

func isPattern(channel string) bool { return strings.HasSuffix(channel, "*") }

// Close implements [adapter.Adapter]. The last adapter of a server waits until what was to be published is, or cannot
// be: at most about twice Options.RequestsTimeout.
func (a *Adapter) Close() error {
	a.closer.Do(func() {
		a.cancel()
		a.events.close() // runs the application's handlers, one of which may be what calls this
		a.asked.close()
		a.answers.close()
		a.asked.wait()
		a.answers.wait()
		a.hub.leave(a)
	})
	return nil
}

// Broadcast implements [adapter.Adapter]. It does not wait for Redis. An error that matches [ErrUnreachable] says that
// the sockets of this server have the packet, and that other servers may not get it. Volatile broadcasts are dropped
// without one, and when many messages wait to be published.
func (a *Adapter) Broadcast(ctx context.Context, p *parser.Packet, o adapter.Options) error {
	if o.Flags.Local {
		return a.local.Broadcast(ctx, p, o)
	}
	if err := checkNames(o.Rooms, o.Except); err != nil {
		return err
	}
	message, err := packBroadcast(a.uid, a.host.Name(), p, o)
	if err != nil {
		return err
	}
	channel := broadcastChannel(a.opts.Key, a.host.Name())
	if len(o.Rooms) == 1 {
		channel = roomChannel(a.opts.Key, a.host.Name(), o.Rooms[0])
	}
	// In this order, so that who answers the broadcast cannot be ahead of it on other servers.
	published := a.line.out.post(letter{channel: channel, payload: message}, o.Flags.Volatile)
	if err := a.local.Broadcast(ctx, p, o); err != nil {
		return err
	}
	return published
}

// command publishes a request that wants no answer, and waits until Redis has it.
func (a *Adapter) command(ctx context.Context, r *request) error {
	r.UID, r.Twine = a.uid, true
	message, err := marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.opts.RequestsTimeout)
	defer cancel()
	return a.line.out.send(ctx, a.requests, message)
}

// AddSockets implements [adapter.Adapter]. It waits until Redis has the request. An error that matches [ErrUnreachable]
// says that the sockets of this server are in the rooms and those of others may not be.
func (a *Adapter) AddSockets(ctx context.Context, o adapter.Options, rooms []string) error {
	return a.everywhere(ctx, typeJoin, o, rooms, false, func() error { return a.local.AddSockets(ctx, o, rooms) })
}

// DelSockets implements [adapter.Adapter], see AddSockets.
func (a *Adapter) DelSockets(ctx context.Context, o adapter.Options, rooms []string) error {
	return a.everywhere(ctx, typeLeave, o, rooms, false, func() error { return a.local.DelSockets(ctx, o, rooms) })
}

// DisconnectSockets implements [adapter.Adapter], see AddSockets.
func (a *Adapter) DisconnectSockets(ctx context.Context, o adapter.Options, closeTransport bool) error {
	return a.everywhere(ctx, typeDisconnect, o, nil, closeTransport, func() error {
		return a.local.DisconnectSockets(ctx, o, closeTransport)
	})
}

// everywhere does something on this server, and tells the others to.
func (a *Adapter) everywhere(ctx context.Context, kind int, o adapter.Options, rooms []string, closeTransport bool, here func() error) error {
	if o.Flags.Local {
		return here()
	}
	if err := checkNames(o.Rooms, o.Except, rooms); err != nil {
		return err
	}
	if err := here(); err != nil {
		return err
	}
	r := &request{Type: &kind, Opts: &selection{o.Rooms, o.Except}, Close: closeTransport}
	if kind != typeDisconnect {
		list := names(rooms)
		r.Rooms = &list
	}
	return a.command(ctx, r)
}

// ServerSideEmit implements [adapter.Adapter]. It waits until Redis has the event.
func (a *Adapter) ServerSideEmit(ctx context.Context, data []byte, attachments [][]byte) error {
	plain, _, err := toNodeJSON(data, attachments)
	if err != nil {
		return err
	}
	kind := typeServerSideEmit
	return a.command(ctx, &request{Type: &kind, Data: plain})
}

// ServerCount implements [adapter.Adapter].
func (a *Adapter) ServerCount(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.RequestsTimeout)
	defer cancel()
	n, err := a.others(ctx)
	return n + 1, err
}

// others returns how many servers there are besides this one.
func (a *Adapter) others(ctx context.Context) (int, error) {
	// Before this server has subscribed the count would be one too low.
	if err := a.line.listener.subscribed(ctx, a); err != nil {
		return 0, fmt.Errorf("%w: count servers: not subscribed: %w", ErrUnreachable, err)
	}
	n, err := a.hub.count(ctx, a.requests)
	if err != nil {
		return 0, fmt.Errorf("%w: count servers: %w", ErrUnreachable, err)
	}
	return max(0, n-1), nil
}

func (a *Adapter) warn(what string, err error) {
	a.opts.Logger.Warn("pubsub: "+what, slog.String("namespace", a.host.Name()), slog.Any("error", err))
}
