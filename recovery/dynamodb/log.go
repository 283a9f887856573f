package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/twine-realtime/twine/recovery"
)

// Log is a Store seen as a recovery.Log. With Options.Shared it differs from
// what that interface says where several writers make it necessary; the package
// documentation has what holds instead.
type Log struct {
	store  *Store
	closed atomic.Bool

	mu     sync.Mutex
	spaces map[string]*space
}

// Append implements recovery.Log. Errors match ErrTooLarge if an entry cannot be
// stored, which fails all of them, so what may be published should be bounded
// below Options.MaxEntryBytes; recovery.ErrBroken if another process has taken
// the namespace over; recovery.ErrFull if too much is waiting to be written.
//
// With Options.Shared, entries may come in any order and may be appended again.
// An error that matches ErrLate is final for all of them; after any other, which
// may have come after they were accepted, they may be appended again as they are.
func (l *Log) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	if l.closed.Load() {
		return recovery.ErrClosed
	}
	if err := ctx.Err(); err != nil || len(entries) == 0 {
		return err
	}
	for i := range entries[1:] {
		if !l.store.opts.Shared && !entries[i+1].Offset.After(entries[i].Offset) {
			return fmt.Errorf("%w: %v after %v in namespace %q", recovery.ErrOrder, entries[i+1].Offset, entries[i].Offset, ns)
		}
	}
	records, err := l.store.encode(entries)
	if err != nil {
		return err
	}
	sp, err := l.space(ctx, ns)
	if err != nil {
		return err
	}
	if l.store.opts.Shared {
		return l.appendShared(ctx, sp, entries, records)
	}
	if err := sp.lock(ctx); err != nil {
		return err
	}
	defer sp.unlock()
	return l.append(ctx, sp, entries, records)
}

// append is Append of a single writer. Call with turn held.
func (l *Log) append(ctx context.Context, sp *space, entries []recovery.Entry, records [][]byte) error {
	if err := l.settle(ctx, sp); err != nil {
		return err
	}
	sp.mu.Lock()
	before, spoiled := sp.head, sp.spoiled
	sp.mu.Unlock()
	if first := entries[0].Offset; !first.After(before.last) {
		return fmt.Errorf("%w: %v after %v in namespace %q", recovery.ErrOrder, first, before.last, sp.ns)
	}
	next := before
	next.last, next.token = entries[len(entries)-1].Offset, nonce()
	if spoiled || len(before.generations) == 0 {
		next.generations, next.start = before.generations.with(
			generation{id: newGeneration(), after: before.last}, before.beginning(l.store.opts.Now()))
	}
	gen := next.generations[len(next.generations)-1].id[:]
	sp.mu.Lock()
	sp.spoiled = true
	sp.mu.Unlock()
	var w written
	for i := range entries {
		w.add(&entries[i], records[i], sp.ns, gen, l.store.expiry(&entries[i]))
	}
	if err := l.write(ctx, sp.ns, entries, slices.Concat(w.bodies, w.refs), gen); err != nil {
		return err
	}
	return l.commit(ctx, sp, before, next)
}

// write writes items, and the keys of entries beside them.
func (l *Log) write(ctx context.Context, ns string, entries []recovery.Entry, items []item, gen []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	running.Go(func() {
		if err := l.writeIDs(ctx, ns, entries, gen); err != nil {
			cancel(err)
		}
	})
	if err := l.store.batch.write(ctx, items); err != nil {
		cancel(err)
	}
	running.Wait()
	return context.Cause(ctx)
}

// writeIDs stores the idempotency keys of entries. The condition keeps a request
// that arrives late from replacing what a repeated publish has stored since.
func (l *Log) writeIDs(ctx context.Context, ns string, entries []recovery.Entry, gen []byte) error {
	s := l.store
	var keyed []*recovery.Entry
	for i := range entries {
		if entries[i].ID != "" {
			keyed = append(keyed, &entries[i])
		}
	}
	if len(keyed) == 0 {
		return nil
	}
	return each(ctx, s.ids, len(keyed), func(ctx context.Context, i int) error {
		e := keyed[i]
		_, err := call(s, ctx, "store an idempotency key", s.api.PutItem, &ddb.PutItemInput{
			TableName: &s.opts.Table, Item: idItem(ns, e, gen, s.expiry(e)),
			ConditionExpression: aws.String("attribute_not_exists(" + attrPartition + ") OR #at <= :at"),
			// "at" is reserved in expressions.
			ExpressionAttributeNames:  map[string]string{"#at": attrAt},
			ExpressionAttributeValues: item{":at": offset(e.Offset)},
		})
		if conditionFailed(err) {
			return nil // somebody was later
		}
		return err
	})
}

