package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
)

// socketIOClient is the other end of socket.io-client's tests.
func socketIOClient(logger *slog.Logger, t timing) server {
	srv := newAnswering(logger, &twine.Options{
		Engine: engineio.Options{
			PingInterval: t.pingInterval,
			PingTimeout:  t.pingTimeout,
			AllowRequest: allowLate,
			CloseTimeout: closeTimeout,
		},
		ConnectTimeout: t.connectTimeout,
		Recovery:       new(twine.Recovery),
		Logger:         logger,
	})
	return server{srv, socketIOPath, srv.Close}
}

// newAnswering returns a server with the namespaces and events of those tests.
func newAnswering(logger *slog.Logger, opts *twine.Options) *twine.Server {
	srv := twine.NewServer(opts)
	for _, name := range []string{"/timeout_socket", "/valid", "/asd"} {
		srv.Of(name)
	}
	srv.Of("/foo").On("getId", func(_ context.Context, s *twine.Socket, e *twine.Event) {
		report(logger, e.Ack(s.ID()))
	})
	srv.Of("/abc").OnConnect(func(s *twine.Socket) { report(logger, s.Emit("handshake", s.Handshake())) })
	srv.Of("/no").Use(func(context.Context, *twine.Socket) error {
		return &twine.ConnectError{Message: "Auth failed (custom namespace)"}
	})
	srv.Use(func(_ context.Context, s *twine.Socket) error {
		if s.Handshake().Query.Get("fail") != "" {
			return &twine.ConnectError{Message: "Auth failed (main namespace)"}
		}
		return nil
	})

	on := func(event string, f func(ctx context.Context, s *twine.Socket, e *twine.Event) error) {
		srv.On(event, func(ctx context.Context, s *twine.Socket, e *twine.Event) {
			if err := f(ctx, s, e); !errors.Is(err, twine.ErrDisconnected) {
				report(logger, err)
			}
		})
	}
	handleMain(logger, on)
	handleBinary(on)
	return srv
}

// allowLate makes a client wait, so that its timeouts can be tested.
func allowLate(r *http.Request) error {
	const delay = 10 * time.Millisecond
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

type handlerOf func(event string, f func(ctx context.Context, s *twine.Socket, e *twine.Event) error)

func handleMain(logger *slog.Logger, on handlerOf) {
	on("hi", func(_ context.Context, s *twine.Socket, _ *twine.Event) error { return s.Emit("hi") })
	on("echo", func(_ context.Context, _ *twine.Socket, e *twine.Event) error {
		args, err := arguments(e)
		if err != nil {
			return err
		}
		return e.Ack(args...)
	})
	on("getId", func(_ context.Context, s *twine.Socket, e *twine.Event) error { return e.Ack(s.ID()) })
	on("getHandshake", func(_ context.Context, s *twine.Socket, e *twine.Event) error { return e.Ack(s.Handshake()) })
	on("getAckDate", func(_ context.Context, _ *twine.Socket, e *twine.Event) error { return e.Ack(date()) })
	on("getDate", func(_ context.Context, s *twine.Socket, _ *twine.Event) error { return s.Emit("takeDate", date()) })
	on("getDateObj", func(_ context.Context, s *twine.Socket, _ *twine.Event) error {
		return s.Emit("takeDateObj", map[string]any{"date": date()})
	})
	on("ack", func(_ context.Context, s *twine.Socket, _ *twine.Event) error {
		// Not here: the client may send the next event before it answers, if it does at all.
		go askForAck(logger, s)
		return nil
	})
	on("false", func(_ context.Context, s *twine.Socket, _ *twine.Event) error { return s.Emit("false", false) })
	on("getUtf8", func(_ context.Context, s *twine.Socket, _ *twine.Event) error {
		for _, text := range []string{"てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"} {
			if err := s.Emit("takeUtf8", text); err != nil {
				return err
			}
		}
		return nil
	})
}

// askForAck asks for an acknowledgement and tells the client if it is the one that the suite sends. It returns when the
// socket disconnects at the latest.
func askForAck(logger *slog.Logger, s *twine.Socket) {
	reply, err := s.EmitWithAck(s.Context(), "ack")
	if err != nil {
		return // disconnected
	}
	var a int
	var b struct{ Test bool }
	if err := reply.Args(&a, &b); err != nil || a != 5 || !b.Test {
		return // some clients answer something else
	}
	if err := s.Emit("got it"); !errors.Is(err, twine.ErrDisconnected) {
		report(logger, err)
	}
}

// date is how JavaScript writes a date as JSON.
func date() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }
