package redislog

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/wire"
)

// record is an entry of the stream as Redis sent it. Its fields are parts of the
// reply.
type record struct {
	offset          recovery.Offset
	uid, namespace  []byte
	kind, data, id  []byte
	unlogged, start bool
}

// message returns a copy of the record.
func (r *record) message() *Message {
	m := &Message{Offset: r.offset, UID: string(r.uid), Namespace: string(r.namespace), Data: string(r.data)}
	if kind, err := strconv.Atoi(string(r.kind)); err == nil {
		m.Type = wire.Type(kind)
	}
	return m
}

// broadcast reads what the record holds into b, and reports whether it is a
// broadcast. The packet's data are a part of the reply then, and nothing else is.
func (r *record) broadcast(b *wire.Broadcast) (bool, error) {
	if string(r.kind) != broadcastKind {
		return false, nil
	}
	err := b.Parse(r.data)
	return err == nil, err
}

var broadcastKind = strconv.Itoa(int(wire.BroadcastPacket))

// entry returns a broadcast as an entry of the history.
func (r *record) entry(b *wire.Broadcast) recovery.Entry {
	e := recovery.Entry{Offset: r.offset, Data: b.Packet.Data, Attachments: b.Packet.Attachments, ID: string(r.id)}
	if len(b.Options.Rooms) > 0 {
		e.Rooms = b.Options.Rooms
	}
	if len(b.Options.Except) > 0 {
		e.Except = b.Options.Except
	}
	return e
}

// A reply's entries are read by hand, since a map for each of them is dear where a
// node reads all that is published to all others.

// errReply means that Redis answered something else than a list of entries.
var errReply = errors.New("malformed reply of Redis")

// reply reads RESP, the protocol of Redis: https://redis.io/docs/latest/develop/reference/protocol-spec/
type reply struct{ rest []byte }

// head takes a line that is a type and a length, and returns them; the length is
// -1 for null.
func (r *reply) head() (kind byte, n int, err error) {
	if len(r.rest) < 3 {
		return 0, 0, errReply
	}
	kind = r.rest[0]
	if kind == '-' {
		text, _, _ := bytes.Cut(r.rest[1:], []byte("\r\n"))
		return 0, 0, fmt.Errorf("redis: %s", text)
	}
	i := 1
	if kind == '_' {
		n = -1
	} else {
		for ; i < len(r.rest) && r.rest[i]-'0' <= 9 && i < 11; i++ {
			n = 10*n + int(r.rest[i]-'0')
		}
		if i == 1 && bytes.HasPrefix(r.rest[1:], []byte("-1")) {
			i, n = 3, -1
		}
		if i == 1 {
			return 0, 0, errReply
		}
	}
	if len(r.rest) < i+2 || r.rest[i] != '\r' || r.rest[i+1] != '\n' {
		return 0, 0, errReply
	}
	r.rest = r.rest[i+2:]
	return kind, n, nil
}

// list takes the head of a list and returns its length, in which the keys of a
// map count too; -1 if there is null.
func (r *reply) list() (int, error) {
	kind, n, err := r.head()
	switch {
	case err != nil:
		return 0, err
	case n > len(r.rest):
	case n < 0, kind == '*':
		return n, nil
	case kind == '%':
		return 2 * n, nil
	}
	return 0, errReply
}

// text takes a bulk string.
func (r *reply) text() ([]byte, error) {
	kind, n, err := r.head()
	if err != nil {
		return nil, err
	}
	if kind != '$' || n < 0 || n+2 > len(r.rest) || r.rest[n] != '\r' || r.rest[n+1] != '\n' {
		return nil, errReply
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n+2:]
	return b, nil
}

// readReply reads the answer to an XREAD of one stream: none, if nothing came.
// The records are in the memory of into, if that is enough.
func readReply(raw []byte, into []record) ([]record, error) {
	r := reply{raw}
	n, err := r.list()
	if err != nil || n < 0 {
		return nil, err
	}
	if n != 1 && n != 2 {
		return nil, errReply
	}
	if n == 1 { // in RESP3, the stream and its entries are a map's; in RESP2, a list in a list
		if n, err = r.list(); err != nil || n != 2 {
			return nil, errors.Join(errReply, err)
		}
	}
	if _, err := r.text(); err != nil {
		return nil, err
	}
	return r.records(into)
}

// rangeReply reads the answer to an XRANGE.
func rangeReply(raw []byte) ([]record, error) {
	r := reply{raw}
	return r.records(nil)
}

func (r *reply) records(into []record) ([]record, error) {
	n, err := r.list()
	if err != nil || n < 1 {
		return nil, err
	}
	records := slices.Grow(into[:0], n)[:n]
	clear(records)
	for i := range records {
		if err := r.record(&records[i]); err != nil {
			return nil, err
		}
	}
	return records, nil
}

func (r *reply) record(to *record) error {
	if n, err := r.list(); err != nil || n != 2 {
		return errors.Join(errReply, err)
	}
	id, err := r.text()
	if err != nil {
		return err
	}
	if to.offset, err = recovery.ParseOffset(string(id)); err != nil {
		return fmt.Errorf("%w: id %.40q", errReply, id)
	}
	n, err := r.list()
	if err != nil {
		return err
	}
	for ; n > 1; n -= 2 {
		field, err := r.text()
		if err != nil {
			return err
		}
		value, err := r.text()
		if err != nil {
			return err
		}
		switch string(field) {
		case wire.FieldUID:
			to.uid = value
		case wire.FieldNamespace:
			to.namespace = value
		case wire.FieldType:
			to.kind = value
		case wire.FieldData:
			to.data = value
		case wire.FieldID:
			to.id = value
		case wire.FieldUnlogged:
			to.unlogged = len(value) > 0
		case wire.FieldStart:
			to.start = true
		}
	}
	return nil
}
