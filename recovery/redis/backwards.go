package redislog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
)

// checkOffsets makes sure that a batch is after all that this node had seen before
// it was sent. If Redis has lost its newest entries, as in a failover, and its
// clock is behind that of the one before, it is not: this node would not hand the
// batch out, nor would clients with newer offsets ask for it. Then it is taken
// back, so that it can be published again, and the stream is begun anew.
func (s *Stream) checkOffsets(ctx context.Context, batch []*pending, before recovery.Offset) error {
	i := slices.IndexFunc(batch, func(p *pending) bool { return !p.dup && !p.offset.After(before) })
	if i < 0 {
		return nil
	}
	cause := fmt.Errorf("the stream went back from %v to %v", before, batch[i].offset)
	s.opts.Logger.Error("recovery: the stream goes back; beginning anew", "stream", s.opts.Name, "error", cause)
	pause := 5 * time.Millisecond
	for {
		err := s.takeBack(ctx, batch)
		if err == nil {
			return cause
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, 250*time.Millisecond)
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w, and ids can't be used again: %w", cause, err)
		}
	}
}

// takeBack makes the ids of a batch new again, and puts the batch before the start
// of the history.
func (s *Stream) takeBack(ctx context.Context, batch []*pending) error {
	call, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
	defer cancel()
	if _, err := s.rdb.Pipelined(call, func(p redis.Pipeliner) error {
		for _, e := range batch {
			if e.id != "" && !e.dup {
				forgetScript.Eval(call, p, []string{s.idKey(e.ns, e.id)}, e.offset.String())
			}
		}
		return nil
	}); err != nil {
		return err
	}
	e, err := s.extent(ctx)
	if err != nil {
		return err
	}
	if newest := s.newest(); e.last.Before(newest) {
		_, err = s.begin(ctx, newest, e.start)
	}
	return err
}
