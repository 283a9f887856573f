package twine

import (
	"context"
	"errors"
	"log/slog"

	"github.com/twine-realtime/twine/recovery"
)

// A session changes hands under a lock of its own, see identities: the claim with what the former connection knew, and the
// release with the last look at the rooms. So a claim finds either what was released or the socket that still is to
// release, and of two claims the one that the store has last is the last one here too.

// claim claims the session of a pid and takes it over from the connection that has it.
func (s *Socket) claim(ctx context.Context, pid string) (recovery.State, error) {
	opts := s.ns.log().opts
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	if s.rec.twineID != "" {
		// Not while another tab looks for what it can resume.
		unlock, err := s.client.server.identities.lock(ctx, browserKey(s.rec.twineID))
		if err != nil {
			return recovery.State{}, err
		}
		defer unlock()
	}
	key := storeKey(s.ns.name, pid)
	unlock, err := s.client.server.identities.lock(ctx, key)
	if err != nil {
		return recovery.State{}, err
	}
	defer unlock()
	if s.state.Load() == stateEnded {
		return recovery.State{}, ErrDisconnected // it must not take the session from the connection that follows it
	}
	st, previous, err := opts.Sessions.Claim(ctx, key, s.rec.token)
	s.client.server.strays.remove(previous)
	if err == nil && (!s.takeOver(pid, &st) || !s.takeOverElsewhere(ctx, previous, pid, &st)) {
		s.forgetSession(key, s.rec.token)
		err = recovery.ErrUnknownSession
	}
	return st, err
}

// takeOver closes the connection that holds the session, if it is one of this server: it is half-open, or the client
// would not be here. What it knew is newer than what is stored. It reports false if the session is over, for the client
// has said goodbye. It needs the lock of the session.
func (s *Socket) takeOver(pid string, st *recovery.State) bool {
	if joining := s.ns.log().noteClaim(s, st.PID); joining != nil {
		joining.superseded(s) // from here on it will not enter its rooms
		joining.mu.Lock()
		if r := joining.rec.claimed; r != nil && r.state.PID == st.PID {
			fresh := r.state
			fresh.Owner = st.Owner
			*st = fresh
		}
		joining.mu.Unlock()
		joining.hangUp(s)
	}
	old := s.ns.Socket(st.SID)
	if old == nil || old == s || old.rec == nil || old.rec.pid != pid {
		return true
	}
	old.mu.Lock()
	over := old.state.Load() == stateEnded && !old.resumable(old.more.reason)
	old.mu.Unlock()
	old.supersede(s, st)
	if over {
		s.ns.log().forgetClaim(s, &resumption{state: *st})
	}
	return !over
}

// supersede has by take over the session of s, and puts into st what s knew. It needs the lock of the session.
func (s *Socket) supersede(by *Socket, st *recovery.State) {
	s.superseded(by) // first: a room that is joined after this look is by's affair
	rooms := s.Rooms()
	s.mu.Lock()
	if fresh, err := s.stateLocked(rooms); err == nil {
		fresh.Owner, fresh.Disconnected = st.Owner, st.Disconnected
		*st = fresh
	}
	s.mu.Unlock()
	s.hangUp(by)
}

// hangUp closes the connection of a socket that by has superseded, unless it is the same.
func (s *Socket) hangUp(by *Socket) {
	if s.client != by.client {
		s.client.close(ReasonTransportClose)
	}
}

// noteClaim notes that s has claimed a session. Until its own state is stored nobody would find it otherwise. It returns
// the socket that it displaces. It needs the lock of the session.
func (h *history) noteClaim(s *Socket, key string) (displaced *Socket) {
	h.claiming.Lock()
	defer h.claiming.Unlock()
	if h.claims == nil {
		h.claims = make(map[string]*Socket)
	}
	displaced = h.claims[key]
	h.claims[key] = s
	return displaced
}

// claimant returns the socket that has claimed a session and not stored its own state yet, or nil.
func (h *history) claimant(key string) *Socket {
	h.claiming.Lock()
	defer h.claiming.Unlock()
	return h.claims[key]
}

// forgetClaim undoes noteClaim.
func (h *history) forgetClaim(s *Socket, r *resumption) {
	h.claiming.Lock()
	defer h.claiming.Unlock()
	if h.claims[r.state.PID] == s {
		delete(h.claims, r.state.PID)
	}
}

// setClaimed notes a session that has to be given back if this connection does not get far enough to replace it.
func (s *Socket) setClaimed(r *resumption) {
	s.mu.Lock()
	s.rec.claimed = r
	s.mu.Unlock()
}

// letGo ends the claim of a session. replaced tells that the socket's own is stored in its place.
func (s *Socket) letGo(r *resumption, replaced bool) {
	s.setClaimed(nil)
	switch {
	case r.recovers(): // it is the same
	case replaced && !r.keep:
		s.forgetSession(r.state.PID, s.rec.token)
	default:
		s.giveBack(r)
	}
	s.ns.log().forgetClaim(s, r)
}

// giveBack lets a claimed session go as it was found. Until that is stored, the claim is still to be found: who looks for
// the session waits, instead of taking it for another's.
func (s *Socket) giveBack(r *resumption) {
	opts := s.client.server.opts.Recovery
	ctx, cancel := context.WithTimeout(context.Background(), opts.Timeout)
	defer cancel()
	defer s.ns.log().forgetClaim(s, r)
	if err := opts.Sessions.Release(ctx, r.state, s.rec.token, opts.MaxDisconnection); err != nil && !errors.Is(err, recovery.ErrSuperseded) {
		s.stray(s.rec.token)
		s.client.server.opts.Logger.Warn("twine: session can't be given back", slog.String("namespace", s.namespace), slog.Any("error", err))
	}
}

func (s *Socket) forgetSession(key, token string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.ns.log().opts.Timeout)
	defer cancel()
	if err := s.ns.log().opts.Sessions.Delete(ctx, key, token); err != nil && !errors.Is(err, recovery.ErrSuperseded) {
		s.client.server.opts.Logger.Warn("twine: old session is not deleted", slog.String("namespace", s.namespace), slog.Any("error", err))
	}
}
