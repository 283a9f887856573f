package dynamodb

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/twine-realtime/twine/recovery"
)

// Attributes of heads.
const (
	attrIdentity    = "hi" // B: that of the table, so that one of another table is told apart
	attrStart       = "hs" // B: complete after this offset, as far as Window reaches back
	attrLast        = "hl" // B: newest accepted offset
	attrFloor       = "hf" // B: shared: a reader may have passed entries up to here
	attrWindow      = "hw" // N: how long entries are kept, in ms
	attrGenerations = "hg" // B: one writer: which generation is valid from where on
	attrToken       = "ht" // S: one writer: of the last attempt to change the head
	attrBorn        = "hb" // B: of the table: when it began
)

// head is what the table says of a namespace.
type head struct {
	identity           []byte
	start, last, floor recovery.Offset
	window             time.Duration
	generations        generations
	token              string
}

func (h *head) item(ns string) item {
	it := keyOf(partitionHead(ns), recovery.Offset{})
	it[attrIdentity] = bin(h.identity)
	it[attrStart] = offset(h.start)
	it[attrLast] = offset(h.last)
	it[attrFloor] = offset(h.floor)
	it[attrWindow] = number(h.window.Milliseconds())
	it[attrToken] = str(h.token)
	it[attrGenerations] = bin(h.generations.encode())
	return it
}

func decodeHead(it item) (h head, err error) {
	h = head{
		identity: getBytes(it, attrIdentity),
		start:    getOffset(it, attrStart),
		last:     getOffset(it, attrLast),
		floor:    getOffset(it, attrFloor),
		window:   time.Duration(getNumber(it, attrWindow)) * time.Millisecond,
		token:    getString(it, attrToken),
	}
	h.generations, err = decodeGenerations(getBytes(it, attrGenerations))
	if err == nil && (len(h.identity) == 0 || h.start.IsZero() || h.last.IsZero() || h.window <= 0) {
		err = fmt.Errorf("%w: the head of a namespace lacks attributes", recovery.ErrCorrupt)
	}
	return h, err
}

// beginning is the offset after which the namespace is complete: nothing before
// start, and nothing that has had its time. If all has, the newest entry is
// where it begins, so that whoever has read it stays complete.
func (h *head) beginning(now time.Time) recovery.Offset {
	o := recovery.OffsetAt(now.Add(-h.window))
	if h.last.Before(o) {
		o = h.last
	}
	if o.Before(h.start) {
		o = h.start
	}
	return o
}

// getHead reads the head; nil: there is none.
func (s *Store) getHead(ctx context.Context, ns string) (*head, error) {
	out, err := call(s, ctx, "read the head of a namespace", s.api.GetItem, &ddb.GetItemInput{
		TableName: &s.opts.Table, Key: keyOf(partitionHead(ns), recovery.Offset{}), ConsistentRead: aws.Bool(true),
	})
	if err != nil || len(out.Item) == 0 {
		return nil, err
	}
	h, err := decodeHead(out.Item)
	return &h, err
}

// beginHead makes the head of a namespace that has none, and returns it, or the
// one that somebody else has made. notBefore is up to where entries are known
// to have been lost; zero: the namespace is new, and complete since the table
// began.
func (s *Store) beginHead(ctx context.Context, ns string, notBefore recovery.Offset) (*head, error) {
	identity, born, err := s.meta(ctx)
	if err != nil {
		return nil, err
	}
	if born.Before(notBefore) {
		born = notBefore
	}
	return s.putHead(ctx, ns, &head{identity: identity, start: born, last: born, window: s.opts.Window, token: nonce()})
}

// putHead stores a head where there is none, and returns the one that is there
// afterwards.
func (s *Store) putHead(ctx context.Context, ns string, h *head) (*head, error) {
	_, err := call(s, ctx, "begin a namespace", s.api.PutItem, &ddb.PutItemInput{
		TableName: &s.opts.Table, Item: h.item(ns),
		ConditionExpression: aws.String("attribute_not_exists(" + attrPartition + ")"),
	})
	if err == nil {
		return h, nil
	}
	if !conditionFailed(err) {
		return nil, err
	}
	if h, err = s.getHead(ctx, ns); err == nil && h == nil {
		err = errors.New("the head of a namespace went away while it was read")
	}
	return h, err
}

// meta returns the table's identity and when it began, which is now if it has
// not begun.
func (s *Store) meta(ctx context.Context) (identity []byte, born recovery.Offset, err error) {
	for range 3 {
		out, err := call(s, ctx, "read the table's identity", s.api.GetItem, &ddb.GetItemInput{
			TableName: &s.opts.Table, Key: keyOf(partitionMeta, recovery.Offset{}), ConsistentRead: aws.Bool(true),
		})
		if err != nil {
			return nil, recovery.Offset{}, err
		}
		if identity, born = getBytes(out.Item, attrIdentity), getOffset(out.Item, attrBorn); len(identity) > 0 {
			return identity, born, nil
		}
		it := keyOf(partitionMeta, recovery.Offset{})
		it[attrIdentity] = bin([]byte(nonce()))
		it[attrBorn] = offset(recovery.OffsetAt(s.bornNow()))
		_, err = call(s, ctx, "begin the table", s.api.PutItem, &ddb.PutItemInput{
			TableName: &s.opts.Table, Item: it,
			ConditionExpression: aws.String("attribute_not_exists(" + attrPartition + ")"),
		})
		if err != nil && !conditionFailed(err) {
			return nil, recovery.Offset{}, err
		}
	}
	return nil, recovery.Offset{}, fmt.Errorf("%w: the table has no identity", recovery.ErrCorrupt)
}