// commit makes what was written a part of the log. Call with turn held.
func (l *Log) commit(ctx context.Context, sp *space, before, next head) error {
	values := item{":hl": offset(next.last), ":new": str(next.token), ":old": str(before.token)}
	update := "SET " + attrLast + " = :hl, " + attrToken + " = :new"
	if len(next.generations) != len(before.generations) || next.generations[len(next.generations)-1] != before.generations[len(before.generations)-1] {
		values[":hg"], values[":hs"] = bin(next.generations.encode()), offset(next.start)
		update += ", " + attrGenerations + " = :hg, " + attrStart + " = :hs"
	}
	sp.mu.Lock()
	if string(sp.head.identity) != string(before.identity) {
		sp.mu.Unlock()
		return errReplaced
	}
	sp.doubt = &next
	sp.mu.Unlock()
	_, ok, err := l.store.updateHead(ctx, sp.ns, before.identity, update, attrToken+" = :old", values)
	if err != nil {
		return err
	}
	if !ok {
		// An attempt before may have done it; or somebody else has.
		if err := l.settle(ctx, sp); err != nil {
			return err
		}
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	switch {
	case string(sp.head.identity) != string(before.identity):
		return errReplaced
	case ok:
		next.start, next.window = later(next.start, sp.head.start), sp.head.window
		sp.head, sp.doubt, sp.fence, sp.spoiled = next, nil, "", false
	case sp.head.token != next.token:
		return errors.New("failed to commit: the head of the namespace has changed")
	}
	return nil
}

// Start implements recovery.Log.
func (l *Log) Start(ctx context.Context, ns string) (recovery.Offset, error) {
	sp, err := l.space(ctx, ns)
	if err != nil {
		return recovery.Offset{}, err
	}
	if _, err := l.refresh(ctx, sp); err != nil {
		return recovery.Offset{}, err
	}
	h := sp.known()
	return h.beginning(l.store.opts.Now()), nil
}

// Last implements recovery.Log. With Options.Shared it is the newest accepted
// entry, before which others may be under way.
func (l *Log) Last(ctx context.Context, ns string) (recovery.Offset, error) {
	sp, err := l.space(ctx, ns)
	if err != nil {
		return recovery.Offset{}, err
	}
	if !l.store.opts.Shared {
		if err := sp.lock(ctx); err != nil {
			return recovery.Offset{}, err
		}
		defer sp.unlock()
		if err := l.settle(ctx, sp); err != nil {
			return recovery.Offset{}, err
		}
	}
	if _, err := l.refresh(ctx, sp); err != nil {
		return recovery.Offset{}, err
	}
	return sp.known().last, nil
}

// Lookup implements recovery.Log. An id that is found belongs to an entry that
// was accepted.
func (l *Log) Lookup(ctx context.Context, ns string, ids []string) (map[string]recovery.Offset, error) {
	sp, err := l.space(ctx, ns)
	if err != nil {
		return nil, err
	}
	if !l.store.opts.Shared {
		// Whether the newest entries are there must not be in doubt.
		if err := sp.lock(ctx); err != nil {
			return nil, err
		}
		err := l.settle(ctx, sp)
		sp.unlock()
		if err != nil {
			return nil, err
		}
	}
	byKey := make(map[string]string, len(ids))
	for _, id := range ids {
		byKey[partitionID(ns, id)] = id
	}
	keys := make([]item, 0, len(byKey))
	for _, p := range slices.Sorted(maps.Keys(byKey)) {
		keys = append(keys, keyOf(p, recovery.Offset{}))
	}
	items, err := l.store.get(ctx, keys)
	if err != nil {
		return nil, err
	}
	h := sp.known()
	now := l.store.opts.Now().Unix()
	found := make(map[string]recovery.Offset, len(items))
	for _, it := range items {
		o := getOffset(it, attrAt)
		if getNumber(it, attrExpires) <= now {
			continue
		}
		if !l.store.opts.Shared && (o.After(h.last) || !h.generations.valid(o, getBytes(it, attrGeneration))) {
			continue
		}
		found[byKey[getString(it, attrPartition)]] = o
	}
	return found, nil
}

// Trim implements recovery.Log. It does nothing: the table's TTL does it.
func (l *Log) Trim(ctx context.Context, _ recovery.Offset) error {
	if l.closed.Load() {
		return recovery.ErrClosed
	}
	return ctx.Err()
}

// Close implements recovery.Log. The store stays open for its Sessions until
// they are closed too.
func (l *Log) Close() error { return l.store.closeView(&l.closed) }
