package twine

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine/engineio"
)

// Restoring a session, without a gap:
//
//  1. The session is claimed. From here on the connection that held it can change nothing; if it is still there, only
//     half-open, it is closed. What is stored stays as it is until the new connection stores its own state.
//  2. It is counted what the client missed. If that is too much, or not all of it is there any more, the client is told
//     and starts anew: never is part of it replayed and called complete.
//  3. While nothing is being handed out, the socket enters its rooms. The fence is the newest entry that was handed out
//     until then. Everything later is held back.
//  4. The CONNECT packet is sent, then what lies between the client's position and the fence, page by page, then what was
//     held back; then the socket is live.
//
// The reference implementation sends the CONNECT packet behind the replay. Its client then keeps the replayed events until
// the packet comes, across a reconnect too: when the connection is cut in between, they are replayed again, and its
// listeners run twice. Behind the CONNECT packet each event moves the client's position at once.
//
// If the connection is cut anywhere in between, the client comes back with the position that it really has reached.

// credentials are what a client that wants its session back sends in its CONNECT packet.
type credentials struct{ pid, offset string }

func credentialsOf(auth []byte) (c credentials) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(auth, &fields) != nil {
		return credentials{}
	}
	// A client whose fields have other types has no session here.
	_ = json.Unmarshal(fields["pid"], &c.pid)
	_ = json.Unmarshal(fields["offset"], &c.offset)
	return c
}

// missed is what a client has to be told when its history is not complete: in these rooms everything after from is
// missing, up to where the socket begins.
type missed struct {
	rooms []string
	from  recovery.Offset
}

// gapEvent tells a client which events of a room it cannot get any more: those in (from, to].
const gapEvent = "twine:gap"

// errUnavailable says that the stores could not be asked. The client is to come back later, with what it has.
var errUnavailable = errors.New("twine: session store or log is out of reach")

// resumption is what a socket starts with instead of nothing.
type resumption struct {
	state recovery.State
	pid   string           // of a client that gets its session back; "" if the socket is a new one that resumes its rooms
	rooms []string         // to enter
	needs []recovery.State // what is to be replayed: for each, the entries of its rooms after its position
	after recovery.Offset  // the earliest of those positions
	keep  bool             // the session stays as it is, even when the socket has one of its own
	fence recovery.Offset  // set when the socket has entered its rooms
}

// recovers reports whether the client is given its session back, id and all.
func (r *resumption) recovers() bool { return r != nil && r.pid != "" }

// findSession looks for what a new socket can start with.
func (s *Socket) findSession() (r *resumption, gap *missed, err error) {
	if s.rec == nil {
		return nil, nil, nil
	}
	// Not the socket's own context, which takes memory for as long as the socket lives once something waits for it.
	ctx := s.client.server.ctx
	if _, err := s.ns.openLog(ctx); err != nil {
		return nil, nil, errors.Join(errUnavailable, err)
	}
	r, gap, err = s.restore(ctx, credentialsOf(s.auth))
	if r == nil && gap == nil && err == nil {
		r, gap, err = s.resume(ctx)
	}
	return r, gap, err
}

// adopt stores the state of a socket that has claimed a session; until then the session is as it was. If that fails, or
// the socket has ended, it is tried again when the socket lets its own session go.
func (s *Socket) adopt() {
	if s.rec == nil {
		return
	}
	s.mu.Lock()
	r := s.rec.claimed
	s.mu.Unlock()
	if r == nil {
		return
	}
	stored, err := s.save(s.client.server.ctx)
	switch {
	case stored:
		s.letGo(r, true)
	case err != nil && !errors.Is(err, recovery.ErrSuperseded):
		s.client.server.opts.Logger.Warn("twine: restored session is not stored", slog.String("namespace", s.namespace),
			slog.String("socket", s.id), slog.Any("error", err))
	}
}

// persistNew stores a session for the first time, unless a Join has. A client may be cut off, and back, in a moment.
func (s *Socket) persistNew() {
	s.mu.Lock()
	stored := s.rec.saved != ""
	s.mu.Unlock()
	if !stored {
		s.persist()
	}
}

