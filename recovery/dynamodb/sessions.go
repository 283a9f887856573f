package dynamodb

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/twine-realtime/twine/recovery"
)

// Sessions is a Store seen as a recovery.Sessions. A session is one item; each
// change of it is one write, whose condition is the fence: it happens at the
// item, and only if the token is still the owner's.
type Sessions struct {
	store  *Store
	closed atomic.Bool

	mu        sync.Mutex
	loaded    bool
	forgotten int64                // ns: sessions that expired before count as gone
	indexed   map[[32]byte]int64   // by browser and session: when its index item expires, s
	order     [maxIndexed][32]byte // of indexed, as it was filled; the oldest goes
	next      int
}

// maxIndexed bounds what is remembered of index items, to save writing them
// again: 64 bytes and some each.
const maxIndexed = 1 << 14

func newSessions(s *Store) *Sessions {
	return &Sessions{store: s, indexed: make(map[[32]byte]int64)}
}

// Attributes of sessions.
const (
	attrState    = "st"  // B: JSON
	attrOwner    = "own" // S: "+" and the token that holds it, or released
	attrNewest   = "tok" // S: "+" and the token of the newest claim
	attrUntil    = "til" // N: when it expires, in ns
	attrReleased = "dis" // N: when it was released, in ns; 0: it is held
	attrPrevious = "pre" // S: what attrOwner was before the newest claim
	attrWas      = "pdi" // N: what attrReleased was before the newest claim
	attrNonce    = "v"   // S: of the write that made it, to know one's own
	attrPID      = "pid" // B: of an index item
)

const released = "-"

func owner(token string) string { return "+" + token }

func tokenOf(owner string) string {
	if owner == released || owner == "" {
		return ""
	}
	return owner[1:]
}

// sessionState is attrState.
type sessionState struct {
	State recovery.State
	// Rooms stands for State.Rooms: JSON would change names that are not UTF-8.
	Rooms [][]byte `json:",omitempty"`
}

