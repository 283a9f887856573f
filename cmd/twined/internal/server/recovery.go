package server

import (
	"context"
	"encoding/json"
	"time"

	"github.com/twine-realtime/twine/cmd/twined/internal/config"
	"github.com/twine-realtime/twine/cmd/twined/internal/original"
	"github.com/twine-realtime/twine/cmd/twined/internal/repeat"
	"github.com/twine-realtime/twine/cmd/twined/internal/storage"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/parser"
)

const (
	// resumeDelay is longer than the 100 ms after which the original client library looks whether it has a connection
	// to attach its listeners to.
	resumeDelay = 400 * time.Millisecond
	// publishTimeout is how long a publisher waits before it is told to try again.
	publishTimeout = 15 * time.Second
)

// recoveryOptions says how sessions are recovered from the storage.
func recoveryOptions(cfg *config.Config, opened *storage.Storage) *twine.Recovery {
	r := opened.Recovery
	r.MaxDisconnection = cfg.RecoveryWindow
	r.MaxReplay = cfg.MaxReplay
	r.ResumeIdle = true
	r.Identify = original.Identity
	r.ResumeDelay = resumeDelay
	return &r
}

// history reads the logs of a server's namespaces.
type history struct{ twine *twine.Server }

func (h history) Read(ctx context.Context, ns string, q recovery.Query) (recovery.Page, error) {
	return h.twine.Of(ns).History(ctx, q)
}

func (h history) Start(ctx context.Context, ns string) (recovery.Offset, error) {
	return h.twine.Of(ns).HistoryStart(ctx)
}

func (h history) Last(ctx context.Context, ns string) (recovery.Offset, error) {
	return h.twine.Of(ns).HistoryLast(ctx)
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
	return repeat.Check(ctx, history{s.twine}, "/", at, repeat.Message{Rooms: []string{room}, Data: data}, original.SameMessage)
}
