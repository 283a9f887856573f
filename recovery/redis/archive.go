package redislog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// archiveWriters is how many calls of the Archive may be under way.
const archiveWriters = 4

// archive is one of the goroutines that write to the Archive what the stream has.
func (s *Stream) archive() {
	for batch := range s.archives {
		for len(batch) > 0 {
			ns := batch[0].ns
			var group, rest []*pending
			for _, p := range batch {
				if p.ns == ns {
					group = append(group, p)
				} else {
					rest = append(rest, p)
				}
			}
			s.archiveGroup(ns, group)
			batch = rest
		}
	}
}

// archiveGroup writes entries of one namespace.
func (s *Stream) archiveGroup(ns string, group []*pending) {
	err := s.tryArchive(ns, group)
	for s.opts.Durability == recovery.Async && err != nil && !s.late(err) {
		s.opts.Logger.Warn("recovery: the archive misses accepted entries; trying again",
			"namespace", ns, "entries", len(group), "error", err)
		timer := time.NewTimer(250 * time.Millisecond)
		select {
		case <-timer.C:
			err = s.tryArchive(ns, group)
			continue
		case <-s.base.Done():
			timer.Stop()
		}
		break
	}
	if err != nil {
		s.opts.Logger.Error("recovery: entries that were handed out are not in the archive",
			"namespace", ns, "entries", len(group), "error", err)
	}
	if err != nil && s.late(err) {
		s.forget(ns, group)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range group {
		if err != nil && p.err == nil && !p.told {
			p.err = fmt.Errorf("%w: failed to archive: %w", recovery.ErrNotDurable, err)
		}
		p.archived = true
		s.settle(p)
	}
}

func (s *Stream) late(err error) bool { return s.opts.Late != nil && s.opts.Late(err) }

// forget makes the ids of entries new again. Should that fail, publishing them
// again fails as it did before, and this is tried again.
func (s *Stream) forget(ns string, group []*pending) {
	ctx, cancel := context.WithTimeout(s.base, s.opts.CallTimeout)
	defer cancel()
	for _, p := range group {
		if p.id == "" {
			continue
		}
		if err := forgetScript.Run(ctx, s.rdb, []string{s.idKey(ns, p.id)}, p.offset.String()).Err(); err != nil {
			s.opts.Logger.Warn("recovery: the id of an entry can't be used again", "namespace", ns, "error", err)
			return
		}
	}
}

func (s *Stream) tryArchive(ns string, group []*pending) error {
	ctx, cancel := context.WithTimeout(s.base, s.opts.CommitTimeout)
	defer cancel()
	// An entry that was published before is the first publisher's to archive, who
	// may have died before it did.
	var ids []string
	for _, p := range group {
		if p.dup {
			ids = append(ids, p.id)
		}
	}
	var found map[string]recovery.Offset
	if len(ids) > 0 {
		var err error
		if found, err = s.opts.Archive.Lookup(ctx, ns, ids); err != nil {
			return err
		}
	}
	entries := make([]recovery.Entry, 0, len(group))
	for _, p := range group {
		if _, ok := found[p.id]; p.dup && ok {
			continue
		}
		e := *p.entry
		e.Offset = p.offset
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b recovery.Entry) int { return a.Offset.Compare(b.Offset) })
	entries = slices.CompactFunc(entries, func(a, b recovery.Entry) bool { return a.Offset == b.Offset })
	if len(entries) == 0 {
		return nil
	}
	return s.opts.Archive.Append(ctx, ns, entries)
}
