package redislog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	readCount = 512
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
	var entries *redis.RawWriteToCmd
	var check *redis.Cmd
	// The order matters: if the last entry is still there after the read, it was
	// there before.
	var replicated *redis.Cmd
	rdb, err := s.primary(ctx)
	if err != nil {
		return err
	}
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		s.reply.reset()
		entries = s.rawRead(ctx, p, pos, min(readBlock, s.opts.CallTimeout/4))
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
	var records []record
	length, err := entries.Result()
	if err == nil {
		// What is in front was left by a connection that broke, before the client tried another one.
		records, err = readReply(s.reply.b[len(s.reply.b)-int(length):], s.records)
		s.records = records[:0]
	}
	if err != nil && !errors.Is(err, redis.Nil) {
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
	if replicated != nil && len(records) > 0 {
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
		s.handOut(records)
		clear(records) // they would keep a large reply alive
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

// rawRead asks for what comes after a position, and has it written to s.reply.
func (s *Stream) rawRead(ctx context.Context, p redis.Pipeliner, after recovery.Offset, block time.Duration) *redis.RawWriteToCmd {
	cmd := redis.NewRawWriteToCmd(ctx, &s.reply, "xread", "count", readCount, "block", block.Milliseconds(),
		"streams", s.opts.Name, after.String())
	cmd.SetFirstKeyPos(6)
	p.Process(ctx, cmd) // it is queued, which does not fail
	return cmd
}

// handOut hands out what was read, in its order.
func (s *Stream) handOut(records []record) {
	if len(records) == 0 {
		return
	}
	s.dispatch.Lock()
	defer s.dispatch.Unlock()
	var busy []*subscriber // those with a run
	flush := func(sub *subscriber) {
		if len(sub.run) > 0 {
			sub.log.handOut(sub.run)
			clear(sub.run)
			sub.run = sub.run[:0]
		}
	}
	var b wire.Broadcast
	for i := range records {
		r := &records[i]
		if r.start {
			for _, sub := range busy {
				flush(sub)
			}
			s.skipLocked(r.offset)
			continue
		}
		sub := s.namespaces[string(r.namespace)]
		if sub == nil {
			continue
		}
		broadcast, err := r.broadcast(&b)
		if err != nil {
			s.opts.Logger.Warn("recovery: malformed broadcast in the stream", "stream", s.opts.Name,
				"offset", r.offset.String(), "sender", string(r.uid), "error", err)
			continue
		}
		switch {
		case broadcast && b.Recoverable() && sub.log != nil && !r.unlogged:
			if len(sub.run) == 0 {
				busy = append(busy, sub)
			}
			sub.run = append(sub.run, r.entry(&b))
		case sub.messages != nil:
			flush(sub)
			m := r.message()
			if broadcast {
				m.Broadcast = new(b)
				m.Broadcast.Packet.Data = bytes.Clone(b.Packet.Data)
			}
			sub.messages(m)
		}
	}
	for _, sub := range busy {
		flush(sub)
	}
	last := records[len(records)-1].offset
	for _, sub := range s.namespaces {
		if sub.log != nil {
			sub.log.moveTo(last)
		}
	}
	s.advance(last, nil)
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
