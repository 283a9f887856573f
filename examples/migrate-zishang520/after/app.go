// Package after is the chat of package before, moved to Twine. The two are in the same order, to be read side by side.
package after

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/twine-realtime/twine/adapter/streams"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/twine"
)

// App is the chat.
type App struct {
	server *twine.Server
	peers  *redislog.Peers
}

// New returns a chat on a node of the cluster that shares the stream.
func New(ctx context.Context, stream *redislog.Stream) (*App, error) {
	// What that library does not have: clients that were cut off get what they missed, whichever node they come back to.
	peers, err := redislog.NewPeers(ctx, stream.Client(), redislog.PeersOptions{})
	if err != nil {
		return nil, err
	}
	app := &App{peers: peers, server: twine.NewServer(&twine.Options{
		Adapter:  streams.New(stream, streams.Options{}),
		Recovery: &twine.Recovery{Shared: stream, Peers: peers, Sessions: redislog.NewSessions(stream.Client(), redislog.SessionsOptions{})},
	})}

	app.server.Use(func(_ context.Context, s *twine.Socket) error {
		var auth struct{ Name string }
		if err := s.Handshake().BindAuth(&auth); err != nil || auth.Name == "" {
			return &twine.ConnectError{Message: "a name is missing"}
		}
		s.SetData(auth.Name)
		return nil
	})
	app.server.OnConnect(app.connected)
	return app, nil
}

type message struct{ Room, Text string }

func (app *App) connected(s *twine.Socket) {
	s.Join("lobby")
	twine.On(s, "say", func(_ context.Context, m message) (string, error) {
		if m.Room == "" || m.Text == "" {
			return "", &twine.AckError{Message: "a room or a text is missing"}
		}
		err := app.server.To(m.Room).Emit("said", map[string]any{"from": s.Data(), "text": m.Text})
		return "ok", err
	})
	twine.On(s, "who", func(ctx context.Context, room string) ([]string, error) {
		sockets, err := app.server.In(room).FetchSockets(ctx)
		names := make([]string, len(sockets))
		for i, other := range sockets {
			if err := other.BindData(&names[i]); err != nil {
				return nil, err
			}
		}
		return names, err
	})
	s.OnDisconnect(func(string) {
		_ = app.server.To("lobby").Emit("left", s.Data())
	})
}

// Announce tells everyone.
func (app *App) Announce(text string) error {
	return app.server.Emit("announced", text)
}

// Servers returns how many servers the cluster has.
func (app *App) Servers() (int, error) {
	return app.server.Of("/").ServerCount(context.Background())
}

// Handler serves the clients.
func (app *App) Handler() http.Handler { return app.server }

// Close ends the chat on this node.
func (app *App) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(app.server.Close(ctx), app.peers.Close(ctx))
}
