package redislog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/wire"
)

const (
	// readBlock is how long Redis lets a read wait for entries. It bounds how
	// late an idle node notices that the stream is gone.
	readBlock = 500 * time.Millisecond
	// readCount is how many entries are read at once.
	readCount = 256
)

// read is the goroutine that reads the stream and hands out what it holds.
func (s *Stream) read() {
	pause := time.Duration(0)
	for s.base.Err() == nil {
		err := s.readOnce()
		s.note(err)
		if err == nil {
			pause = 0
			continue
		}
		pause = min(max(2*pause, 10*time.Millisecond), time.Second)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.base.Done():
			timer.Stop()
		}
	}
}

// note keeps the error for Err, and logs changes.
func (s *Stream) note(err error) {
	s.mu.Lock()
	before := s.failing
	s.failing = err
	s.mu.Unlock()
	switch {
	case s.base.Err() != nil:
	case err != nil && before == nil:
		s.opts.Logger.Error("recovery: failed to read the stream; trying again", "stream", s.opts.Name, "error", err)
	case err == nil && before != nil:
		s.opts.Logger.Info("recovery: the stream is read again", "stream", s.opts.Name)
	}
}

// readOnce reads what comes next, makes sure that it does come next, and hands
// it out.
func (s *Stream) readOnce() error {
	s.mu.Lock()
	pos, written := s.pos, s.written
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.base, s.opts.CallTimeout)
	defer cancel()
	var entries *redis.XStreamSliceCmd
	var check *redis.Cmd
	// The order matters: if the last entry is still there after the read, it was
	// there before.
	var replicated *redis.Cmd
	rdb, err := s.primary(ctx)
	if err != nil {
		return err
	}
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		entries = p.XRead(ctx, &redis.XReadArgs{Streams: []string{s.opts.Name, pos.String()}, Count: readCount,
			Block: min(readBlock, s.opts.CallTimeout/4)})
		check = s.evalExtent(ctx, p, pos, written)
		if s.opts.Replicas > 0 {
			// WAIT is about what its connection has written, and so about all that was written before.
			p.Set(ctx, s.key(":read:"+s.uid), pos.String(), time.Minute)
			replicated = p.Do(ctx, "WAIT", s.opts.Replicas, (s.opts.CallTimeout / 4).Milliseconds())
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	if err := entries.Err(); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	e, err := toExtent(check)
	if errors.Is(err, errLost) {
		_, err = s.begin(ctx, s.newest(), recovery.Offset{})
		return err
	}
	if err != nil {
		return err
	}
	if replicated != nil && len(entries.Val()) > 0 {
		// An entry that a failover takes back must not have been handed out: its publisher sends it again.
		if n, err := replicated.Int(); err != nil || n < s.opts.Replicas {
			return fmt.Errorf("%d of %d replicas have what was read", n, s.opts.Replicas)
		}
	}
	s.begun.Store(e.begun)
	// In another history than the one that pos is in, an entry behind the start is not the one that was read, whatever its id.
	another := s.follows != e.begun && pos.After(e.start)
	follows := !another && (e.found[0] || pos == e.start)
	intact := e.found[1] || !written.After(pos) || !written.After(e.start)
	switch {
	case follows && intact:
		s.follows = e.begun
		for _, stream := range entries.Val() {
			s.handOut(stream.Messages)
		}
		return nil
	case pos.Before(e.start):
		s.follows = e.begun
		s.skip(e.start)
		return nil
	}
	// Entries that were there are not, and it is not that they were trimmed.
	floor := s.newest()
	if floor.Before(e.last) {
		floor = e.last
	}
	_, err = s.begin(ctx, floor, e.start)
	return err
}

