package zishang520

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	sio "github.com/zishang520/socket.io-go-parser/v2/parser"
	cluster "github.com/zishang520/socket.io/v2/adapter"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// The methods that reach the whole cluster. The library has no way to return
// their errors, so they are logged.

func options(o *socket.BroadcastOptions) adapter.Options {
	if o == nil {
		return adapter.Options{}
	}
	out := adapter.Options{Rooms: names(o.Rooms), Except: names(o.Except)}
	if f := o.Flags; f != nil {
		out.Flags = adapter.Flags{Volatile: f.Volatile, Local: f.Local, NoCompress: !f.Compress}
		if f.Timeout != nil {
			out.Flags.Timeout = *f.Timeout
		}
	}
	return out
}

// limited returns the context of one call.
func (b *bridge) limited(o adapter.Options) (context.Context, context.CancelFunc) {
	timeout := o.Flags.Timeout
	if timeout <= 0 {
		timeout = b.opts.Timeout
	}
	return context.WithTimeout(b.base, timeout)
}

// failed logs an error of what a method does, unless the bridge is closed.
func (b *bridge) failed(what string, err error) {
	if err != nil && b.base.Err() == nil {
		b.opts.Logger.Warn("zishang520: "+what+" failed", "namespace", b.Nsp().Name(), "error", err)
	}
}

// packet returns nil, and logs why, if there is no canonical form.
func (b *bridge) packet(p *sio.Packet) *parser.Packet {
	args, _ := p.Data.([]any)
	data, attachments, err := encode(args)
	if err != nil {
		b.failed("broadcast", err)
		return nil
	}
	return &parser.Packet{Type: parser.Event, Namespace: b.Nsp().Name(), Data: data, Attachments: attachments}
}

// Broadcast implements [socket.Adapter]. The sockets of this server get the
// packet in the order of the cluster, which may be after it has returned.
func (b *bridge) Broadcast(packet *sio.Packet, opts *socket.BroadcastOptions) {
	p, o := b.packet(packet), options(opts)
	if p == nil {
		return
	}
	if b.history.logs(o) {
		b.failed("broadcast", b.history.append(p, o))
		return
	}
	ctx, cancel := b.limited(o)
	defer cancel()
	b.failed("broadcast", b.cluster.Broadcast(ctx, p, o))
}

// BroadcastWithAck implements [socket.Adapter]. It returns when the other
// servers have said how many clients they have asked, or the time is up.
func (b *bridge) BroadcastWithAck(packet *sio.Packet, opts *socket.BroadcastOptions, count func(uint64), ack socket.Ack) {
	p, o := b.packet(packet), options(opts)
	if p == nil {
		return
	}
	ctx, cancel := b.limited(o)
	single := opts != nil && opts.Flags != nil && opts.Flags.ExpectSingleResponse
	a := &answers{ack: ack, single: single, cancel: cancel, open: -1}
	n, err := b.cluster.BroadcastWithAck(ctx, p, o, a)
	if err == nil && (n > 0 || !single) {
		// The library counts calls, and wants one for each server of the cluster, whatever the flags. Where it
		// expects an answer and there is nobody to give one, it would not survive the last of them.
		count(uint64(n))
		for range b.ServerCount() - 1 {
			count(0)
		}
	}
	// Otherwise left uncounted: the caller is told that the time is up, with the answers there are.
	b.failed("broadcast with acknowledgements", err)
	a.asked(n)
}

// answers passes clients' answers on to the application, one argument of each,
// as in Node, and ends the wait when nobody is waited for. The library has no
// word for a client that is lost: it waits for the time to be up.
type answers struct {
	queue  queue // calls of ack, which may block
	ack    socket.Ack
	single bool // the one answer that is expected is wanted with all its arguments
	cancel context.CancelFunc

	mu   sync.Mutex
	got  int
	open int // how many were asked; -1: not known yet
}

var _ adapter.Acks = (*answers)(nil)

func (a *answers) Answer(_ string, data []byte, attachments [][]byte) {
	args, err := decode(data, attachments)
	answer := []any{nil}
	switch {
	case a.single:
		answer[0] = args
	case len(args) > 0:
		// The library takes each argument for the answer of a client, and waits for as many as there are clients.
		answer[0] = args[0]
	}
	a.queue.put(func() { a.ack(answer, err) })
	a.one()
}

func (a *answers) Lost(string) { a.one() }

func (a *answers) one() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got++
	a.check()
}

func (a *answers) asked(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = n
	a.check()
}