func (s *Store) bornNow() time.Time {
	if s.opts.Shared {
		return s.opts.Now().Add(s.opts.ClockSkew)
	}
	return s.opts.Now()
}

// updateHead changes the head if the condition holds and the table is the same.
// It returns the head as it is afterwards, and whether the condition held; no
// head, if there is none.
func (s *Store) updateHead(ctx context.Context, ns string, identity []byte, update, condition string, values item) (h *head, ok bool, err error) {
	values[":hi"] = bin(identity)
	out, err := call(s, ctx, "update the head of a namespace", s.api.UpdateItem, &ddb.UpdateItemInput{
		TableName: &s.opts.Table, Key: keyOf(partitionHead(ns), recovery.Offset{}),
		UpdateExpression:          &update,
		ConditionExpression:       aws.String(attrIdentity + " = :hi AND " + condition),
		ExpressionAttributeValues: values,
		ReturnValues:              types.ReturnValueAllNew,
	})
	switch {
	case err == nil:
		h, err := decodeHead(out.Attributes)
		return &h, true, err
	case conditionFailed(err):
		h, err = s.getHead(ctx, ns)
	}
	return h, false, err
}

// adaptWindow makes the head say what is true of the entries that this store
// writes from now on. A window that gets longer does not bring back what was to
// be kept for less.
func (s *Store) adaptWindow(ctx context.Context, ns string, h *head, widen bool) (*head, error) {
	for range 5 {
		own := s.opts.Window.Truncate(time.Millisecond)
		values := item{":hw": number(own.Milliseconds()), ":old": number(h.window.Milliseconds())}
		update := "SET " + attrWindow + " = :hw"
		switch {
		case h.window == own, h.window < own && !widen:
			return h, nil
		case h.window < own:
			values[":hs"] = offset(h.beginning(s.opts.Now()))
			update += ", " + attrStart + " = :hs"
		}
		next, _, err := s.updateHead(ctx, ns, h.identity, update, attrWindow+" = :old", values)
		if err != nil {
			return nil, err
		}
		if next == nil || !bytes.Equal(next.identity, h.identity) {
			return nil, errReplaced
		}
		h = next
	}
	return nil, errors.New("other processes keep changing how long entries are kept")
}

// errReplaced means that the table is not the one it was.
var errReplaced = errors.New("the table was lost and begun anew")

// nonce is a text that is never used twice.
func nonce() string { return rand.Text() }

// maxGenerations bounds the head, which is written with each commit. Past it the
// oldest history is given up.
const maxGenerations = 1000

// generation says that items after an offset have to have been written in it.
type generation struct {
	id    [generationSize]byte
	after recovery.Offset
}

const generationSize = 8

// generations are ascending. Only one writer has them.
type generations []generation

func newGeneration() (id [generationSize]byte) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// valid says whether an item that was written in a generation is part of the
// log. What is before the first generation is not known any more.
func (g generations) valid(o recovery.Offset, id []byte) bool {
	for i := len(g) - 1; i >= 0; i-- {
		if o.After(g[i].after) {
			return string(g[i].id[:]) == string(id)
		}
	}
	return false
}

// with returns the generations and a new one, without those that nothing after
// start was written in; and start, raised if there are too many.
func (g generations) with(next generation, start recovery.Offset) (generations, recovery.Offset) {
	out := make(generations, 0, len(g)+1)
	for i, gen := range g {
		end := next.after
		if i+1 < len(g) {
			end = g[i+1].after
		}
		if end.After(start) {
			out = append(out, gen)
		}
	}
	out = append(out, next)
	if n := len(out) - maxGenerations; n > 0 {
		out = out[n:]
		start = out[0].after
	}
	return out, start
}

func (g generations) encode() []byte {
	b := []byte{1}
	for i := range g {
		b = append(b, g[i].id[:]...)
		b = g[i].after.AppendKey(b)
	}
	return b
}

func decodeGenerations(b []byte) (generations, error) {
	const size = generationSize + recovery.OffsetSize
	if len(b)%size != 1 || b[0] != 1 {
		return nil, fmt.Errorf("%w: generations of %s bytes", recovery.ErrCorrupt, strconv.Itoa(len(b)))
	}
	var g generations
	for b = b[1:]; len(b) > 0; b = b[size:] {
		var gen generation
		copy(gen.id[:], b)
		gen.after, _ = recovery.OffsetFromKey(b[generationSize:size])
		g = append(g, gen)
	}
	return g, nil
}
