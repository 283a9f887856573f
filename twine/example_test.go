package twine_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/twine-realtime/twine/twine"
)

func Example() {
	srv := twine.NewServer(nil)
	srv.OnConnect(func(s *twine.Socket) {
		s.Join("lobby")
		s.On("shout", func(_ context.Context, e *twine.Event) {
			var text string
			if err := e.Args(&text); err != nil {
				return
			}
			_ = s.To("lobby").Emit("shout", strings.ToUpper(text))
		})
	})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", srv) // beside your own routes
	// then http.ListenAndServe(":3000", mux)
}

type ChatMessage struct {
	Room, Text string
}

type Receipt struct {
	Length int `json:"length"`
}

// A typed handler gets its argument decoded. Its result is the acknowledgement that the client waits for.
func ExampleOn() {
	srv := twine.NewServer(nil)
	srv.OnConnect(func(s *twine.Socket) {
		twine.On(s, "chat", func(_ context.Context, m ChatMessage) (Receipt, error) {
			if m.Text == "" {
				return Receipt{}, &twine.AckError{Message: "nothing to say"}
			}
			return Receipt{len(m.Text)}, s.To(m.Room).Emit("chat", m)
		})
	})

	talk(srv, `40`, `421["chat",{"room":"lobby","text":"hello"}]`, `422["chat",{}]`)
	// Output:
	// 431[{"length":5}]
	// 432[{"error":"nothing to say"}]
}

// Handlers that all sockets share are registered once.
func ExampleHandleEvent() {
	srv := twine.NewServer(nil)
	twine.HandleEvent(srv, "subscribe", func(_ context.Context, s *twine.Socket, room string) error {
		s.Join(room)
		return s.Emit("subscribed", room, len(s.Rooms()))
	})

	talk(srv, `40`, `42["subscribe","news"]`)
	// Output:
	// 42["subscribed","news",2]
}

// A middleware decides who gets in. What it says reaches the client's connect_error event.
func ExampleServer_Use() {
	srv := twine.NewServer(nil)
	srv.Use(func(_ context.Context, s *twine.Socket) error {
		var auth struct{ Token string }
		if err := s.Handshake().BindAuth(&auth); err != nil {
			return err
		}
		if auth.Token != "secret" {
			return &twine.ConnectError{Message: "unauthorized", Data: map[string]string{"hint": "log in"}}
		}
		s.SetData(auth.Token)
		return nil
	})

	talk(srv, `40{"token":"guess"}`)
	// Output:
	// 44{"message":"unauthorized","data":{"hint":"log in"}}
}

// Operators select who gets an event. They are values: keep one, derive others from it.
func ExampleBroadcastOperator() {
	srv := twine.NewServer(nil)
	lobby := srv.To("lobby")
	_ = lobby.Emit("news", map[string]any{"title": "hello", "image": []byte{1, 2, 3}})
	_ = lobby.Except("muted").Emit("news", "not for everyone")
	_ = lobby.Volatile().Emit("position", 1, 2) // dropped where the connection is busy
}

// A client is asked and answers, or not.
func ExampleSocket_EmitWithAck() {
	srv := twine.NewServer(nil)
	srv.OnConnect(func(s *twine.Socket) {
		reply, err := s.Timeout(5*time.Second).EmitWithAck(s.Context(), "your name?")
		if err != nil {
			return // matches twine.ErrTimeout or twine.ErrDisconnected
		}
		var name string
		if err := reply.Args(&name); err != nil {
			return
		}
		_ = s.Emit("welcome", name)
	})

	talk(srv, `40`, `430["Ada"]`)
	// Output:
	// 420["your name?"]
	// 42["welcome","Ada"]
}

// All selected clients are asked. Those that answered in time are known even if others did not.
func ExampleBroadcastOperator_EmitWithAck() {
	srv := twine.NewServer(nil)
	replies, err := srv.To("voters").Timeout(10*time.Second).EmitWithAck(context.Background(), "vote")
	fmt.Println(len(replies), "votes,", err)
	// Output: 0 votes, <nil>
}

// A namespace for each tenant, made when its first client comes.
func ExampleServer_OfPattern() {
	srv := twine.NewServer(&twine.Options{CleanupEmptyChildNamespaces: true})
	tenants := srv.OfPattern(regexp.MustCompile(`^/tenant-\d+$`))
	tenants.OnConnect(func(s *twine.Socket) { _ = s.Emit("hello", s.Namespace().Name()) })

	talk(srv, `40/tenant-7,`)
	// Output:
	// 42/tenant-7,["hello","/tenant-7"]
}

// Clients of a server that closes come back by themselves, to another one for instance.
func ExampleServer_Close() {
	srv := twine.NewServer(nil)
	hs := &http.Server{Addr: ":3000", Handler: srv, ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = srv.Close(ctx) // disconnects, and waits for handlers
		_ = hs.Shutdown(ctx)
	})
	// then hs.ListenAndServe()
}

// talk plays a client: it sends packets as they stand on the wire and prints what comes back, but for the answer to a
// successful CONNECT, which has a random id in it. It stops when a while nothing more comes.
func talk(srv *twine.Server, packets ...string) {
	hs := httptest.NewServer(srv)
	defer hs.Close()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = srv.Close(ctx)
	}()
	conn, _, _, err := ws.Dial(context.Background(), "ws"+strings.TrimPrefix(hs.URL, "http")+"/?EIO=4&transport=websocket")
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	for _, packet := range append(packets, "") {
		if packet != "" {
			if err := wsutil.WriteClientText(conn, []byte(packet)); err != nil {
				log.Print(err)
				return
			}
		}
		for {
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			data, err := wsutil.ReadServerText(conn)
			if err != nil {
				break // nothing more
			}
			if !strings.HasPrefix(string(data), "0") && !strings.HasPrefix(string(data), "40") {
				fmt.Println(string(data))
			}
		}
	}
}