// restore gives a client its session back, if it asks for it and it is to be had.
func (s *Socket) restore(ctx context.Context, c credentials) (*resumption, *missed, error) {
	opts := s.ns.log().opts
	if c.pid == "" || (c.offset == "" && !opts.ResumeIdle) {
		return nil, nil, nil
	}
	var after recovery.Offset
	if c.offset != "" {
		var err error
		if after, err = recovery.ParseOffset(c.offset); err != nil {
			s.notRestored(c, err)
			return nil, nil, nil
		}
	}
	st, err := s.claim(ctx, c.pid)
	switch {
	case errors.Is(err, recovery.ErrUnknownSession), errors.Is(err, recovery.ErrExpired):
		s.notRestored(c, err)
		return nil, nil, nil
	case err != nil:
		s.stray(s.rec.token) // it may have taken effect
		return nil, nil, errors.Join(errUnavailable, err)
	}
	// A client keeps the offset of an earlier session until it gets an event in the new one. What the session has
	// confirmed since then is the better knowledge; it also stays young while nothing happens.
	if after.Before(st.Position) {
		after = st.Position
	}
	r := &resumption{state: st, rooms: st.Rooms, after: after, pid: c.pid}
	s.setClaimed(r)
	s.rec.storing.Lock()
	s.rec.created = true
	s.rec.storing.Unlock()
	r.needs = []recovery.State{{Rooms: append([]string{st.SID}, st.Rooms...), Position: after}}
	gap, err := s.count(ctx, r)
	if gap == nil && err == nil {
		return r, nil, nil
	}
	if err != nil && !errors.Is(err, recovery.ErrFuture) {
		return nil, nil, errors.Join(errUnavailable, err)
	}
	s.rec.storing.Lock()
	s.rec.created = false
	s.rec.storing.Unlock()
	s.ns.log().forgetClaim(s, r)
	if err != nil {
		// The client starts anew, so nobody will come back for this one.
		s.setClaimed(nil)
		s.forgetSession(st.PID, s.rec.token)
		s.notRestored(c, err)
		return nil, nil, nil
	}
	gap.rooms = st.Rooms
	r.pid, r.needs = "", nil
	if s.rec.twineID != "" && s.rec.twineID == st.TwineID {
		// The rooms are resumed, but not the history, and the client is told.
		return r, gap, nil
	}
	// The client starts anew. If it is cut off before it knows that, it comes back for the old session, and is told then.
	r.keep = true
	return nil, gap, nil
}

func (s *Socket) notRestored(c credentials, why error) {
	s.client.server.opts.Logger.Debug("twine: session can't be restored", slog.String("namespace", s.namespace),
		slog.String("offset", c.offset), slog.Any("error", why))
}

// count finds out whether everything that r needs can be replayed.
func (s *Socket) count(ctx context.Context, r *resumption) (*missed, error) {
	h := s.ns.log()
	n := 0
	err := s.replay(ctx, r, recovery.Offset{}, func(entries []recovery.Entry) error {
		if n += len(entries); n > h.opts.MaxReplay {
			return errTooMany
		}
		return nil
	})
	var gap *recovery.GapError
	if errors.Is(err, errTooMany) || errors.As(err, &gap) {
		return &missed{from: r.after}, nil
	}
	return nil, err
}

var errTooMany = errors.New("twine: more events than are replayed")

// replay reads what r needs up to through (zero: to the end), page by page.
func (s *Socket) replay(ctx context.Context, r *resumption, through recovery.Offset,
	page func(entries []recovery.Entry) error) error {
	h := s.ns.log()
	var rooms []string
	for _, st := range r.needs {
		rooms = append(rooms, missing(st.Rooms, rooms)...)
	}
	if !through.IsZero() && !r.after.Before(through) {
		return nil
	}
	q := recovery.Query{After: r.after, Through: through, Rooms: rooms, Limit: 256, MaxBytes: replayPage}
	for {
		callCtx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
		p, err := h.reader.Read(callCtx, s.ns.name, q)
		cancel()
		if err != nil {
			return err
		}
		entries := p.Entries
		if len(r.needs) > 1 || slices.ContainsFunc(entries, func(e recovery.Entry) bool { return len(e.Except) > 0 }) {
			entries = slices.DeleteFunc(slices.Clone(entries), func(e recovery.Entry) bool { return !r.wants(&e) })
		}
		if err := page(entries); err != nil {
			return err
		}
		if !p.More {
			return nil
		}
		q.After = p.Next
	}
}

// wants reports whether e was for the client.
func (r *resumption) wants(e *recovery.Entry) bool {
	for _, st := range r.needs {
		if e.Offset.After(st.Position) && !e.Excepts(st.Rooms) &&
			(len(e.Rooms) == 0 || slices.ContainsFunc(e.Rooms, func(room string) bool { return slices.Contains(st.Rooms, room) })) {
			return true
		}
	}
	return false
}

// replayPage is how much of a replay is read, and queued, at a time, in bytes.
const replayPage = 256 << 10