// session returns the item of a session. expires is when it may be deleted,
// which is later than until: in between it is known to have expired.
func (s *Sessions) session(st recovery.State, token, own string, disconnected, until time.Time) (it item, mark string, err error) {
	stored := sessionState{State: st}
	stored.State.Rooms, stored.State.Owner, stored.State.Disconnected, stored.State.Expires = nil, "", time.Time{}, time.Time{}
	for _, room := range st.Rooms {
		stored.Rooms = append(stored.Rooms, []byte(room))
	}
	body, err := json.Marshal(stored)
	if err != nil {
		return nil, "", fmt.Errorf("failed to encode session: %w", err)
	}
	if len(body) > maxRecord {
		return nil, "", fmt.Errorf("%w: a session of %d bytes, at most %d", ErrTooLarge, len(body), maxRecord)
	}
	mark = nonce()
	it = keyOf(partitionSession(st.PID), recovery.Offset{})
	it[attrState] = bin(body)
	it[attrOwner] = str(own)
	it[attrNewest] = str(owner(token))
	it[attrUntil] = number(until.UnixNano())
	it[attrReleased] = number(nanos(disconnected))
	it[attrNonce] = str(mark)
	it[attrExpires] = number(until.Add(slack).Unix())
	return it, mark, nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

func decodeSession(it item) (recovery.State, error) {
	var stored sessionState
	if err := json.Unmarshal(getBytes(it, attrState), &stored); err != nil {
		return recovery.State{}, fmt.Errorf("%w session: %w", recovery.ErrCorrupt, err)
	}
	st := stored.State
	for _, room := range stored.Rooms {
		st.Rooms = append(st.Rooms, string(room))
	}
	st.Owner = tokenOf(getString(it, attrOwner))
	st.Disconnected, st.Expires = fromNanos(getNumber(it, attrReleased)), fromNanos(getNumber(it, attrUntil))
	return st, nil
}

func unknown(pid string) error    { return fmt.Errorf("%w: %.40q", recovery.ErrUnknownSession, pid) }
func superseded(pid string) error { return fmt.Errorf("%w: %.40q", recovery.ErrSuperseded, pid) }

// begin is what every call begins with. It returns the time before which
// sessions are forgotten.
func (s *Sessions) begin(ctx context.Context) (forgotten int64, err error) {
	if s.closed.Load() {
		return 0, recovery.ErrClosed
	}
	s.mu.Lock()
	forgotten, loaded := s.forgotten, s.loaded
	s.mu.Unlock()
	if loaded {
		return forgotten, nil
	}
	it, err := s.get(ctx, partitionForgotten)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded, s.forgotten = true, max(s.forgotten, getNumber(it, attrUntil))
	return s.forgotten, nil
}

func (s *Sessions) get(ctx context.Context, partition string) (item, error) {
	out, err := call(s.store, ctx, "read a session", s.store.api.GetItem, &ddb.GetItemInput{
		TableName: &s.store.opts.Table, Key: keyOf(partition, recovery.Offset{}), ConsistentRead: aws.Bool(true),
	})
	if err != nil || len(out.Item) == 0 {
		return nil, err
	}
	return out.Item, nil
}

// put replaces a session under a condition. If that does not hold it returns
// the item that is there, nil for none, and ok as false, unless it is what an
// earlier attempt has stored.
func (s *Sessions) put(ctx context.Context, it item, mark, condition string, values item) (there item, ok bool, err error) {
	_, err = call(s.store, ctx, "store a session", s.store.api.PutItem, &ddb.PutItemInput{
		TableName: &s.store.opts.Table, Item: it,
		ConditionExpression: &condition, ExpressionAttributeValues: values,
	})
	if err == nil {
		return nil, true, nil
	}
	if !conditionFailed(err) {
		return nil, false, err
	}
	if there, err = s.get(ctx, getString(it, attrPartition)); err != nil {
		return nil, false, err
	}
	return there, getString(there, attrNonce) == mark, nil
}

// Create implements recovery.Sessions. The error matches ErrTooLarge if the
// session cannot be stored.
func (s *Sessions) Create(ctx context.Context, st recovery.State, token string) error {
	forgotten, err := s.begin(ctx)
	if err != nil {
		return err
	}
	if token == "" {
		return fmt.Errorf("%w: no token", recovery.ErrSuperseded)
	}
	until := s.store.opts.Now().Add(s.store.opts.Hold)
	it, mark, err := s.session(st, token, owner(token), time.Time{}, until)
	if err != nil {
		return err
	}
	if err := s.index(ctx, st, until); err != nil {
		return err
	}
	_, ok, err := s.put(ctx, it, mark, "attribute_not_exists("+attrPartition+") OR "+attrUntil+" < :f", item{":f": number(forgotten)})
	if err == nil && !ok {
		err = fmt.Errorf("%w: %.40q", recovery.ErrSessionExists, st.PID)
	}
	return err
}

// Store implements recovery.Sessions. The error matches ErrTooLarge if the
// session cannot be stored.
func (s *Sessions) Store(ctx context.Context, st recovery.State, token string) error {
	return s.replace(ctx, st, token, owner(token), time.Time{}, s.store.opts.Now().Add(s.store.opts.Hold))
}

// Release implements recovery.Sessions. The error matches ErrTooLarge if the
// session cannot be stored.
func (s *Sessions) Release(ctx context.Context, st recovery.State, token string, ttl time.Duration) error {
	now := s.store.opts.Now()
	return s.replace(ctx, st, token, released, now, now.Add(ttl))
}

func (s *Sessions) replace(ctx context.Context, st recovery.State, token, own string, disconnected, until time.Time) error {
	forgotten, err := s.begin(ctx)
	if err != nil {
		return err
	}
	it, mark, err := s.session(st, token, own, disconnected, until)
	if err != nil {
		return err
	}
	if err := s.index(ctx, st, until); err != nil {
		return err
	}
	there, ok, err := s.put(ctx, it, mark, attrOwner+" = :own AND "+attrUntil+" >= :f",
		item{":own": str(owner(token)), ":f": number(forgotten)})
	switch {
	case err != nil || ok:
		return err
	case there == nil || getNumber(there, attrUntil) < forgotten:
		return unknown(st.PID)
	}
	return superseded(st.PID)
}

// Claim implements recovery.Sessions.
func (s *Sessions) Claim(ctx context.Context, pid, token string) (recovery.State, string, error) {
	it, err := s.claim(ctx, pid, token)
	if err != nil {
		return recovery.State{}, "", err
	}
	st, err := decodeSession(it)
	if err != nil {
		s.store.opts.Logger.Error("recovery: a stored session is damaged; its client starts anew", "error", err)
		return recovery.State{}, "", unknown(pid)
	}
	if err := s.index(ctx, st, st.Expires); err != nil {
		return recovery.State{}, "", err
	}
	st.Disconnected = fromNanos(getNumber(it, attrWas))
	return st, tokenOf(getString(it, attrPrevious)), nil
}

// claim returns the item as it is after the claim.
func (s *Sessions) claim(ctx context.Context, pid, token string) (item, error) {
	forgotten, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	if token == "" {
		if it, err := s.get(ctx, partitionSession(pid)); err != nil {
			return nil, err
		} else if it == nil || getNumber(it, attrUntil) < forgotten {
			return nil, unknown(pid)
		}
		return nil, fmt.Errorf("%w: no token", recovery.ErrSuperseded)
	}
	for range 10 {
		now := s.store.opts.Now()
		until := now.Add(s.store.opts.Hold)
		out, err := call(s.store, ctx, "claim a session", s.store.api.UpdateItem, &ddb.UpdateItemInput{
			TableName: &s.store.opts.Table, Key: keyOf(partitionSession(pid), recovery.Offset{}),
			UpdateExpression: aws.String("SET " + attrPrevious + " = " + attrOwner + ", " + attrWas + " = " + attrReleased + ", " +
				attrOwner + " = :own, " + attrNewest + " = :own, " + attrUntil + " = :til, " + attrReleased + " = :zero, " +
				attrExpires + " = :exp, " + attrNonce + " = :v"),
			// An attempt that was done, and whose answer got lost, must not take
			// itself for the previous owner.
			ConditionExpression: aws.String("attribute_exists(" + attrPartition + ") AND " + attrUntil + " > :now AND " +
				attrUntil + " >= :f AND " + attrOwner + " <> :own"),
			ExpressionAttributeValues: item{
				":own": str(owner(token)), ":zero": number(0), ":v": str(nonce()),
				":til": number(until.UnixNano()), ":exp": number(until.Add(slack).Unix()),
				":now": number(now.UnixNano()), ":f": number(forgotten),
			},
			ReturnValues: types.ReturnValueAllNew,
		})
		if err == nil {
			return out.Attributes, nil
		}
		if !conditionFailed(err) {
			return nil, err
		}
		there, err := s.get(ctx, partitionSession(pid))
		switch {
		case err != nil:
			return nil, err
		case there == nil || getNumber(there, attrUntil) < forgotten:
			return nil, unknown(pid)
		case getString(there, attrOwner) == owner(token):
			return there, nil
		case getNumber(there, attrUntil) <= now.UnixNano():
			return nil, fmt.Errorf("%w: %.40q", recovery.ErrExpired, pid)
		}
		// It changed between the two calls.
	}
	return nil, errors.New("failed to claim a session: others keep changing it")
}

// Delete implements recovery.Sessions.
func (s *Sessions) Delete(ctx context.Context, pid, token string) error {
	forgotten, err := s.begin(ctx)
	if err != nil {
		return err
	}
	_, err = call(s.store, ctx, "delete a session", s.store.api.DeleteItem, &ddb.DeleteItemInput{
		TableName: &s.store.opts.Table, Key: keyOf(partitionSession(pid), recovery.Offset{}),
		ConditionExpression: aws.String("attribute_not_exists(" + attrPartition + ") OR " + attrNewest + " = :tok OR " + attrUntil + " < :f"),
		ExpressionAttributeValues: item{
			":tok": str(owner(token)), ":f": number(forgotten),
		},
	})
	if conditionFailed(err) {
		return superseded(pid)
	}
	return err
}

// index makes the session known under its browser, until it expires and for a
// day or two after, so that this need not be written with each Store. What is
// stale in the index is harmless: the session itself says whose it is.
func (s *Sessions) index(ctx context.Context, st recovery.State, until time.Time) error {
	if st.TwineID == "" {
		return nil
	}
	const day = 24 * time.Hour
	pid := sha256.Sum256([]byte(st.PID))
	key := sha256.Sum256(append(pid[:], st.TwineID...))
	s.mu.Lock()
	enough := s.indexed[key] >= until.Add(slack).Unix()
	s.mu.Unlock()
	if enough {
		return nil
	}
	expires := until.Truncate(day).Add(2 * day).Unix()
	it := item{attrPartition: str(partitionBrowser(st.TwineID)), attrOffset: bin(pid[:recovery.OffsetSize])}
	it[attrPID] = bin([]byte(st.PID))
	it[attrExpires] = number(expires)
	if itemSize(it) > maxRecord {
		return fmt.Errorf("%w: a session id of %d bytes", ErrTooLarge, len(st.PID))
	}
	_, err := call(s.store, ctx, "store a browser's session", s.store.api.PutItem, &ddb.PutItemInput{TableName: &s.store.opts.Table, Item: it})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.indexed[key]; !ok {
		delete(s.indexed, s.order[s.next])
		s.order[s.next] = key
		s.next = (s.next + 1) % maxIndexed
	}
	s.indexed[key] = expires
	return nil
}

// ByTwineID implements recovery.Sessions.
func (s *Sessions) ByTwineID(ctx context.Context, twineID string) ([]recovery.State, error) {
	forgotten, err := s.begin(ctx)
	if err != nil || twineID == "" {
		return nil, err
	}
	var keys []item
	var from item
	for more := true; more; more = len(from) > 0 {
		out, err := call(s.store, ctx, "read a browser's sessions", s.store.api.Query, &ddb.QueryInput{
			TableName:                 &s.store.opts.Table,
			KeyConditionExpression:    aws.String(attrPartition + " = :p"),
			ExpressionAttributeValues: item{":p": str(partitionBrowser(twineID))},
			ConsistentRead:            aws.Bool(true),
			ExclusiveStartKey:         from,
		})
		if err != nil {
			return nil, err
		}
		for _, it := range out.Items {
			keys = append(keys, keyOf(partitionSession(string(getBytes(it, attrPID))), recovery.Offset{}))
		}
		from = out.LastEvaluatedKey
	}
	items, err := s.store.get(ctx, keys)
	if err != nil {
		return nil, err
	}
	now := s.store.opts.Now()
	var states []recovery.State
	for _, it := range items {
		st, err := decodeSession(it)
		if err != nil {
			s.store.opts.Logger.Error("recovery: a stored session is damaged; its client starts anew", "error", err)
			continue
		}
		if st.TwineID == twineID && now.Before(st.Expires) && st.Expires.UnixNano() >= forgotten {
			states = append(states, st)
		}
	}
	recovery.SortStates(states)
	return states, nil
}

// Expire implements recovery.Sessions. It deletes nothing, which the table's TTL
// does, but notes that what expired before now does not exist any more.
func (s *Sessions) Expire(ctx context.Context, now time.Time) error {
	forgotten, err := s.begin(ctx)
	if err != nil || now.UnixNano() <= forgotten {
		return err
	}
	_, err = call(s.store, ctx, "forget sessions", s.store.api.UpdateItem, &ddb.UpdateItemInput{
		TableName: &s.store.opts.Table, Key: keyOf(partitionForgotten, recovery.Offset{}),
		UpdateExpression:          aws.String("SET " + attrUntil + " = :til"),
		ConditionExpression:       aws.String("attribute_not_exists(" + attrUntil + ") OR " + attrUntil + " < :til"),
		ExpressionAttributeValues: item{":til": number(now.UnixNano())},
	})
	if err != nil && !conditionFailed(err) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgotten = max(s.forgotten, now.UnixNano())
	return nil
}

// Close implements recovery.Sessions. The store stays open for its Log until it
// is closed too.
func (s *Sessions) Close() error { return s.store.closeView(&s.closed) }
