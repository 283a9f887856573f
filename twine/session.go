package twine

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// recoverable is what a socket has in addition while recovery is on. Positions are offsets as text, because that is how
// they come and go; the text is shared with all who are at the same position.
type recoverable struct {
	pid     string
	token   string // proves to the session store that this connection is the one
	twineID string

	// Guarded by Socket.mu.
	pos       string // all events up to here that concern the socket are queued, or held
	pinged    string // pos when the last ping was sent
	confirmed string // the client has certainly received everything up to here
	saved     string // the confirmed position that is stored
	received  bool   // an event has been queued since then
	saveDue   bool   // the session has changed in a way that the socket's goroutine has to store
	recovered bool
	resumed   bool
	stopped   bool        // what comes next in the log will not reach this connection
	lost      bool        // another connection has taken the session over
	successor *Socket     // that connection's, if it is on this server
	claimed   *resumption // a session that was claimed and that this one has not replaced yet

	// storing is held while the session is written, so that an older state cannot overtake a newer one.
	storing sync.Mutex
	created bool  // guarded by storing: the store knows the session
	savedAt int64 // when it was stored, in seconds; guarded by Socket.mu
}

// storeKey is the name of a session in the store. The namespace is part of it, so that a pid is worth nothing elsewhere.
func storeKey(namespace, pid string) string { return namespace + "#" + pid }

// stateLocked returns what there is to store. It needs mu.
func (s *Socket) stateLocked(rooms []string) (recovery.State, error) {
	r := s.rec
	st := recovery.State{PID: storeKey(s.ns.name, r.pid), SID: s.id, Namespace: s.ns.name, TwineID: r.twineID}
	for _, room := range rooms {
		if room != s.id {
			st.Rooms = append(st.Rooms, room)
		}
	}
	var err error
	if st.Position, err = recovery.ParseOffset(r.confirmed); err != nil {
		return st, err
	}
	if s.data != nil {
		if st.Data, err = json.Marshal(s.data); err != nil {
			return st, err
		}
	}
	return st, nil
}

// Persist writes the socket's session, its rooms above all, to the session store and returns when it is safe there: from
// then on a crash of this server does not make the client forget what it has joined. Join does it too, but cannot
// report an error. Without recovery Persist does nothing.
func (s *Socket) Persist(ctx context.Context) error {
	_, err := s.save(ctx)
	return err
}

// save is Persist. It tells whether the session was written.
func (s *Socket) save(ctx context.Context) (stored bool, err error) {
	if s.rec == nil {
		return false, nil
	}
	s.rec.storing.Lock()
	defer s.rec.storing.Unlock()
	rooms := s.Rooms()
	s.mu.Lock()
	state := s.state.Load()
	if state == stateEnded || state == stateJoining || s.rec.lost {
		s.mu.Unlock()
		return false, nil // the end writes its own; before the beginning there is nothing
	}
	st, err := s.stateLocked(rooms)
	s.mu.Unlock()
	if err == nil {
		err = s.write(ctx, st)
	}
	return err == nil, err
}

// write needs storing.
func (s *Socket) write(ctx context.Context, st recovery.State) error {
	opts := s.ns.log().opts
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	var err error
	if !s.rec.created {
		if err = opts.Sessions.Create(ctx, st, s.rec.token); errors.Is(err, recovery.ErrSessionExists) {
			err = opts.Sessions.Store(ctx, st, s.rec.token) // an attempt that seemed to fail did not
		}
	} else {
		err = opts.Sessions.Store(ctx, st, s.rec.token)
	}
	switch {
	case err == nil:
		s.rec.created = true
		s.mu.Lock()
		s.rec.saved, s.rec.received, s.rec.savedAt = st.Position.String(), false, time.Now().Unix()
		s.mu.Unlock()
	case errors.Is(err, recovery.ErrSuperseded):
		s.superseded(nil)
		s.client.close(ReasonTransportClose)
	}
	return err
}

// persist is Persist for those who can't return an error.
func (s *Socket) persist() {
	if err := s.Persist(s.client.server.ctx); err != nil && !errors.Is(err, recovery.ErrSuperseded) {
		s.client.server.opts.Logger.Warn("twine: session is not stored; a crash now would make its client start anew",
			slog.String("namespace", s.namespace), slog.String("socket", s.id), slog.Any("error", err))
	}
}

// superseded notes that another connection has taken the session over: by's, unless that is another server's. What this
// one's handlers have yet to do to the rooms concerns that connection.
func (s *Socket) superseded(by *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec.lost = true
	if s.rec.successor == nil {
		s.rec.successor = by
	}
}

