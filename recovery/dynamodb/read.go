package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/internal/merge"
)

// Read implements recovery.Log. All it reads is read consistently. In memory it
// holds the page and about two entries more for each room.
//
// With Options.Shared a page never goes past the floor, so its Next may be
// before Through without More; where nothing comes between After and the floor,
// the error matches ErrUnsettled. ErrFuture is only for positions that are ahead
// of the clock.
func (l *Log) Read(ctx context.Context, ns string, q recovery.Query) (recovery.Page, error) {
	sp, err := l.space(ctx, ns)
	if err != nil {
		return recovery.Page{}, err
	}
	before := sp.known()
	bound, unsettled := l.bound(ctx, sp, before, q)
	if unsettled != nil && !errors.Is(unsettled, ErrUnsettled) {
		return recovery.Page{}, unsettled
	}
	page, err := l.page(ctx, ns, &before, q, bound)
	if err != nil {
		return recovery.Page{}, err
	}
	// The table may have been replaced, or entries may have had their time,
	// while it was read.
	same, err := l.refresh(ctx, sp)
	if err != nil {
		return recovery.Page{}, err
	}
	h := sp.known()
	start := h.beginning(l.store.opts.Now())
	if !same || !bytes.Equal(h.identity, before.identity) {
		start = later(start, q.After.Next())
	}
	if q.After.Before(start) {
		return recovery.Page{}, &recovery.GapError{Namespace: ns, From: q.After, To: start}
	}
	return page, unsettled
}

// bound returns up to where a query can be answered in full, of a namespace
// whose head was h.
func (l *Log) bound(ctx context.Context, sp *space, h head, q recovery.Query) (recovery.Offset, error) {
	through, _, _ := q.Bounds()
	now := l.store.opts.Now()
	if start := h.beginning(now); q.After.Before(start) {
		return recovery.Offset{}, &recovery.GapError{Namespace: sp.ns, From: q.After, To: start}
	}
	last := h.last
	if l.store.opts.Shared {
		last = later(last, recovery.OffsetAt(now.Add(l.store.opts.ClockSkew)))
		// What others have written since is not known yet.
		if q.After.After(last) {
			if _, err := l.refresh(ctx, sp); err != nil {
				return recovery.Offset{}, err
			}
			last = later(last, sp.known().last)
		}
	}
	if q.After.After(last) {
		return recovery.Offset{}, fmt.Errorf("%w: %v in namespace %q", recovery.ErrFuture, q.After, sp.ns)
	}
	if l.store.opts.Shared {
		var err error
		if last, err = l.settledTo(ctx, sp, through); err != nil {
			return recovery.Offset{}, err
		}
		if !q.After.Before(last) && q.After.Before(through) {
			return recovery.Offset{}, fmt.Errorf("%w after %v in namespace %q", ErrUnsettled, q.After, sp.ns)
		}
	}
	if through.Before(last) {
		last = through
	}
	return last, nil
}

// page reads the entries up to bound.
func (l *Log) page(ctx context.Context, ns string, h *head, q recovery.Query, bound recovery.Offset) (recovery.Page, error) {
	_, limit, maxBytes := q.Bounds()
	page := recovery.Page{Next: q.After}
	if !q.After.Before(bound) {
		return page, nil
	}
	r := reading{store: l.store, ctx: ctx, bound: bound}
	if !l.store.opts.Shared {
		r.head = h
	}
	runs, err := r.begin(ns, q, limit)
	if err != nil {
		return recovery.Page{}, err
	}
	var found []stored
	size := 0
	for len(runs) > 0 && r.err == nil {
		next := runs.First().current()
		size += next.size
		if n := len(found); n > 0 && (n == limit || size > maxBytes) {
			page.More = true
			break
		}
		found = append(found, next)
		runs.Skip(next.offset)
	}
	if r.err != nil {
		return recovery.Page{}, r.err
	}
	damage, err := l.store.resolve(ctx, ns, found, &page)
	if err != nil {
		return recovery.Page{}, err
	}
	switch {
	case damage != nil && len(page.Entries) == 0:
		return recovery.Page{}, &recovery.GapError{Namespace: ns, From: q.After, To: found[0].offset, Cause: damage}
	case damage != nil:
		page.More = true
	case !page.More:
		page.Next = bound
	}
	return page, nil
}

// stored is an entry as a query finds it.
type stored struct {
	offset recovery.Offset
	record []byte
	gen    []byte
	size   int    // Entry.Size
	at     string // where the record is, if it is not here
	pieces int64  // how many it is in; zero: it is whole
	entry  recovery.Entry
	err    error
}

func decodeStored(it item) stored {
	st := stored{
		offset: getOffset(it, attrOffset),
		record: getBytes(it, attrRecord),
		gen:    getBytes(it, attrGeneration),
		size:   int(getNumber(it, attrSize)),
		at:     getString(it, attrAt),
		pieces: getNumber(it, attrPieces),
	}
	if st.record != nil {
		st.entry, st.err = decodeRecord(st.record, st.offset)
		st.size = st.entry.Size()
	}
	return st
}

// reading is one Read under way.
type reading struct {
	store *Store
	ctx   context.Context
	head  *head // of a single writer; nil: shared
	bound recovery.Offset
	err   error // of a run that could not go on
}

// run is the entries of one partition, in pages.
type run struct {
	reading   *reading
	partition string
	ahead     []stored
	after     recovery.Offset
	limit     int
	more      bool
}

func (r *run) Offset() recovery.Offset { return r.ahead[0].offset }
func (r *run) current() stored         { return r.ahead[0] }

