package disk

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/twine-realtime/twine/recovery"
)

// Sessions is a Store seen as a recovery.Sessions. Every change is durable on
// return, and shares its fsync with whatever else is written at the time.
type Sessions struct {
	store  *Store
	closed atomic.Bool
}

var _ recovery.Sessions = (*Sessions)(nil)

// record is a session as it is stored: a CRC32C, then JSON.
type record struct {
	State recovery.State
	Token string // the newest claim; stays when the session is released
	// Rooms stands for State.Rooms: JSON would change names that are not UTF-8.
	Rooms [][]byte `json:",omitempty"`
}

func (r *record) encode() ([]byte, error) {
	stored := *r
	stored.State.Rooms = nil
	for _, room := range r.State.Rooms {
		stored.Rooms = append(stored.Rooms, []byte(room))
	}
	body, err := json.Marshal(stored)
	if err != nil {
		return nil, fmt.Errorf("failed to encode session: %w", err)
	}
	return append(binary.BigEndian.AppendUint32(nil, checksum(body)), body...), nil
}

func decodeRecord(b []byte) (*record, error) {
	if len(b) < 4 || checksum(b[4:]) != binary.BigEndian.Uint32(b) {
		return nil, fmt.Errorf("%w session: the checksum does not match", recovery.ErrCorrupt)
	}
	r := new(record)
	if err := json.Unmarshal(b[4:], r); err != nil {
		return nil, fmt.Errorf("%w session: %w", recovery.ErrCorrupt, err)
	}
	for _, room := range r.Rooms {
		r.State.Rooms = append(r.State.Rooms, string(room))
	}
	r.Rooms = nil
	return r, nil
}

func pidKey(pid string) []byte { return appendName(nil, pid) }

func expiryKey(at time.Time, pid string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(max(0, at.UnixMilli()))), pidKey(pid)...)
}

func browserKey(twineID, pid string) []byte {
	return append(appendName(nil, twineID), pidKey(pid)...)
}

func unknown(pid string) error { return fmt.Errorf("%w: %.40q", recovery.ErrUnknownSession, pid) }

// session reads a session's record; nil if there is none. A record that cannot
// be read back counts as unknown to the client, and may be replaced.
func (c *change) session(pid string) *record {
	v := c.tx.Bucket(bucketSessions).Get(pidKey(pid))
	if v == nil {
		return nil
	}
	r, err := decodeRecord(v)
	if err != nil || r.State.PID != pid {
		c.store.opts.Logger.Error("recovery: a stored session is damaged; its client starts anew", "error", err)
		return nil
	}
	return r
}

// owned returns the session that token holds, or refuses.
func (c *change) owned(pid, token string) (*record, error) {
	r := c.session(pid)
	if r == nil {
		return nil, refuse(unknown(pid))
	}
	if r.State.Owner != token || token == "" {
		return nil, refuse(fmt.Errorf("%w: %.40q", recovery.ErrSuperseded, pid))
	}
	return r, nil
}

// replace writes a session and its indexes. old is nil if it is new.
func (c *change) replace(old, r *record) error {
	v, err := r.encode()
	if err != nil {
		return refuse(err)
	}
	pid := r.State.PID
	if old != nil && !old.State.Expires.Equal(r.State.Expires) {
		if err := c.tx.Bucket(bucketExpiry).Delete(expiryKey(old.State.Expires, pid)); err != nil {
			return err
		}
	}
	if old != nil && old.State.TwineID != "" && old.State.TwineID != r.State.TwineID {
		if err := c.tx.Bucket(bucketBrowsers).Delete(browserKey(old.State.TwineID, pid)); err != nil {
			return err
		}
	}
	if err := c.tx.Bucket(bucketExpiry).Put(expiryKey(r.State.Expires, pid), nil); err != nil {
		return err
	}
	if id := r.State.TwineID; id != "" && (old == nil || old.State.TwineID != id) {
		if err := c.tx.Bucket(bucketBrowsers).Put(browserKey(id, pid), nil); err != nil {
			return err
		}
	}
	return c.tx.Bucket(bucketSessions).Put(pidKey(pid), v)
}

func (s *Sessions) write(ctx context.Context, run func(*change) error) error {
	if s.closed.Load() {
		return recovery.ErrClosed
	}
	return s.store.write(ctx, s.store.states, 512, run)
}

func (s *Sessions) held(c *change, st recovery.State, token string) *record {
	st.Owner, st.Disconnected, st.Expires = token, time.Time{}, c.now.Add(s.store.opts.Hold)
	return &record{State: st, Token: token}
}

// Create implements recovery.Sessions.
func (s *Sessions) Create(ctx context.Context, st recovery.State, token string) error {
	return s.write(ctx, func(c *change) error {
		if token == "" {
			return refuse(fmt.Errorf("%w: no token", recovery.ErrSuperseded))
		}
		if c.session(st.PID) != nil {
			return refuse(fmt.Errorf("%w: %.40q", recovery.ErrSessionExists, st.PID))
		}
		return c.replace(nil, s.held(c, st, token))
	})
}

// Store implements recovery.Sessions.
func (s *Sessions) Store(ctx context.Context, st recovery.State, token string) error {
	return s.write(ctx, func(c *change) error {
		old, err := c.owned(st.PID, token)
		if err != nil {
			return err
		}
		return c.replace(old, s.held(c, st, token))
	})
}

