package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// receive handles what has arrived on a channel. It runs on the listener's goroutine and does not block.
func (a *Adapter) receive(channel, payload string) {
	switch channel {
	case a.requests:
		r, err := parseRequest(payload)
		if err != nil {
			a.warn("malformed request", err)
		} else if r.UID != a.uid {
			a.onRequest(r)
		}
	case a.responses, a.specific:
		// Most answers are to the questions of others.
		if strings.Contains(payload, a.uid) && !a.answers.put(len(payload), func() { a.onResponse(payload) }) {
			a.dropped("answer")
		}
	default:
		a.onBroadcast(payload)
	}
}

func (a *Adapter) dropped(what string) {
	if a.base.Err() == nil {
		a.opts.Logger.Warn("pubsub: too many messages of other servers wait: one is dropped",
			slog.String("namespace", a.host.Name()), slog.String("message", what))
	}
}

func (a *Adapter) onBroadcast(payload string) {
	b, err := unpackBroadcast(payload)
	if err != nil {
		a.warn("malformed broadcast", err)
		return
	}
	if b.uid == a.uid || !a.isMine(b) {
		return
	}
	d, err := a.delivery(b)
	if err == nil && d != nil {
		_, err = a.local.Deliver(d, b.options)
	}
	if err != nil {
		a.warn("broadcast of another server can't be delivered", err)
	}
}

// isMine tells this namespace's broadcasts from those of namespaces whose names are alike.
func (a *Adapter) isMine(b *broadcast) bool {
	return b.namespace == a.host.Name() || b.namespace == "" && a.host.Name() == "/"
}

// delivery reads the payload of another server's broadcast. It is nil if nobody here is in the rooms: then that would be work
// for nothing.
func (a *Adapter) delivery(b *broadcast) (*adapter.Delivery, error) {
	if !a.local.Occupied(b.options.Rooms) {
		return nil, nil
	}
	p := &parser.Packet{Type: parser.Event, Namespace: a.host.Name()}
	var err error
	if p.Data, p.Attachments, err = unpackPayload(b.payload); err != nil {
		return nil, err
	}
	return &adapter.Delivery{Packet: p, Flags: b.options.Flags}, nil
}

func (a *Adapter) onRequest(r *request) {
	switch *r.Type {
	case typeJoin, typeLeave, typeDisconnect:
		a.onCommand(r)
	case typeBroadcast:
		a.askClients(r)
	case typeServerSideEmit:
		if !a.events.put(r.size, func() { a.serverEvent(r) }) {
			a.dropped("event")
		}
	case typeSockets, typeAllRooms, typeFetch:
		if !a.asked.put(r.size, func() { a.describe(r) }) {
			a.dropped("request")
		}
	default:
		a.opts.Logger.Warn("pubsub: request of an unknown type", slog.String("namespace", a.host.Name()), slog.Int("type", *r.Type))
	}
}

// onCommand moves or disconnects sockets of this server, which cannot fail.
func (a *Adapter) onCommand(r *request) {
	if r.Opts == nil {
		a.onSocketCommand(r)
		return
	}
	o := adapter.Options{Rooms: r.Opts.Rooms, Except: r.Opts.Except}
	var rooms []string
	if r.Rooms != nil {
		rooms = *r.Rooms
	}
	switch *r.Type {
	case typeJoin:
		_ = a.local.AddSockets(a.base, o, rooms)
	case typeLeave:
		_ = a.local.DelSockets(a.base, o, rooms)
	case typeDisconnect:
		_ = a.local.DisconnectSockets(a.base, o, r.Close)
	}
}

// onSocketCommand is for one socket, which is how servers before version 6 of Node's adapter ask.
func (a *Adapter) onSocketCommand(r *request) {
	m := a.Member(r.SID)
	switch {
	case m == nil:
		return // it is another server's
	case *r.Type == typeDisconnect:
		m.Disconnect(r.Close)
	case r.Room == nil:
		a.warn("malformed request", malformed("a socket to move, and no room"))
		return
	case *r.Type == typeJoin:
		a.AddAll(m, string(*r.Room))
		m.RoomsChanged()
	default:
		a.Del(m, string(*r.Room))
		m.RoomsChanged()
	}
	if r.RequestID != "" {
		a.reply(r, &response{})
	}
}

// reply answers a request in JSON.
func (a *Adapter) reply(to *request, r *response) {
	r.RequestID, r.UID = to.RequestID, a.uid
	message, err := marshal(r)
	if err != nil {
		a.warn("request can't be answered", err)
		return
	}
	a.publishReply(to, message)
}

// publishReply need not say when it fails: the outbox does.
func (a *Adapter) publishReply(to *request, message []byte) {
	channel := a.responses
	if to.UID != "" && (to.Twine || a.opts.PublishOnSpecificResponseChannel) {
		channel = specificResponseChannel(a.opts.Key, a.host.Name(), to.UID)
	}
	_ = a.line.out.post(letter{channel: channel, payload: message}, false)
}

