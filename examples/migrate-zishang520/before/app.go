// Package before is a small chat on github.com/zishang520/socket.io/v2. Package after is the same on Twine, in the same
// order, to be read beside this one.
package before

import (
	"errors"
	"net/http"

	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/adapter/zishang520"
	redislog "github.com/twine-realtime/twine/recovery/redis"
)

// App is the chat.
type App struct {
	server *socket.Server
}

// New returns a chat on a node of the cluster that shares the stream.
func New(stream *redislog.Stream) *App {
	opts := socket.DefaultServerOptions()
	// The two lines that let this server take part in a cluster of Twine, and survive malformed packets.
	opts.SetAdapter(zishang520.New(stream, zishang520.Options{}))
	opts.SetParser(zishang520.Parser())
	app := &App{server: socket.NewServer(nil, opts)}

	app.server.Use(func(s *socket.Socket, next func(*socket.ExtendedError)) {
		auth, _ := s.Handshake().Auth.(map[string]any)
		name, _ := auth["name"].(string)
		if name == "" {
			next(socket.NewExtendedError("a name is missing", nil))
			return
		}
		s.SetData(name)
		next(nil)
	})
	_ = app.server.On("connection", func(args ...any) { app.connected(args[0].(*socket.Socket)) })
	return app
}

func (app *App) connected(s *socket.Socket) {
	s.Join("lobby")
	_ = s.On("say", func(args ...any) {
		message, ack, err := parse(args)
		if err != nil {
			return
		}
		room, text := message["room"].(string), message["text"].(string)
		app.server.To(socket.Room(room)).Emit("said", map[string]any{"from": s.Data(), "text": text})
		if ack != nil {
			ack([]any{"ok"}, nil)
		}
	})
	_ = s.On("who", func(args ...any) {
		if len(args) < 2 {
			return
		}
		room, _ := args[0].(string)
		ack, _ := args[1].(socket.Ack)
		if room == "" || ack == nil {
			return
		}
		app.server.In(socket.Room(room)).FetchSockets()(func(sockets []*socket.RemoteSocket, err error) {
			names := []any{}
			for _, other := range sockets {
				names = append(names, other.Data())
			}
			ack([]any{names}, err)
		})
	})
	_ = s.On("disconnect", func(...any) {
		app.server.To("lobby").Emit("left", s.Data())
	})
}

// parse checks the arguments of "say".
func parse(args []any) (message map[string]any, ack socket.Ack, err error) {
	if len(args) > 0 {
		message, _ = args[0].(map[string]any)
		ack, _ = args[len(args)-1].(socket.Ack)
	}
	if _, ok := message["room"].(string); !ok {
		return nil, nil, errors.New("a room is missing")
	}
	if _, ok := message["text"].(string); !ok {
		return nil, nil, errors.New("a text is missing")
	}
	return message, ack, nil
}

// Announce tells everyone.
func (app *App) Announce(text string) error {
	app.server.Emit("announced", text)
	return nil
}

// Servers returns how many servers the cluster has.
func (app *App) Servers() (int, error) {
	return int(app.server.Sockets().Adapter().ServerCount()), nil
}

// Handler serves the clients.
func (app *App) Handler() http.Handler { return app.server.ServeHandler(nil) }

// Close ends the chat on this node.
func (app *App) Close() error {
	app.server.Close(nil)
	return nil
}