// check needs mu.
func (a *answers) check() {
	if a.open >= 0 && a.got >= a.open {
		a.cancel()
	}
}

// ServerCount implements [socket.Adapter].
func (b *bridge) ServerCount() int64 {
	ctx, cancel := b.limited(adapter.Options{})
	defer cancel()
	n, err := b.cluster.ServerCount(ctx)
	b.failed("count of servers", err)
	return int64(n)
}

// FetchSockets implements [socket.Adapter]. callback runs before the function
// returns, and with an error gets the sockets that were found until then.
func (b *bridge) FetchSockets(opts *socket.BroadcastOptions) func(func([]socket.SocketDetails, error)) {
	return func(callback func([]socket.SocketDetails, error)) {
		o := options(opts)
		ctx, cancel := b.limited(o)
		defer cancel()
		all, err := b.cluster.FetchSockets(ctx, o)
		sockets := make([]socket.SocketDetails, 0, len(all))
		for _, d := range all {
			details, malformed := b.details(d)
			if malformed != nil {
				err = errors.Join(err, malformed)
				continue
			}
			if details != nil {
				sockets = append(sockets, details)
			}
		}
		callback(sockets, err)
	}
}

// details returns nil for a member that is no socket, or not any more.
func (b *bridge) details(d adapter.Details) (socket.SocketDetails, error) {
	id := socket.SocketId(d.ID)
	if s, ok := b.Nsp().Sockets().Load(id); ok {
		return s, nil
	}
	if b.member(id) != nil {
		return nil, nil
	}
	handshake, err := unpackHandshake(d.Handshake)
	if err != nil {
		return nil, err
	}
	remote := &cluster.SocketResponse{Id: id, Handshake: handshake, Rooms: setOf(d.Rooms).Keys()}
	if len(d.Data) > 0 {
		if err := json.Unmarshal(d.Data, &remote.Data); err != nil {
			return nil, err
		}
	}
	return cluster.NewRemoteSocket(remote), nil
}

// AddSockets implements [socket.Adapter]. It returns when the sockets of this
// server have joined.
func (b *bridge) AddSockets(opts *socket.BroadcastOptions, rooms []socket.Room) {
	b.command("join", opts, func(ctx context.Context, o adapter.Options) error {
		return b.cluster.AddSockets(ctx, o, plain(rooms))
	})
}

// DelSockets implements [socket.Adapter]. It returns when the sockets of this
// server have left.
func (b *bridge) DelSockets(opts *socket.BroadcastOptions, rooms []socket.Room) {
	b.command("leave", opts, func(ctx context.Context, o adapter.Options) error {
		return b.cluster.DelSockets(ctx, o, plain(rooms))
	})
}

// DisconnectSockets implements [socket.Adapter].
func (b *bridge) DisconnectSockets(opts *socket.BroadcastOptions, status bool) {
	b.command("disconnect", opts, func(ctx context.Context, o adapter.Options) error {
		return b.cluster.DisconnectSockets(ctx, o, status)
	})
}

func (b *bridge) command(what string, opts *socket.BroadcastOptions, f func(context.Context, adapter.Options) error) {
	o := options(opts)
	ctx, cancel := b.limited(o)
	defer cancel()
	b.failed(what, f(ctx, o))
}

// ServerSideEmit implements [socket.Adapter]. An acknowledgement gets, for each
// server that has answered, a []any of the arguments, as it does with the
// library's cluster adapter.
func (b *bridge) ServerSideEmit(packet []any) error {
	var ack socket.Ack
	if n := len(packet); n > 0 {
		if f, ok := packet[n-1].(socket.Ack); ok {
			ack, packet = f, packet[:n-1]
		}
	}
	if len(packet) == 0 {
		return errors.New("zishang520: an event of a server needs a name")
	}
	data, attachments, err := encode(packet)
	if err != nil {
		return err
	}
	if ack == nil {
		ctx, cancel := b.limited(adapter.Options{})
		defer cancel()
		return b.cluster.ServerSideEmit(ctx, data, attachments)
	}
	// Ends within the time that the context leaves it.
	go func() {
		ctx, cancel := b.limited(adapter.Options{})
		defer cancel()
		got, err := b.cluster.ServerSideEmitWithAck(ctx, data, attachments)
		var all []any
		for _, a := range got {
			args, malformed := decode(a.Data, a.Attachments)
			if malformed != nil {
				err = errors.Join(err, malformed)
				continue
			}
			all = append(all, args)
		}
		ack(all, err)
	}()
	return nil
}