// Claim implements recovery.Sessions.
func (s *Sessions) Claim(ctx context.Context, pid, token string) (st recovery.State, previous string, err error) {
	err = s.write(ctx, func(c *change) error {
		old := c.session(pid)
		if old == nil {
			return refuse(unknown(pid))
		}
		if token == "" {
			return refuse(fmt.Errorf("%w: no token", recovery.ErrSuperseded))
		}
		if !c.now.Before(old.State.Expires) {
			return refuse(fmt.Errorf("%w: %.40q", recovery.ErrExpired, pid))
		}
		st, previous = old.State, old.State.Owner
		r := s.held(c, old.State, token)
		st.Owner, st.Expires = r.State.Owner, r.State.Expires
		return c.replace(old, r)
	})
	if err != nil {
		return recovery.State{}, "", err
	}
	return st, previous, nil
}

// Release implements recovery.Sessions.
func (s *Sessions) Release(ctx context.Context, st recovery.State, token string, ttl time.Duration) error {
	return s.write(ctx, func(c *change) error {
		old, err := c.owned(st.PID, token)
		if err != nil {
			return err
		}
		st.Owner, st.Disconnected, st.Expires = "", c.now, c.now.Add(ttl)
		return c.replace(old, &record{State: st, Token: token})
	})
}

// Delete implements recovery.Sessions.
func (s *Sessions) Delete(ctx context.Context, pid, token string) error {
	return s.write(ctx, func(c *change) error {
		r := c.session(pid)
		if r == nil {
			return nil
		}
		if r.Token != token {
			return refuse(fmt.Errorf("%w: %.40q", recovery.ErrSuperseded, pid))
		}
		return c.forget(r)
	})
}

func (c *change) forget(r *record) error {
	pid := r.State.PID
	if err := c.tx.Bucket(bucketExpiry).Delete(expiryKey(r.State.Expires, pid)); err != nil {
		return err
	}
	if id := r.State.TwineID; id != "" {
		if err := c.tx.Bucket(bucketBrowsers).Delete(browserKey(id, pid)); err != nil {
			return err
		}
	}
	return c.tx.Bucket(bucketSessions).Delete(pidKey(pid))
}

// ByTwineID implements recovery.Sessions.
func (s *Sessions) ByTwineID(ctx context.Context, twineID string) ([]recovery.State, error) {
	if s.closed.Load() {
		return nil, recovery.ErrClosed
	}
	if err := ctx.Err(); err != nil || twineID == "" {
		return nil, err
	}
	now := s.store.opts.Now()
	var states []recovery.State
	err := s.store.view(func(tx *bbolt.Tx) error {
		prefix := appendName(nil, twineID)
		sessions := tx.Bucket(bucketSessions)
		cur := tx.Bucket(bucketBrowsers).Cursor()
		for k, _ := cur.Seek(prefix); len(k) > len(prefix) && string(k[:len(prefix)]) == string(prefix); k, _ = cur.Next() {
			r, err := decodeRecord(sessions.Get(k[len(prefix):]))
			if err != nil {
				s.store.opts.Logger.Error("recovery: a stored session is damaged; its client starts anew", "error", err)
				continue
			}
			if now.Before(r.State.Expires) {
				states = append(states, r.State)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("failed to read sessions: %w", err)
	}
	recovery.SortStates(states)
	return states, nil
}

// Expire implements recovery.Sessions. A Store does so by itself, too.
func (s *Sessions) Expire(ctx context.Context, now time.Time) error {
	if s.closed.Load() {
		return recovery.ErrClosed
	}
	return s.store.expireSessions(ctx, now)
}

// expireSessions forgets sessions, some in each transaction.
func (s *Store) expireSessions(ctx context.Context, now time.Time) error {
	const atOnce = 500
	for more := true; more; {
		err := s.write(ctx, s.states, 0, func(c *change) error {
			var keys [][]byte
			cur := c.tx.Bucket(bucketExpiry).Cursor()
			end := expiryKey(now, "")[:8]
			for k, _ := cur.First(); len(k) >= 8 && string(k[:8]) < string(end) && len(keys) < atOnce; k, _ = cur.Next() {
				keys = append(keys, k)
			}
			more = len(keys) == atOnce
			for _, k := range keys {
				if err := c.expireKey(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("failed to drop expired sessions: %w", err)
		}
	}
	return nil
}

func (c *change) expireKey(k []byte) error {
	pid := append([]byte(nil), k[8:]...)
	key := append([]byte(nil), k...)
	r, err := decodeRecord(c.tx.Bucket(bucketSessions).Get(pid))
	if err == nil && string(expiryKey(r.State.Expires, r.State.PID)) == string(key) {
		return c.forget(r)
	}
	if err := c.tx.Bucket(bucketExpiry).Delete(key); err != nil || r != nil {
		return err
	}
	// Nothing readable is there: drop what is.
	return c.tx.Bucket(bucketSessions).Delete(pid)
}

// Close implements recovery.Sessions. The file stays open for the store's Log
// until it is closed too.
func (s *Sessions) Close() error { return s.store.closeView(&s.closed) }
