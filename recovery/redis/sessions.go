package redislog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
)

// SessionsOptions describe a Sessions. The zero value is useful.
type SessionsOptions struct {
	Prefix string           // of all keys; zero: "twine:"
	Hold   time.Duration    // how long a session that is not stored again is held; zero: recovery.DefaultHold
	Now    func() time.Time // nil: time.Now. The clocks of all nodes have to agree about as well as ttls are to be kept
	// Timeout bounds each call. Zero: 2 s.
	Timeout time.Duration
}

// Sessions is a recovery.Sessions in Redis, shared by all nodes of a cluster.
//
// Each session is a hash under a key of its own, changed by scripts alone, so
// every change is atomic, on a Redis Cluster too. The sessions of one browser
// are found by a sorted set of their ids. It is written before the session is,
// and what it says is checked against the sessions: it may name too many, never
// too few. Redis itself forgets what has expired.
type Sessions struct {
	rdb  redis.UniversalClient
	opts SessionsOptions

	storing   storing
	closed    atomic.Bool
	loading   sync.Mutex
	loaded    bool
	forgotten atomic.Int64 // sessions that expired before count as unknown; ms
}

var _ recovery.Sessions = (*Sessions)(nil)

// NewSessions returns the sessions that are stored in rdb, which it does not
// close. It does not call Redis.
func NewSessions(rdb redis.UniversalClient, opts SessionsOptions) *Sessions {
	if opts.Prefix == "" {
		opts.Prefix = "twine:"
	}
	if opts.Hold <= 0 {
		opts.Hold = recovery.DefaultHold
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 2 * time.Second
	}
	return &Sessions{rdb: rdb, opts: opts}
}

// lateness is how much longer Redis keeps a session than it lasts, so that the
// client is told ErrExpired rather than ErrUnknownSession, and so that clocks
// that disagree a little do no harm.
const lateness = 5 * time.Minute

func (s *Sessions) key(pid string) string       { return s.opts.Prefix + "session:" + pid }
func (s *Sessions) index(twineID string) string { return s.opts.Prefix + "browser:" + twineID }
func (s *Sessions) mark() string                { return s.opts.Prefix + "forgotten" }

// begin prepares a call.
func (s *Sessions) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if s.closed.Load() {
		return nil, nil, recovery.ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	if err := s.load(ctx); err != nil {
		cancel()
		return nil, nil, err
	}
	return ctx, cancel, nil
}

// load reads, once, what an Expire has said before.
func (s *Sessions) load(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	if s.loaded {
		return nil
	}
	ms, err := s.rdb.Get(ctx, s.mark()).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("failed to reach the sessions: %w", err)
	}
	s.forgotten.Store(ms)
	s.loaded = true
	return nil
}

// stored is the part of a session that the scripts do not look into.
type stored struct {
	State recovery.State
	// Rooms stands for State.Rooms: JSON would change names that are not UTF-8.
	Rooms [][]byte `json:",omitempty"`
}

func encodeState(st recovery.State) ([]byte, error) {
	v := stored{State: st}
	v.State.Rooms = nil
	v.State.Owner, v.State.Disconnected, v.State.Expires = "", time.Time{}, time.Time{}
	for _, room := range st.Rooms {
		v.Rooms = append(v.Rooms, []byte(room))
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("failed to encode session: %w", err)
	}
	return b, nil
}

// decodeState reads what the scripts return: the state, its owner, when it was
// released (0: it is held) and when it expires, in ms.
func decodeState(fields []string) (recovery.State, error) {
	var v stored
	if err := json.Unmarshal([]byte(fields[0]), &v); err != nil {
		return recovery.State{}, fmt.Errorf("%w session: %w", recovery.ErrCorrupt, err)
	}
	for _, room := range v.Rooms {
		v.State.Rooms = append(v.State.Rooms, string(room))
	}
	v.State.Owner = fields[1]
	disconnected, err1 := strconv.ParseInt(fields[2], 10, 64)
	expires, err2 := strconv.ParseInt(fields[3], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return recovery.State{}, fmt.Errorf("%w session: %w", recovery.ErrCorrupt, err)
	}
	if disconnected > 0 {
		v.State.Disconnected = time.UnixMilli(disconnected)
	}
	v.State.Expires = time.UnixMilli(expires)
	return v.State, nil
}

// refusals are what a script answers instead of doing something.
var refusals = map[string]error{
	"unknown":    recovery.ErrUnknownSession,
	"expired":    recovery.ErrExpired,
	"superseded": recovery.ErrSuperseded,
	"exists":     recovery.ErrSessionExists,
}

// run runs a script on a session and returns its answer without the verdict.
func (s *Sessions) run(ctx context.Context, script *redis.Script, pid string, args ...any) ([]string, error) {
	args = append([]any{s.forgotten.Load()}, args...)
	answer, err := script.Run(ctx, s.rdb, []string{s.key(pid)}, args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("failed to reach session %.40q: %w", pid, err)
	}
	return answer[1:], verdict(answer, pid)
}

func verdict(answer []string, pid string) error {
	if answer[0] != "ok" {
		return fmt.Errorf("%w: %.40q", refusals[answer[0]], pid)
	}
	return nil
}

