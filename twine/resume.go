package twine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// A browser that reloads its page, or comes back the next day, has no session id: all that is left is an identity, such
// as a cookie, which all of its tabs share. Its sessions that no connection holds any more are what a new connection can
// resume.
//
// A tab that is connected keeps its session to itself. If several tabs were cut off together, nothing tells which of
// them comes back first: each then gets the rooms of all, because a message too many can be ignored and one too few
// cannot.

const (
	// together is how far apart disconnects may be that count as one.
	together = time.Minute
	// aliveTimeout is how long a connection with the same identity may take to show that it is alive.
	aliveTimeout = time.Second
)

// identities serialises the connections of one browser while they choose what to resume, and those that have to do with
// one session while it changes hands.
type identities struct {
	mu   sync.Mutex
	busy map[string]chan struct{}
}

// browserKey is the name of a browser's lock. That of a session begins with a slash, as its namespace does.
func browserKey(id string) string { return "@" + id }

// lock waits for its turn with an identity, or for ctx.
func (l *identities) lock(ctx context.Context, id string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		turn := l.busy[id]
		if turn == nil {
			if l.busy == nil {
				l.busy = make(map[string]chan struct{})
			}
			turn = make(chan struct{})
			l.busy[id] = turn
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.busy, id)
				l.mu.Unlock()
				close(turn)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// resume finds what the browser of a new socket left behind. A nil resumption means nothing.
func (s *Socket) resume(ctx context.Context) (*resumption, *missed, error) {
	id := s.rec.twineID
	if id == "" {
		return nil, nil, nil
	}
	opts := s.ns.log().opts
	unlock, err := s.client.server.identities.lock(ctx, browserKey(id))
	if err != nil {
		return nil, nil, errors.Join(errUnavailable, err)
	}
	defer unlock()
	left, err := s.leftBehind(ctx, id)
	if err != nil || len(left) == 0 {
		return nil, nil, err
	}
	callCtx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	first, err := s.claimLeft(callCtx, &left[0])
	for errors.Is(err, recovery.ErrUnknownSession) || errors.Is(err, recovery.ErrExpired) {
		if left = left[1:]; len(left) == 0 {
			return nil, nil, nil
		}
		first, err = s.claimLeft(callCtx, &left[0])
	}
	if err != nil {
		s.stray(s.rec.token) // it may have taken effect
		return nil, nil, errors.Join(errUnavailable, err)
	}
	r := &resumption{state: first, after: first.Position}
	s.setClaimed(r)
	left[0] = first
	for _, st := range left {
		r.rooms = append(r.rooms, missing(st.Rooms, r.rooms)...)
		st.Rooms = append([]string{st.SID}, st.Rooms...)
		r.needs = append(r.needs, st)
		if st.Position.Before(r.after) {
			r.after = st.Position
		}
	}
	for _, st := range left[1:] {
		s.shareRooms(callCtx, st, r)
	}
	gap, err := s.count(ctx, r)
	if err != nil && !errors.Is(err, recovery.ErrFuture) {
		return nil, nil, errors.Join(errUnavailable, err)
	}
	if gap == nil && err == nil {
		return r, nil, nil
	}
	// The rooms are resumed, but not the history, and the client is told.
	if gap == nil {
		gap = &missed{from: r.after}
	}
	gap.rooms = r.rooms
	r.needs = nil
	return r, gap, nil
}

// claimLeft claims a session that was left behind. What the connection that held it knew is newer than what is stored.
func (s *Socket) claimLeft(ctx context.Context, known *recovery.State) (recovery.State, error) {
	unlock, err := s.client.server.identities.lock(ctx, known.PID)
	if err != nil {
		return recovery.State{}, err
	}
	defer unlock()
	st, previous, err := s.ns.log().opts.Sessions.Claim(ctx, known.PID, s.rec.token)
	if err != nil {
		return st, err
	}
	s.ns.log().noteClaim(s, known.PID)
	s.client.server.strays.remove(previous)
	if st.Disconnected.IsZero() && !known.Disconnected.IsZero() {
		st.Rooms, st.Position, st.Data = known.Rooms, known.Position, known.Data
	}
	return st, nil
}

// leftBehind returns the sessions of an identity that no living connection holds, those that were let go together.
func (s *Socket) leftBehind(ctx context.Context, id string) ([]recovery.State, error) {
	opts := s.ns.log().opts
	callCtx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	all, err := s.sessionsOf(callCtx, id)
	if err != nil {
		return nil, err
	}
	gone, err := s.askPeers(callCtx, all)
	if err != nil {
		return nil, err
	}
	if known, changed := s.awaitSigns(callCtx, all); changed || len(gone) > 0 {
		if all, err = s.sessionsOf(callCtx, id); err != nil {
			return nil, err
		}
		for i := range all {
			if st, ok := known[all[i].PID]; ok {
				all[i] = st
			}
		}
	}
	var left []recovery.State
	newest := time.Time{}
	for _, st := range all {
		if st.Owner == "" {
			newest = later(newest, st.Disconnected)
		}
	}
	for _, st := range all {
		switch {
		case st.Owner == "" && newest.Sub(st.Disconnected) > together:
		case st.Owner == "" || gone[st.Owner] || s.client.server.abandoned(&st):
			left = append(left, st)
		}
	}
	return left, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sessionsOf returns the sessions of an identity in this namespace, held or not.
func (s *Socket) sessionsOf(ctx context.Context, id string) ([]recovery.State, error) {
	all, err := s.ns.log().opts.Sessions.ByTwineID(ctx, id)
	if err != nil {
		return nil, errors.Join(errUnavailable, err)
	}
	return slices.DeleteFunc(all, func(st recovery.State) bool { return st.Namespace != s.ns.name }), nil
}

// awaitSigns asks the living connections of the same browser for a sign of life, and closes those that give none: they
// are half-open, left over from before a reload or from another network. It returns what those knew, by the keys of their
// sessions. It also waits for those that are just being released; changed tells that the store may know more than all.
func (s *Socket) awaitSigns(ctx context.Context, all []recovery.State) (known map[string]recovery.State, changed bool) {
	known = make(map[string]recovery.State)
	var mu sync.Mutex // guards the results
	var asked sync.WaitGroup
	for _, st := range all {
		if !strings.HasPrefix(st.Owner, s.client.server.instance+"-") {
			continue
		}
		asked.Go(func() {
			if joining := s.ns.log().claimant(st.PID); joining != nil {
				if joining.rec.token == st.Owner && s.displace(ctx, joining, &st) {
					mu.Lock()
					defer mu.Unlock()
					changed = true
					if st.Owner == "" {
						known[st.PID] = st
					}
				}
				return
			}
			old := s.ns.Socket(st.SID)
			holds := old != nil && old.rec != nil && old.rec.token == st.Owner
			if holds && old.state.Load() != stateEnded && old.session.CheckAlive(aliveTimeout) {
				return
			}
			unlock, err := s.client.server.identities.lock(ctx, st.PID)
			if err != nil {
				return
			}
			defer unlock()
			mu.Lock()
			defer mu.Unlock()
			changed = true
			if holds && s.ns.Socket(st.SID) == old {
				old.supersede(s, &st)
				st.Owner, st.Disconnected = "", time.Now()
				known[st.PID] = st
			}
		})
	}
	asked.Wait()
	return known, changed
}

// displace takes a claimed session from a socket whose connection is gone, as it was claimed. One that has got so far
// that it will leave a session of its own behind is waited for instead. It reports false if the connection is alive.
func (s *Socket) displace(ctx context.Context, joining *Socket, st *recovery.State) bool {
	if joining.state.Load() != stateEnded && joining.session.CheckAlive(aliveTimeout) {
		return false
	}
	unlock, err := s.client.server.identities.lock(ctx, st.PID)
	if err != nil {
		return true
	}
	joining.mu.Lock()
	r, connected := joining.rec.claimed, joining.connected
	if r != nil && !connected {
		joining.rec.lost = true // it will not enter its rooms
		*st = r.state
		st.Owner, st.Disconnected = "", time.Now()
	}
	joining.mu.Unlock()
	unlock()
	joining.hangUp(s)
	if r == nil || !connected {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for s.ns.log().claimant(st.PID) == joining {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return true
		}
	}
	return true
}

// abandoned reports whether the process that holds a session is known to be gone. Without a cluster that is every other
// one; in a cluster they are asked, see askPeers.
func (srv *Server) abandoned(st *recovery.State) bool {
	if !strings.HasPrefix(st.Owner, srv.instance+"-") {
		return srv.opts.Recovery.Peers == nil
	}
	return srv.strays.has(st.Owner)
}

// shareRooms gives a session that was let go together with the one that s resumes the rooms of both, for the tab that
// comes back next.
func (s *Socket) shareRooms(ctx context.Context, st recovery.State, r *resumption) {
	opts := s.ns.log().opts
	token := s.client.server.newToken()
	stored, _, err := opts.Sessions.Claim(ctx, st.PID, token)
	if err == nil {
		stored.Rooms = r.rooms
		stored.Position = r.after
		err = opts.Sessions.Release(ctx, stored, token, opts.MaxDisconnection)
	}
	if err != nil {
		s.stray(token) // it may have been claimed
		s.client.server.opts.Logger.Warn("twine: session of another tab is not updated",
			slog.String("namespace", s.namespace), slog.Any("error", err))
	}
}

// catchUp sends what the client missed, a while after it has connected, and lets the socket go live.
func (s *Socket) catchUp(r *resumption, delay time.Duration) {
	ctx := s.Context()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.session.Done():
			return
		}
	}
	if err := s.sendReplay(ctx, r); err != nil {
		s.replayFailed(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() == stateCatchingUp {
		s.goLiveLocked()
	}
}