// handOut hands out what was read, in its order.
func (s *Stream) handOut(messages []redis.XMessage) {
	if len(messages) == 0 {
		return
	}
	s.dispatch.Lock()
	defer s.dispatch.Unlock()
	runs := make(map[string][]recovery.Entry)
	flush := func(ns string) {
		if run := runs[ns]; len(run) > 0 {
			s.namespaces[ns].log.handOut(run)
			delete(runs, ns)
		}
	}
	var last recovery.Offset
	for i := range messages {
		offset, err := recovery.ParseOffset(messages[i].ID)
		if err != nil {
			s.opts.Logger.Error("recovery: stream entry without an offset", "stream", s.opts.Name, "id", messages[i].ID)
			continue
		}
		if _, ok := messages[i].Values[wire.FieldStart]; ok {
			for ns := range runs {
				flush(ns)
			}
			s.skipLocked(offset)
			last = offset
			continue
		}
		last = offset
		m, e := s.parse(offset, messages[i].Values)
		switch {
		case e != nil:
			runs[m.Namespace] = append(runs[m.Namespace], *e)
		case m != nil:
			flush(m.Namespace)
			s.namespaces[m.Namespace].messages(m)
		}
	}
	for ns := range runs {
		flush(ns)
	}
	for _, sub := range s.namespaces {
		if sub.log != nil {
			sub.log.moveTo(last)
		}
	}
	s.advance(last, nil)
}

// parse returns a stream entry as an entry of its namespace's history, or as
// another message, or nil if nobody on this node is interested. It needs dispatch.
func (s *Stream) parse(offset recovery.Offset, values map[string]any) (*Message, *recovery.Entry) {
	m, id, unlogged := toMessage(offset, values)
	sub := s.namespaces[m.Namespace]
	if sub == nil {
		return nil, nil
	}
	e, err := m.entry(id)
	if err != nil {
		s.opts.Logger.Warn("recovery: malformed broadcast in the stream", "stream", s.opts.Name,
			"offset", offset.String(), "sender", m.UID, "error", err)
		return nil, nil
	}
	if e != nil && sub.log != nil && !unlogged {
		return m, e
	}
	if sub.messages == nil {
		return nil, nil
	}
	return m, nil
}

func toMessage(offset recovery.Offset, values map[string]any) (m *Message, id string, unlogged bool) {
	text := func(field string) string {
		v, _ := values[field].(string)
		return v
	}
	m = &Message{Offset: offset, UID: text(wire.FieldUID), Namespace: text(wire.FieldNamespace), Data: text(wire.FieldData)}
	if kind, err := strconv.Atoi(text(wire.FieldType)); err == nil {
		m.Type = wire.Type(kind)
	}
	return m, text(wire.FieldID), text(wire.FieldUnlogged) != ""
}

// entry parses the broadcast of a message, and returns it as an entry if it is
// recoverable.
func (m *Message) entry(id string) (*recovery.Entry, error) {
	if m.Type != wire.BroadcastPacket {
		return nil, nil
	}
	b, err := wire.ParseBroadcast(m.Data)
	if err != nil {
		return nil, err
	}
	m.Broadcast = b
	if !b.Recoverable() {
		return nil, nil
	}
	e := &recovery.Entry{Offset: m.Offset, Data: b.Packet.Data, Attachments: b.Packet.Attachments, ID: id}
	if len(b.Options.Rooms) > 0 {
		e.Rooms = b.Options.Rooms
	}
	if len(b.Options.Except) > 0 {
		e.Except = b.Options.Except
	}
	return e, nil
}

// skip goes on at an offset, past entries that cannot be read.
func (s *Stream) skip(to recovery.Offset) {
	s.dispatch.Lock()
	defer s.dispatch.Unlock()
	s.skipLocked(to)
}

// skipLocked needs dispatch.
func (s *Stream) skipLocked(to recovery.Offset) {
	from := s.position()
	s.opts.Logger.Error("recovery: the stream has a hole", "stream", s.opts.Name, "from", from.String(), "to", to.String())
	for _, sub := range s.namespaces {
		if sub.log != nil {
			sub.log.skip(to)
		}
	}
	s.advance(to, &hole{from, to})
}