// successor returns the socket that has taken the session over, or nil.
func (s *Socket) successor() *Socket {
	if s.rec == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.successor
}

// resumable reports whether a client that was disconnected for this reason may come back to its session. A client that
// said goodbye has its page's identity to come back by.
func (s *Socket) resumable(reason string) bool {
	switch reason {
	case ReasonServerDisconnect, ReasonParseError:
		return false
	case ReasonClientDisconnect:
		return s.rec.twineID != ""
	}
	return true
}

// leaveRooms takes a socket that has ended out of its rooms and stores its session for the client to come back to.
func (s *Socket) leaveRooms(reason string) {
	if s.rec == nil || s.ns.log() == nil {
		s.ns.adapter.DelAll(s)
		return
	}
	// A client may be back already. It gets what is stored here, or else what the socket, still a member, has.
	ctx, cancel := context.WithTimeout(context.Background(), s.ns.log().opts.Timeout)
	defer cancel()
	if unlock, err := s.client.server.identities.lock(ctx, storeKey(s.ns.name, s.rec.pid)); err == nil {
		defer unlock()
	}
	rooms := s.Rooms()
	s.ns.adapter.DelAll(s)
	s.releaseSession(reason, rooms)
	s.client.server.expireSessions(s.ns.log().opts)
}

// releaseSession stores the session of a socket that has ended. rooms are those that it was in.
func (s *Socket) releaseSession(reason string, rooms []string) {
	r := s.rec
	r.storing.Lock()
	defer r.storing.Unlock()
	s.mu.Lock()
	lost, connected, claimed := r.lost, s.connected, r.claimed
	st, err := s.stateLocked(rooms)
	s.mu.Unlock()
	switch {
	case claimed != nil && !connected:
		s.giveBack(claimed)
		return
	case lost && claimed != nil:
		s.ns.log().forgetClaim(s, claimed)
		if r.created && !claimed.recovers() {
			s.forgetSession(st.PID, r.token) // its successor has the rooms
		}
		return
	case lost, !connected:
		return
	}
	// Not the server's context: it may be closing, and that is when sessions matter.
	ctx, cancel := context.WithTimeout(context.Background(), s.ns.log().opts.Timeout)
	defer cancel()
	store := s.ns.log().opts.Sessions
	switch {
	case err != nil:
	case !s.resumable(reason):
		if r.created {
			err = store.Delete(ctx, st.PID, r.token)
		}
	default:
		if !r.created {
			err = s.write(ctx, st)
		}
		if err == nil {
			err = store.Release(ctx, st, r.token, s.ns.log().opts.MaxDisconnection)
		}
	}
	if claimed != nil {
		s.letGo(claimed, err == nil)
	}
	if err != nil && !errors.Is(err, recovery.ErrSuperseded) {
		s.stray(r.token)
		s.client.server.opts.Logger.Warn("twine: session of a disconnected client is not stored",
			slog.String("namespace", s.namespace), slog.String("socket", s.id), slog.Any("error", err))
	}
}

// stray notes that a session may be held by a token whose connection is gone. Who comes by a private id claims it all the
// same, so that is only for those who come by an identity.
func (s *Socket) stray(token string) {
	if s.rec.twineID != "" {
		s.client.server.strays.add(token)
	}
}

// strays are the tokens of connections that are gone, but failed to let their sessions go. Without them such a session
// would look held for as long as this process lives.
type strays struct {
	mu     sync.Mutex
	tokens map[string]struct{}
}

const maxStrays = 100_000

func (l *strays) add(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tokens == nil {
		l.tokens = make(map[string]struct{})
	}
	if len(l.tokens) < maxStrays {
		l.tokens[token] = struct{}{}
	}
}

func (l *strays) has(token string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.tokens[token]
	return ok
}

func (l *strays) remove(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tokens, token)
}

// expireEvery is how often the session store is asked to forget what has expired.
const expireEvery = time.Minute

// expireSessions makes room in the session store, now and then. Sessions pile up only while clients disconnect, so that
// is when it is called.
func (srv *Server) expireSessions(opts *Recovery) {
	now := time.Now()
	last := srv.expired.Load()
	if now.UnixNano()-last < int64(expireEvery) || !srv.expired.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), opts.Timeout)
	defer cancel()
	if err := opts.Sessions.Expire(ctx, now); err != nil {
		srv.opts.Logger.Warn("twine: expired sessions are not forgotten", slog.Any("error", err))
	}
}