// enter makes the socket a member of its namespace and of rooms, with recovery while nothing is handed out: what has been
// until then is the fence. It reports false, and does nothing, if another connection has taken the session over. It needs
// joinMu.
func (s *Socket) enter(rooms []string, r *resumption) (entered bool) {
	if s.rec == nil {
		s.ns.adapter.Add(s, rooms...)
		return true
	}
	s.ns.log().sequencer.Fence(func(fence recovery.Offset) {
		s.mu.Lock()
		if s.rec.lost {
			// It would push the other one, which has the same id, out of its rooms.
			s.mu.Unlock()
			return
		}
		entered = true
		position, confirmed := fence, fence
		if s.rec.claimed != nil {
			confirmed = s.rec.claimed.after // where there is a gap too: the client has yet to be told
		}
		if r != nil {
			r.fence = fence
			if r.needs != nil {
				position = r.after
			}
			s.rec.recovered, s.rec.resumed = r.recovers(), !r.recovers()
			if r.recovers() {
				s.rec.pid = r.pid
			}
		}
		s.rec.pos = position.String()
		s.rec.confirmed = s.rec.pos
		if confirmed != position {
			s.rec.confirmed = confirmed.String()
		}
		s.mu.Unlock()
		s.ns.adapter.Add(s, rooms...)
	})
	return entered
}

// replayFailed closes the connection of a client that has to come back for the rest.
func (s *Socket) replayFailed(err error) {
	if s.state.Load() == stateEnded {
		return // its connection may have others
	}
	if !errors.Is(err, ErrDisconnected) && !errors.Is(err, engineio.ErrClosed) && !errors.Is(err, context.Canceled) {
		s.client.server.opts.Logger.Warn("twine: replay failed, the client has to come back",
			slog.String("namespace", s.namespace), slog.String("socket", s.id), slog.Any("error", err))
	}
	s.client.close(ReasonTransportClose)
}

// sendReplay sends what the client missed, up to the fence, never queueing more than a page or two.
func (s *Socket) sendReplay(ctx context.Context, r *resumption) error {
	// No more than a page waits, or so much that what waits and an event of that size stay in bounds.
	limit := replayPage
	if bound := s.client.server.opts.Engine.MaxQueueBytes; bound > 0 {
		limit = min(limit, bound/3)
	}
	return s.replay(ctx, r, r.fence, func(entries []recovery.Entry) error {
		for i := range entries {
			e := &entries[i]
			room := limit
			if e.Size() > limit {
				room = 0
			}
			if err := s.client.waitQueue(ctx, room); err != nil {
				return err
			}
			r, err := s.ns.log().replayed.of(s.ns.log(), e)
			if err != nil {
				return err
			}
			s.mu.Lock()
			err = s.queueAt(r.wire, r.offset)
			s.mu.Unlock()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// tellMissedLocked sends a gap event for each room. It comes right behind the CONNECT packet, so that no pong can confirm
// the new position before the client has been told what is missing. It needs mu.
func (s *Socket) tellMissedLocked(m *missed) {
	for i, room := range m.rooms {
		offset := s.rec.pos
		if i < len(m.rooms)-1 {
			offset = m.from.String() // who is cut before the last one has to be told again
		}
		p, err := eventPacket(s.namespace, gapEvent, []any{struct {
			Room string `json:"room"`
			From string `json:"from"`
			To   string `json:"to"`
		}{room, m.from.String(), s.rec.pos}})
		if err != nil {
			continue // never: it is three strings
		}
		if w, err := s.client.server.encode(p, offset); err == nil {
			_ = s.queue(w, false) // an error says that the connection is closed
		}
	}
}

var _ adapter.Member = (*Socket)(nil)

// newToken returns a text that no connection of any server had before.
func (srv *Server) newToken() string {
	return srv.instance + "-" + strconv.FormatUint(srv.tokens.Add(1), 36)
}

var _ engineio.HeartbeatObserver = (*client)(nil)

// BeforePing implements [engineio.HeartbeatObserver].
func (c *client) BeforePing() { c.each((*Socket).beforePing) }

// Pong implements [engineio.HeartbeatObserver].
func (c *client) Pong() { c.each((*Socket).pong) }

func (c *client) each(f func(*Socket)) {
	c.mu.Lock()
	first := c.first
	var more []*Socket
	for _, s := range c.more {
		more = append(more, s)
	}
	c.mu.Unlock()
	if first != nil {
		f(first)
	}
	for _, s := range more {
		f(s)
	}
}
