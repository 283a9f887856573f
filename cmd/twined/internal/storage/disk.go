package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/twine-realtime/twine/cmd/twined/internal/config"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
)

// fileName is the file in the data folder that holds history and sessions.
const fileName = "twine.db"

func (s *Storage) openDisk(cfg *config.Config, log *slog.Logger) error {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot make the data folder: %w", err)
	}
	path := filepath.Join(cfg.DataDir, fileName)
	store, err := disk.Open(path, disk.Options{Window: cfg.RecoveryWindow, Quarantine: cfg.Quarantine, Logger: log})
	if corrupt := (*disk.CorruptError)(nil); errors.As(err, &corrupt) {
		return fmt.Errorf("%w; restore it from a backup, or start with --quarantine to set it aside and begin with an empty one", err)
	}
	if errors.Is(err, disk.ErrLocked) {
		return fmt.Errorf("%w, perhaps another twined; give each a data folder of its own with --data-dir", err)
	}
	if err != nil {
		return fmt.Errorf("cannot use the data folder: %w", err)
	}
	s.onClose(func(context.Context) error { return store.Close() })
	s.Recovery.Log, s.Recovery.Sessions = s.watch(store.Log()), store.Sessions()
	return nil
}

// watch has Broken closed when a log has failed for good.
func (s *Storage) watch(log recovery.Log) recovery.Log {
	broken := make(chan struct{})
	s.Broken = broken
	return &watchedLog{Log: log, broken: broken}
}

type watchedLog struct {
	recovery.Log
	broken chan<- struct{}
	once   sync.Once
}

func (l *watchedLog) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	err := l.Log.Append(ctx, ns, entries)
	if errors.Is(err, recovery.ErrBroken) {
		l.once.Do(func() { close(l.broken) })
	}
	return err
}