// enlistment is the call that puts a session into the index of its browser. It
// goes before what changes the session.
func (s *Sessions) enlistment(st *recovery.State, now, expires time.Time) call {
	if st.TwineID == "" {
		return call{}
	}
	return call{script: enlistScript, key: s.index(st.TwineID), args: []any{st.PID, expires.Add(lateness).UnixMilli(),
		now.UnixMilli(), (expires.Sub(now) + lateness).Milliseconds()}}
}

// Create implements recovery.Sessions.
func (s *Sessions) Create(ctx context.Context, st recovery.State, token string) error {
	return s.put(ctx, createScript, st, token, false, s.opts.Hold)
}

// Store implements recovery.Sessions.
func (s *Sessions) Store(ctx context.Context, st recovery.State, token string) error {
	return s.put(ctx, storeScript, st, token, false, s.opts.Hold)
}

// Release implements recovery.Sessions.
func (s *Sessions) Release(ctx context.Context, st recovery.State, token string, ttl time.Duration) error {
	return s.put(ctx, storeScript, st, token, true, ttl)
}

func (s *Sessions) put(ctx context.Context, script *redis.Script, st recovery.State, token string, released bool, ttl time.Duration) error {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if token == "" {
		return fmt.Errorf("%w: no token", recovery.ErrSuperseded)
	}
	body, err := encodeState(st)
	if err != nil {
		return err
	}
	now := s.opts.Now()
	expires := now.Add(ttl)
	owner, disconnected := token, int64(0)
	if released {
		owner, disconnected = "", now.UnixMilli()
	}
	change := &store{enlist: s.enlistment(&st, now, expires), change: call{script: script, key: s.key(st.PID), args: []any{
		s.forgotten.Load(), token, body, owner, disconnected, expires.UnixMilli(), (ttl + lateness).Milliseconds()}}}
	if err := s.do(ctx, change); err != nil {
		return fmt.Errorf("failed to reach session %.40q: %w", st.PID, err)
	}
	return verdict(change.answer, st.PID)
}

// Claim implements recovery.Sessions.
func (s *Sessions) Claim(ctx context.Context, pid, token string) (st recovery.State, previous string, err error) {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return recovery.State{}, "", err
	}
	defer cancel()
	now := s.opts.Now()
	expires := now.Add(s.opts.Hold)
	answer, err := s.run(ctx, claimScript, pid, token, now.UnixMilli(), expires.UnixMilli(), (s.opts.Hold + lateness).Milliseconds())
	if err != nil {
		return recovery.State{}, "", err
	}
	previous = answer[1]
	if st, err = decodeState(answer); err != nil {
		return recovery.State{}, "", err
	}
	if enlist := s.enlistment(&st, now, expires); enlist.script != nil {
		s.callAll(ctx, []*call{&enlist})
		if err := enlist.err(); err != nil {
			return recovery.State{}, "", fmt.Errorf("failed to reach the sessions of a browser: %w", err)
		}
	}
	st.Owner, st.Expires = token, expires
	return st, previous, nil
}

// Delete implements recovery.Sessions.
func (s *Sessions) Delete(ctx context.Context, pid, token string) error {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	_, err = s.run(ctx, deleteScript, pid, token)
	return err
}

// ByTwineID implements recovery.Sessions.
func (s *Sessions) ByTwineID(ctx context.Context, twineID string) ([]recovery.State, error) {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if twineID == "" {
		return nil, nil
	}
	pids, err := s.rdb.ZRange(ctx, s.index(twineID), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("failed to read the sessions of a browser: %w", err)
	}
	if len(pids) == 0 {
		return nil, nil
	}
	reads := make([]*redis.SliceCmd, len(pids))
	if _, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, pid := range pids {
			reads[i] = p.HMGet(ctx, s.key(pid), fieldState, fieldOwner, fieldReleased, fieldExpires)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("failed to read the sessions of a browser: %w", err)
	}
	now := s.opts.Now()
	var states []recovery.State
	for _, read := range reads {
		fields := make([]string, 0, 4)
		for _, v := range read.Val() {
			if text, ok := v.(string); ok {
				fields = append(fields, text)
			}
		}
		if len(fields) < 4 {
			continue
		}
		st, err := decodeState(fields)
		if err != nil {
			return nil, err
		}
		if st.TwineID == twineID && now.Before(st.Expires) {
			states = append(states, st)
		}
	}
	recovery.SortStates(states)
	return states, nil
}

// Expire implements recovery.Sessions. Redis makes room by itself; what is said
// here is that sessions that expired before now are unknown from now on.
func (s *Sessions) Expire(ctx context.Context, now time.Time) error {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	ms := now.UnixMilli()
	if ms <= s.forgotten.Load() {
		return nil
	}
	if err := s.rdb.Set(ctx, s.mark(), ms, s.opts.Hold+lateness).Err(); err != nil {
		return fmt.Errorf("failed to reach the sessions: %w", err)
	}
	s.forgotten.Store(ms)
	return nil
}

// Close implements recovery.Sessions. The client stays open.
func (s *Sessions) Close() error {
	s.storing.mu.Lock() // no goroutine begins while they are waited for
	s.closed.Store(true)
	s.storing.mu.Unlock()
	s.storing.running.Wait()
	return nil
}