// Advance implements merge.Run.
func (r *run) Advance() bool {
	r.ahead[0] = stored{}
	r.ahead = r.ahead[1:]
	if len(r.ahead) == 0 && r.more {
		r.limit = min(2*r.limit, recovery.DefaultPageEntries)
		if err := r.fill(r.reading.ctx); err != nil {
			r.reading.err = err
		}
	}
	return len(r.ahead) > 0
}

// begin returns the runs of a query, each with what comes first.
func (r *reading) begin(ns string, q recovery.Query, limit int) (merge.Runs[*run], error) {
	all := []*run{{partition: partitionEveryone(ns)}}
	known := map[string]bool{}
	for _, room := range q.Rooms {
		if p := partitionRoom(ns, room); !known[p] {
			known[p] = true
			all = append(all, &run{partition: p})
		}
	}
	// With few rooms, one query each does; with many, few entries of each are
	// read ahead.
	few := max(2, (limit+1)/len(all)+1)
	err := each(r.ctx, r.store.reads, len(all), func(ctx context.Context, i int) error {
		all[i].reading, all[i].after, all[i].limit = r, q.After, min(few, limit+1)
		return all[i].fill(ctx)
	})
	if err != nil {
		return nil, err
	}
	var runs merge.Runs[*run]
	for _, run := range all {
		if len(run.ahead) > 0 {
			runs.Add(run)
		}
	}
	return runs, nil
}

// fill reads on until there is something, or nothing more.
func (r *run) fill(ctx context.Context) error {
	s, h := r.reading.store, r.reading.head
	for r.more = true; r.more && len(r.ahead) == 0; {
		if !r.after.Before(r.reading.bound) {
			r.more = false
			break
		}
		out, err := call(s, ctx, "read a room", s.api.Query, &ddb.QueryInput{
			TableName:                 &s.opts.Table,
			KeyConditionExpression:    aws.String(attrPartition + " = :p AND " + attrOffset + " BETWEEN :from AND :to"),
			ExpressionAttributeValues: item{":p": str(r.partition), ":from": offset(r.after.Next()), ":to": offset(r.reading.bound)},
			ConsistentRead:            aws.Bool(true),
			Limit:                     aws.Int32(int32(r.limit)),
		})
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			st := decodeStored(it)
			r.after = later(r.after, st.offset)
			if h == nil || h.generations.valid(st.offset, st.gen) {
				r.ahead = append(r.ahead, st)
			}
		}
		if r.more = len(out.LastEvaluatedKey) > 0; r.more {
			r.after = later(r.after, getOffset(out.LastEvaluatedKey, attrOffset))
		}
	}
	return nil
}

// errMissing means that a part of an entry is not in the table.
var errMissing = errors.New("a part of it is missing")

// resolve puts what was found into a page, having read the records that are
// elsewhere. It stops before the first entry that cannot be read back, and says
// why.
func (s *Store) resolve(ctx context.Context, ns string, found []stored, page *recovery.Page) (damage, err error) {
	var keys []item
	wanted := make(map[string]bool)
	want := func(partition string, o recovery.Offset) {
		if key := keyOf(partition, o); !wanted[keyString(key)] {
			wanted[keyString(key)] = true
			keys = append(keys, key)
		}
	}
	for i := range found {
		switch st := &found[i]; {
		case st.pieces > 0:
			for n := range st.pieces {
				want(partitionPieces(ns, st.offset, st.gen), recovery.Offset{Seq: uint64(n)})
			}
		case st.record == nil:
			want(st.at, st.offset)
		}
	}
	items, err := s.get(ctx, keys)
	if err != nil {
		return nil, err
	}
	records := make(map[string][]byte, len(items))
	for _, it := range items {
		records[keyString(it)] = getBytes(it, attrRecord)
	}
	for i := range found {
		st := &found[i]
		switch {
		case st.pieces > 0:
			for n := range st.pieces {
				piece := records[keyString(keyOf(partitionPieces(ns, st.offset, st.gen), recovery.Offset{Seq: uint64(n)}))]
				if piece == nil {
					return fmt.Errorf("%w: %w: entry %v, piece %d", recovery.ErrCorrupt, errMissing, st.offset, n), nil
				}
				st.record = append(st.record, piece...)
			}
			st.entry, st.err = decodeRecord(st.record, st.offset)
		case st.record == nil:
			record := records[keyString(keyOf(st.at, st.offset))]
			if record == nil {
				return fmt.Errorf("%w: %w: entry %v", recovery.ErrCorrupt, errMissing, st.offset), nil
			}
			st.entry, st.err = decodeRecord(record, st.offset)
		}
		if st.err != nil {
			return st.err, nil
		}
		page.Entries = append(page.Entries, st.entry)
		page.Next = st.offset
	}
	return nil, nil
}

// get reads items by their keys, which must differ. Those that are missing are
// left out; the order is any.
func (s *Store) get(ctx context.Context, keys []item) ([]item, error) {
	const atOnce = 100
	var items []item
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	for attempt := 0; len(keys) > 0; {
		n := min(len(keys), atOnce)
		out, err := call(s, ctx, "read items", s.api.BatchGetItem, &ddb.BatchGetItemInput{
			RequestItems: map[string]types.KeysAndAttributes{
				s.opts.Table: {Keys: keys[:n:n], ConsistentRead: aws.Bool(true)},
			},
		})
		if err != nil {
			return nil, err
		}
		items = append(items, out.Responses[s.opts.Table]...)
		left := out.UnprocessedKeys[s.opts.Table].Keys
		keys = append(left, keys[n:]...)
		if len(left) == n {
			s.retries.Add(1)
			if !s.pause(ctx, attempt) {
				return nil, errors.Join(errors.New("reading items: DynamoDB processes none"), ctx.Err())
			}
			attempt++
		} else {
			attempt = 0
		}
	}
	return items, nil
}
