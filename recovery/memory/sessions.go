package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// SessionsOptions bound what a Sessions holds. The zero value is useful.
type SessionsOptions struct {
	Hold time.Duration    // how long a session that is not stored again is held; zero: recovery.DefaultHold
	Max  int              // Create fails with recovery.ErrFull past it; zero: 1,000,000
	Now  func() time.Time // nil: time.Now
}

// Sessions is a recovery.Sessions in memory.
type Sessions struct {
	opts SessionsOptions

	mu     sync.Mutex
	byPID  map[string]*session
	byTwin map[string][]*session
	closed bool
}

type session struct {
	state recovery.State
	token string // the newest claim; stays when the session is released
}

var _ recovery.Sessions = (*Sessions)(nil)

// NewSessions returns a store without sessions.
func NewSessions(opts SessionsOptions) *Sessions {
	if opts.Hold <= 0 {
		opts.Hold = recovery.DefaultHold
	}
	if opts.Max <= 0 {
		opts.Max = 1_000_000
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Sessions{opts: opts, byPID: make(map[string]*session), byTwin: make(map[string][]*session)}
}

// Create implements recovery.Sessions.
func (m *Sessions) Create(_ context.Context, st recovery.State, token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return recovery.ErrClosed
	}
	if token == "" {
		return fmt.Errorf("%w: no token", recovery.ErrSuperseded)
	}
	if m.byPID[st.PID] != nil {
		return fmt.Errorf("%w: %.40q", recovery.ErrSessionExists, st.PID)
	}
	if len(m.byPID) >= m.opts.Max {
		return fmt.Errorf("%d sessions: %w", len(m.byPID), recovery.ErrFull)
	}
	s := new(session)
	m.byPID[st.PID] = s
	m.put(s, st, token)
	return nil
}

// put makes st the state of s, held by token. Call with mu held.
func (m *Sessions) put(s *session, st recovery.State, token string) {
	if s.state.TwineID != st.TwineID {
		m.unlink(s)
		if st.TwineID != "" {
			m.byTwin[st.TwineID] = append(m.byTwin[st.TwineID], s)
		}
	}
	st = clone(st)
	st.Owner, st.Disconnected = token, time.Time{}
	st.Expires = m.opts.Now().Add(m.opts.Hold)
	s.state, s.token = st, token
}

func (m *Sessions) unlink(s *session) {
	id := s.state.TwineID
	if id == "" {
		return
	}
	list := m.byTwin[id]
	if i := slices.Index(list, s); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if m.byTwin[id] = list; len(list) == 0 {
		delete(m.byTwin, id)
	}
}

func clone(st recovery.State) recovery.State {
	st.Rooms = slices.Clone(st.Rooms)
	st.Data = bytes.Clone(st.Data)
	return st
}

// owned returns the session if token holds it. Call with mu held.
func (m *Sessions) owned(pid, token string) (*session, error) {
	if m.closed {
		return nil, recovery.ErrClosed
	}
	s := m.byPID[pid]
	if s == nil {
		return nil, fmt.Errorf("%w: %.40q", recovery.ErrUnknownSession, pid)
	}
	if s.state.Owner != token || token == "" {
		return nil, fmt.Errorf("%w: %.40q", recovery.ErrSuperseded, pid)
	}
	return s, nil
}

// Store implements recovery.Sessions.
func (m *Sessions) Store(_ context.Context, st recovery.State, token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.owned(st.PID, token)
	if err != nil {
		return err
	}
	m.put(s, st, token)
	return nil
}

// Claim implements recovery.Sessions.
func (m *Sessions) Claim(_ context.Context, pid, token string) (recovery.State, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return recovery.State{}, "", recovery.ErrClosed
	}
	s := m.byPID[pid]
	if s == nil {
		return recovery.State{}, "", fmt.Errorf("%w: %.40q", recovery.ErrUnknownSession, pid)
	}
	if token == "" {
		return recovery.State{}, "", fmt.Errorf("%w: no token", recovery.ErrSuperseded)
	}
	now := m.opts.Now()
	if !now.Before(s.state.Expires) {
		return recovery.State{}, "", fmt.Errorf("%w: %.40q", recovery.ErrExpired, pid)
	}
	previous := s.state.Owner
	s.token, s.state.Owner = token, token
	s.state.Expires = now.Add(m.opts.Hold)
	st := clone(s.state)
	s.state.Disconnected = time.Time{}
	return st, previous, nil
}

// Release implements recovery.Sessions.
func (m *Sessions) Release(_ context.Context, st recovery.State, token string, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.owned(st.PID, token)
	if err != nil {
		return err
	}
	m.put(s, st, token)
	s.state.Owner = ""
	s.state.Disconnected = m.opts.Now()
	s.state.Expires = s.state.Disconnected.Add(ttl)
	return nil
}

// Delete implements recovery.Sessions.
func (m *Sessions) Delete(_ context.Context, pid, token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return recovery.ErrClosed
	}
	s := m.byPID[pid]
	if s == nil {
		return nil
	}
	if s.token != token {
		return fmt.Errorf("%w: %.40q", recovery.ErrSuperseded, pid)
	}
	m.remove(pid, s)
	return nil
}

func (m *Sessions) remove(pid string, s *session) {
	m.unlink(s)
	delete(m.byPID, pid)
}

// ByTwineID implements recovery.Sessions.
func (m *Sessions) ByTwineID(_ context.Context, twineID string) ([]recovery.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, recovery.ErrClosed
	}
	now := m.opts.Now()
	var states []recovery.State
	for _, s := range m.byTwin[twineID] {
		if now.Before(s.state.Expires) {
			states = append(states, clone(s.state))
		}
	}
	recovery.SortStates(states)
	return states, nil
}

// Expire implements recovery.Sessions.
func (m *Sessions) Expire(_ context.Context, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return recovery.ErrClosed
	}
	for pid, s := range m.byPID {
		if s.state.Expires.Before(now) {
			m.remove(pid, s)
		}
	}
	return nil
}

// Close implements recovery.Sessions.
func (m *Sessions) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.byPID, m.byTwin = nil, nil
	return nil
}
