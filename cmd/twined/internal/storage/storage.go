// Package storage opens what the daemon keeps its history and its sessions in: a file on its own disk, or Redis, or DynamoDB,
// or both of them, whichever the settings name.
package storage

import (
	"context"
	"log/slog"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/cmd/twined/internal/config"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/twine"
)

// Storage is what the daemon keeps things in.
type Storage struct {
	// Recovery has the stores; the rest is for the caller to set.
	Recovery twine.Recovery
	// Adapter joins the daemon to its cluster; nil: there is none.
	Adapter adapter.Constructor
	// Peers are the nodes of the cluster, this one included; nil: there is none.
	Peers *redislog.Peers
	// Broken is closed when storage has failed in a way that only opening it again can mend.
	Broken <-chan struct{}

	unready []func() string
	closers []func(ctx context.Context) error // in the order of opening
}

// Open opens what the settings name. While a service is out of reach it tries again, until ctx ends.
func Open(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Storage, error) {
	s := &Storage{Broken: make(chan struct{})}
	s.Recovery.Hot = memory.NewLog(memory.LogOptions{Window: cfg.HotWindow})
	if cfg.Durability == "async" {
		s.Recovery.Durability = recovery.Async
	}
	var err error
	switch {
	case cfg.RedisURL != "":
		err = s.openCluster(ctx, cfg, log)
	case cfg.DynamoDBTable != "":
		err = s.openTable(ctx, cfg, log)
	default:
		err = s.openDisk(cfg, log)
	}
	if err != nil {
		_ = s.Close(ctx)
		return nil, err
	}
	return s, nil
}

// Unready returns why clients should not be sent here, or "".
func (s *Storage) Unready() string {
	select {
	case <-s.Broken:
		return "storage has failed"
	default:
	}
	for _, f := range s.unready {
		if reason := f(); reason != "" {
			return reason
		}
	}
	return ""
}

// Close closes everything. The server that uses it has to be closed before.
func (s *Storage) Close(ctx context.Context) error {
	var first error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](ctx); err != nil && first == nil {
			first = err
		}
	}
	s.closers = nil
	return first
}

func (s *Storage) onClose(f func(ctx context.Context) error) { s.closers = append(s.closers, f) }
