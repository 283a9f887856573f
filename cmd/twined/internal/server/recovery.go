package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/config"
	"github.com/twine-realtime/twine/cmd/twined/internal/original"
	"github.com/twine-realtime/twine/cmd/twined/internal/repeat"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser"
)

const (
	// storeName is the file in the data folder that holds history and sessions.
	storeName = "twine.db"
	// resumeDelay is longer than the 100 ms after which the original client library looks whether it has a connection
	// to attach its listeners to.
	resumeDelay = 400 * time.Millisecond
	// publishTimeout is how long a publisher waits before it is told to try again.
	publishTimeout = 15 * time.Second
)

func openStore(cfg *config.Config, log *slog.Logger) (*disk.Store, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder: %w", err)
	}
	path := filepath.Join(cfg.DataDir, storeName)
	store, err := disk.Open(path, disk.Options{Window: cfg.RecoveryWindow, Quarantine: cfg.Quarantine, Logger: log})
	if corrupt := (*disk.CorruptError)(nil); errors.As(err, &corrupt) {
		return nil, fmt.Errorf("%w; restore it from a backup, or start with --quarantine to set it aside and begin with an empty one", err)
	}
	if errors.Is(err, disk.ErrLocked) {
		return nil, fmt.Errorf("%w, perhaps another twined; give each a data folder of its own with --data-dir", err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the data folder: %w", err)
	}
	return store, nil
}

// watchedLog tells when its log has failed for good.
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

func recoveryOptions(cfg *config.Config, store *disk.Store, broken chan<- struct{}) *twine.Recovery {
	durability := recovery.Sync
	if cfg.Durability == "async" {
		durability = recovery.Async
	}
	return &twine.Recovery{
		Log:              &watchedLog{Log: store.Log(), broken: broken},
		Hot:              memory.NewLog(memory.LogOptions{Window: cfg.HotWindow}),
		Sessions:         store.Sessions(),
		Durability:       durability,
		MaxDisconnection: cfg.RecoveryWindow,
		MaxReplay:        cfg.MaxReplay,
		ResumeIdle:       true,
		Identify:         func(h *engineio.Handshake) string { return original.CookieID(h.Header()) },
		ResumeDelay:      resumeDelay,
	}
}

// publish hands a message to everyone in a room, now or when they come back, and returns when that is certain.
func (s *Server) publish(ctx context.Context, room, id string, message json.RawMessage) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	began := time.Now()
	published, err := s.twine.To(room).Publish(ctx, id, "message", message)
	if published.Duplicate {
		err = s.checkRepeated(ctx, published.Offset, room, message)
	}
	s.metrics.publishDone(began, published.Duplicate, err)
	return err
}

// checkRepeated returns repeat.ErrOther if the message at an offset, which has the same id, is another one.
func (s *Server) checkRepeated(ctx context.Context, at recovery.Offset, room string, message json.RawMessage) error {
	data, _, err := parser.EventData("message", message)
	if err != nil {
		return err
	}
	return repeat.Check(ctx, s.history, "/", at, repeat.Message{Rooms: []string{room}, Data: data}, original.SameMessage)
}