// missing returns the rooms that are not in known.
func missing(rooms, known []string) (out []string) {
	for _, room := range rooms {
		if !slices.Contains(known, room) && !slices.Contains(out, room) {
			out = append(out, room)
		}
	}
	return out
}

// Recovered reports whether the client came back with its session, in time: its id, rooms and data are those it had, and
// it has received what it missed.
func (s *Socket) Recovered() bool {
	if s.rec == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.recovered
}

// Resumed reports whether the socket took over the rooms and the position that its browser, see [Recovery.Identify], left
// behind. Unlike a recovered one it has a new id.
func (s *Socket) Resumed() bool {
	if s.rec == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.resumed
}

// ConfirmReceived notes what an application knows: that the client has received every event from before t. It has an
// effect on where the browser's next connection resumes. A time later than what was sent is taken as that.
func (s *Socket) ConfirmReceived(t time.Time) {
	if s.rec == nil {
		return
	}
	if t = t.Add(-s.client.server.opts.Recovery.ClockSkew); t.UnixMilli() <= 0 {
		return
	}
	before := recovery.Offset{MS: uint64(t.UnixMilli()) - 1, Seq: math.MaxUint64}
	s.mu.Lock()
	defer s.mu.Unlock()
	pos, err := recovery.ParseOffset(s.rec.pos)
	if err != nil {
		return
	}
	if before.After(pos) {
		before = pos
	}
	s.confirmLocked(before.String())
}

// confirmLocked moves the confirmed position on, never back. It needs mu.
func (s *Socket) confirmLocked(offset string) {
	to, err := recovery.ParseOffset(offset)
	if err != nil {
		return
	}
	if from, err := recovery.ParseOffset(s.rec.confirmed); err == nil && to.After(from) {
		s.rec.confirmed = offset
	}
}

// beforePing notes the position that the next pong will confirm.
func (s *Socket) beforePing() {
	if state := s.state.Load(); s.rec == nil || (state != stateLive && state != stateObserved) {
		return
	}
	// Before the lock: what is in every queue now will be in front of the ping.
	newest := *s.ns.log().newest.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if state := s.state.Load(); state == stateLive || state == stateObserved {
		s.advanceLocked(newest)
		s.rec.pinged = s.rec.pos
	}
}

// advanceLocked moves the position on, never back. It needs mu.
func (s *Socket) advanceLocked(offset string) {
	to, err := recovery.ParseOffset(offset)
	if err != nil || s.rec.stopped {
		return
	}
	if from, err := recovery.ParseOffset(s.rec.pos); err == nil && to.After(from) {
		s.rec.pos = offset
	}
}

// How old the stored position of a client may become, in terms of what it has confirmed. After a crash of this server a
// resumed client gets what it received in that time again. For one that receives nothing the position only has to stay
// within the history that the log keeps.
const (
	activeAge = 20 * time.Second
	idleAge   = 30 * time.Minute
)

// A store forgets a session that is not stored again for long, see recovery.DefaultHold.
const holdAge = recovery.DefaultHold / 4

// dueLocked reports whether it is time to store the confirmed position. It needs mu.
func (s *Socket) dueLocked() bool {
	opts := s.ns.log().opts
	if time.Since(time.Unix(s.rec.savedAt, 0)) >= holdAge {
		return true
	}
	if s.rec.twineID == "" && !opts.ResumeIdle {
		return false // the client itself says where it is
	}
	confirmed, err := recovery.ParseOffset(s.rec.confirmed)
	if err != nil {
		return false
	}
	saved, err := recovery.ParseOffset(s.rec.saved)
	if err != nil {
		return true
	}
	age := min(idleAge, opts.MaxDisconnection/4)
	if s.rec.received {
		age = min(age, activeAge)
	}
	return confirmed.Time().Sub(saved.Time()) >= age
}

// pong confirms what the client had in front of its pong, and stores it now and then.
func (s *Socket) pong() {
	if s.rec == nil || !s.Connected() {
		return
	}
	s.mu.Lock()
	if s.rec.pinged != "" {
		s.confirmLocked(s.rec.pinged)
	}
	if s.connectedLocked() && s.dueLocked() {
		s.saveLocked()
	}
	s.mu.Unlock()
}

// saveLocked has the session stored soon. It needs mu.
func (s *Socket) saveLocked() {
	if s.rec != nil && !s.rec.saveDue {
		s.rec.saveDue = true
		s.startLocked()
	}
}

// RoomsChanged implements [adapter.Member].
func (s *Socket) RoomsChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connectedLocked() {
		s.saveLocked()
	}
}
