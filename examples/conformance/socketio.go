package main

import (
	"context"
	"log/slog"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
)

const socketIOPath = "/socket.io/"

// socketIOv5 tells what it was sent.
func socketIOv5(logger *slog.Logger, t timing) server {
	srv := twine.NewServer(&twine.Options{
		Engine: engineio.Options{
			PingInterval:      t.pingInterval,
			PingTimeout:       t.pingTimeout,
			MaxHTTPBufferSize: 1_000_000,
			CloseTimeout:      closeTimeout,
		},
		ConnectTimeout: t.connectTimeout,
		Logger:         logger,
	})
	emitAuth := func(s *twine.Socket) { report(logger, s.Emit("auth", s.Handshake().Auth)) }
	srv.OnConnect(emitAuth)
	srv.Of("/custom").OnConnect(emitAuth)
	srv.On("message", func(_ context.Context, s *twine.Socket, e *twine.Event) {
		if args, err := arguments(e); report(logger, err) {
			report(logger, s.Emit("message-back", args...))
		}
	})
	srv.On("message-with-ack", func(_ context.Context, _ *twine.Socket, e *twine.Event) {
		if args, err := arguments(e); report(logger, err) {
			report(logger, e.Ack(args...))
		}
	})
	return server{srv, socketIOPath, srv.Close}
}

// arguments returns the arguments of an event as they were sent, binary values included.
func arguments(e *twine.Event) ([]any, error) {
	args := make([]any, e.Len())
	for i := range args {
		if err := e.Bind(i, &args[i]); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// report logs an error and tells whether there was none.
func report(logger *slog.Logger, err error) bool {
	if err != nil {
		logger.Warn("conformance", slog.Any("error", err))
	}
	return err == nil
}