// describe answers a question about the sockets of this server.
func (a *Adapter) describe(r *request) {
	answer := new(response)
	var err error
	switch *r.Type {
	case typeSockets:
		var o adapter.Options
		if r.Rooms != nil {
			o.Rooms = *r.Rooms
		}
		ids := names{}
		for _, m := range a.Members(o) {
			ids = append(ids, m.ID())
		}
		answer.Sockets, err = json.Marshal(ids)
	case typeAllRooms:
		list := names{}
		for room := range a.Rooms() {
			list = append(list, room)
		}
		answer.Rooms = &list
	case typeFetch:
		var o adapter.Options
		if r.Opts != nil {
			o = adapter.Options{Rooms: r.Opts.Rooms, Except: r.Opts.Except}
		}
		answer.Sockets, err = a.descriptions(o, r.Twine)
	}
	if err != nil { // without an answer the other server waits, and reports that
		a.warn("sockets can't be described", err)
		return
	}
	a.reply(r, answer)
}

func (a *Adapter) descriptions(o adapter.Options, twine bool) (json.RawMessage, error) {
	all, err := a.local.FetchSockets(a.base, o)
	if err != nil {
		return nil, err
	}
	sockets := make([]remoteSocket, 0, len(all))
	for _, d := range all {
		s := remoteSocket{ID: d.ID, Rooms: d.Rooms, Handshake: d.Handshake, Data: d.Data}
		if s.Handshake == nil {
			s.Handshake = json.RawMessage("{}")
		}
		if s.Data == nil && !twine {
			s.Data = json.RawMessage("{}") // what a socket of Node has
		}
		sockets = append(sockets, s)
	}
	return json.Marshal(sockets)
}

// serverEvent runs the handlers for an event of another server.
func (a *Adapter) serverEvent(r *request) {
	data, attachments := fromNodeJSON(r.Data)
	if args, err := parser.SplitArgs(data); err != nil || len(args) == 0 {
		a.warn("malformed event of another server", errors.Join(errMalformed, err))
		return
	}
	if r.RequestID == "" {
		a.host.ServerSideEvent(data, attachments, nil)
		return
	}
	var once sync.Once
	a.host.ServerSideEvent(data, attachments, func(data []byte, attachments [][]byte) {
		once.Do(func() {
			answer := &response{Type: typeServerSideEmit}
			if err := answer.setArguments(data, attachments); err != nil {
				a.warn("event can't be answered", err)
				return
			}
			a.reply(r, answer)
		})
	})
}

// onResponse handles an answer that may be one to a question of this server.
func (a *Adapter) onResponse(payload string) {
	r, err := parseResponse(payload)
	if err != nil {
		a.warn("malformed answer", err)
		return
	}
	a.mu.Lock()
	q := a.questions[r.RequestID]
	a.mu.Unlock()
	switch {
	case q == nil: // it came too late, or is to somebody else
	case q.acks == nil:
		q.answer(r)
	case r.Type == typeBroadcastCount && r.ClientCount != nil && *r.ClientCount >= 0:
		q.answer(r)
	case r.Type == typeBroadcastAnswer && r.answer != nil:
		q.acks.Answer(r.Member, r.answer, r.attachments)
	case r.Type == typeBroadcastLost:
		q.acks.Lost(r.Member)
	}
}

// askClients delivers a broadcast of another server whose receivers are to answer, and passes their answers on.
func (a *Adapter) askClients(r *request) {
	if !a.isMine(&r.broadcast) {
		return
	}
	timeout := r.broadcast.options.Flags.Timeout
	if timeout <= 0 {
		timeout = a.opts.AckTimeout
	}
	ctx, cancel := context.WithTimeout(a.base, timeout)
	relay := &relay{a: a, to: r, cancel: cancel, open: -1}
	n := 0
	d, err := a.delivery(&r.broadcast)
	if err == nil && d != nil {
		n, err = a.local.DeliverWithAck(ctx, d, r.broadcast.options, relay)
	}
	if err != nil {
		a.warn("broadcast of another server can't be delivered", err)
	}
	a.reply(r, &response{Type: typeBroadcastCount, ClientCount: &n})
	relay.asked(n)
}

// relay passes clients' answers on to the server that asked.
type relay struct {
	a      *Adapter
	to     *request
	cancel context.CancelFunc

	mu       sync.Mutex
	open     int // who was asked; -1: not known yet
	answered int
}

var _ adapter.Acks = (*relay)(nil)

func (r *relay) Answer(member string, data []byte, attachments [][]byte) {
	message, err := packAnswer(r.a.uid, r.to.RequestID, member, data, attachments)
	if err != nil {
		r.a.warn("answer of a client can't be passed on", err)
	} else {
		r.a.publishReply(r.to, message)
	}
	r.one()
}

func (r *relay) Lost(member string) {
	if r.to.Twine {
		r.a.reply(r.to, &response{Type: typeBroadcastLost, Member: member})
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
