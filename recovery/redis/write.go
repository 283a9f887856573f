package redislog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
)

// batchMemory is how long Redis knows the last batch of a node: longer than a
// command can be under way.
const batchMemory = 10 * time.Minute

// write is the goroutine that appends what is queued, batch by batch.
func (s *Stream) write() {
	for {
		batch := s.take()
		if len(batch) == 0 {
			return
		}
		if batch = s.dedupe(batch); len(batch) == 0 {
			continue
		}
		if err := s.append(batch); err != nil {
			s.fail(batch, fmt.Errorf("%w: failed to append to the stream: %w", recovery.ErrNotDurable, err))
			continue
		}
		s.accepted(batch)
	}
}

// accepted passes on what the stream has.
func (s *Stream) accepted(batch []*pending) {
	s.appended(batch)
	var logged []*pending
	for _, p := range batch {
		if p.log != nil && s.opts.Archive != nil {
			logged = append(logged, p)
		}
	}
	if len(logged) > 0 {
		s.archives <- logged
	}
}

// take waits for queued entries and returns as many as make up a batch; none
// once the stream is closed and the queue is empty.
func (s *Stream) take() []*pending {
	for {
		s.mu.Lock()
		n, bytes := 0, 0
		for n < len(s.queue) && n < s.opts.MaxBatch {
			if bytes += s.queue[n].size; n > 0 && bytes > s.opts.MaxBatchBytes {
				break
			}
			n++
		}
		batch := s.queue[:n:n]
		// What is appended later moves to new memory once this is used up.
		if s.queue = s.queue[n:]; len(s.queue) == 0 {
			s.queue = nil
		}
		closed := s.closed
		s.mu.Unlock()
		if n > 0 || closed {
			return batch
		}
		select {
		case <-s.wake:
		case <-s.base.Done():
			return nil
		}
	}
}

// dedupe asks the archive for entries that Redis may have known and lost: as
// long as its history is younger than its memory for ids would be.
func (s *Stream) dedupe(batch []*pending) []*pending {
	if s.opts.Archive == nil || time.Since(time.UnixMilli(s.begun.Load())) > s.opts.IDWindow {
		return batch
	}
	ids := make(map[string][]string)
	for _, p := range batch {
		if p.id != "" {
			ids[p.ns] = append(ids[p.ns], p.id)
		}
	}
	var kept, known, failed []*pending
	var failure error
	found := make(map[string]map[string]recovery.Offset)
	for ns := range ids {
		ctx, cancel := context.WithTimeout(s.base, s.opts.CommitTimeout)
		offsets, err := s.opts.Archive.Lookup(ctx, ns, ids[ns])
		cancel()
		if err != nil {
			failure = fmt.Errorf("%w: failed to look for an earlier entry of the same ID: %w", recovery.ErrNotDurable, err)
			continue
		}
		found[ns] = offsets
	}
	for _, p := range batch {
		offsets, ok := found[p.ns]
		if p.id == "" {
			kept = append(kept, p)
		} else if !ok {
			failed = append(failed, p)
		} else if offset, ok := offsets[p.id]; ok {
			p.offset, p.dup = offset, true
			known = append(known, p)
		} else {
			kept = append(kept, p)
		}
	}
	s.fail(failed, failure)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range known {
		p.handed, p.archived = true, true
		s.settle(p)
	}
	return kept
}

// append brings a batch into the stream, and tries again until it is known to be
// there or the time is up. It sets the offsets.
func (s *Stream) append(batch []*pending) error {
	s.batches++
	before := s.newest()
	keys := append(s.keys(), s.key(":node:"+s.uid))
	args := make([]any, 0, 4+5*len(batch))
	args = append(args, s.batches, s.uid, s.opts.IDWindow.Milliseconds(), batchMemory.Milliseconds())
	var ns any // an interface takes memory of its own
	for i, p := range batch {
		if i == 0 || batch[i-1].ns != p.ns {
			ns = p.ns
		}
		id, unlogged := p.id, ""
		if id != "" {
			keys = append(keys, s.idKey(p.ns, id))
		}
		if p.unlogged {
			unlogged = "1"
		}
		args = append(args, ns, strconv.Itoa(int(p.kind)), p.data, id, unlogged)
	}
	ctx, cancel := context.WithTimeout(s.base, s.opts.CommitTimeout)
	defer cancel()
	pause := 5 * time.Millisecond
	for {
		answer, err := s.tryAppend(ctx, keys, args)
		s.noteAppend(err)
		if err == nil {
			if err := setOffsets(batch, answer); err != nil {
				return err
			}
			return s.checkOffsets(ctx, batch, before)
		}
		if errors.Is(err, errLost) {
			if _, err := s.begin(ctx, s.newest(), recovery.Offset{}); err == nil {
				continue
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, 250*time.Millisecond)
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// noteAppend logs when appending begins to fail, for another reason than before,
// and when it works again.
func (s *Stream) noteAppend(err error) {
	reason := ""
	if err != nil && !errors.Is(err, errLost) {
		reason = err.Error()
	}
	switch {
	case reason == s.refused || s.base.Err() != nil:
		return
	case reason != "":
		s.opts.Logger.Warn("recovery: failed to append to the stream; trying again", "stream", s.opts.Name, "error", err)
	default:
		s.opts.Logger.Info("recovery: the stream is appended to again", "stream", s.opts.Name)
	}
	s.refused = reason
}

// newest is the newest offset that this node has seen.
func (s *Stream) newest() recovery.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pos.Before(s.written) {
		return s.written
	}
	return s.pos
}

func (s *Stream) tryAppend(ctx context.Context, keys []string, args []any) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	var answer []string
	var err error
	if s.opts.Replicas == 0 {
		answer, err = appendScript.Run(ctx, s.rdb, keys, args...).StringSlice()
	} else {
		answer, err = s.appendReplicated(ctx, keys, args)
	}
	switch {
	case err != nil:
		return nil, err
	case len(answer) == 0 || answer[0] == "stale":
		return nil, errors.New("the batch was overtaken")
	case answer[0] == "lost":
		return nil, errLost
	}
	return answer[1:], nil
}

// primary returns the client of the server that has the stream. A Redis Cluster's
// own would send WAIT anywhere.
func (s *Stream) primary(ctx context.Context) (redis.Cmdable, error) {
	if cluster, ok := s.rdb.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, s.opts.Name)
	}
	return s.rdb, nil
}

// appendReplicated waits for the replicas too. It takes the connection of the
// script, for it is about what was written there.
func (s *Stream) appendReplicated(ctx context.Context, keys []string, args []any) ([]string, error) {
	var script *redis.Cmd
	var wait *redis.Cmd
	rdb, err := s.primary(ctx)
	if err != nil {
		return nil, err
	}
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		script = appendScript.Eval(ctx, p, keys, args...)
		wait = p.Do(ctx, "WAIT", s.opts.Replicas, (s.opts.CallTimeout / 2).Milliseconds())
		return nil
	})
	if err != nil {
		return nil, err
	}
	if n, err := wait.Int(); err != nil || n < s.opts.Replicas {
		return nil, fmt.Errorf("%d of %d replicas have the entries", n, s.opts.Replicas)
	}
	return script.StringSlice()
}

func setOffsets(batch []*pending, answer []string) error {
	if len(answer) != len(batch) {
		return fmt.Errorf("%d answers to %d entries", len(answer), len(batch))
	}
	for i, p := range batch {
		text, dup := strings.CutPrefix(answer[i], "=")
		offset, err := recovery.ParseOffset(text)
		if err != nil {
			return err
		}
		p.offset, p.dup = offset, dup
	}
	return nil
}
