package migratenode

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/cors"

	"github.com/twine-realtime/twine/adapter/pubsub"
	"github.com/twine-realtime/twine/adapter/streams"
	"github.com/twine-realtime/twine/recovery/disk"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
)

type User struct{ Name string }

func userOf(token string) (*User, error) {
	if token != "secret" {
		return nil, fmt.Errorf("no user has the token %q", token)
	}
	return &User{Name: "Ada"}, nil
}

type Line struct {
	Room string `json:"room"`
	Text string `json:"text"`
}

type Saved struct {
	ID int `json:"id"`
}

func save(context.Context, Line) (Saved, error) { return Saved{ID: 1}, nil }

func Example_server() {
	srv := twine.NewServer(&twine.Options{Engine: engineio.Options{
		PingInterval:      25 * time.Second,
		MaxHTTPBufferSize: 1e6,
		CORS:              &cors.Options{AllowedOrigins: []string{"https://app.example.com"}, AllowCredentials: true},
	}})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", srv)
	hs := &http.Server{Addr: ":3000", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(hs.ListenAndServe())
}

func Example_middleware() {
	srv := twine.NewServer(nil)
	srv.Use(func(ctx context.Context, s *twine.Socket) error {
		var auth struct {
			Token string `json:"token"`
		}
		if err := s.Handshake().BindAuth(&auth); err != nil {
			return err
		}
		user, err := userOf(auth.Token)
		if err != nil {
			return &twine.ConnectError{Message: "unauthorized", Data: map[string]bool{"login": true}}
		}
		s.SetData(user)
		return nil
	})
}

func Example_events() {
	srv := twine.NewServer(nil)
	srv.OnConnect(func(s *twine.Socket) {
		s.Join("lobby")
		twine.On(s, "say", func(ctx context.Context, line Line) (Saved, error) {
			saved, err := save(ctx, line)
			if err != nil {
				return Saved{}, err
			}
			return saved, s.To(line.Room).Emit("said", line)
		})
		s.On("typing", func(ctx context.Context, e *twine.Event) {
			var room string
			if e.Args(&room) == nil {
				s.To(room).Volatile().Emit("typing", s.ID())
			}
		})
		s.OnDisconnect(func(reason string) { log.Println(s.ID(), reason) })
	})
}

func Example_broadcasts() {
	srv := twine.NewServer(nil)
	news := map[string]any{"title": "hello", "picture": []byte{1, 2, 3}}
	srv.Emit("news", news)
	srv.To("lobby", "staff").Except("muted").Emit("news", news)
	srv.In("lobby").SocketsJoin("hall")
	srv.In("hall").DisconnectSockets(true)
	sockets, err := srv.In("lobby").FetchSockets(context.Background())
	for _, socket := range sockets {
		log.Println(socket.ID(), socket.Rooms())
	}
	_ = err
}

func Example_asking() {
	srv := twine.NewServer(nil)
	ctx := context.Background()
	srv.OnConnect(func(s *twine.Socket) {
		reply, err := s.Timeout(5*time.Second).EmitWithAck(ctx, "name?")
		if err != nil {
			return // no answer in time, or gone
		}
		var name string
		if reply.Args(&name) == nil {
			log.Println("this is", name)
		}
	})
	replies, err := srv.To("voters").Timeout(10*time.Second).EmitWithAck(ctx, "vote")
	log.Println(len(replies), "votes; all, if there is no error:", err)
}

func Example_namespaces() {
	srv := twine.NewServer(nil)
	srv.Of("/admin").OnConnect(func(s *twine.Socket) { s.Emit("hello") })
	tenants := srv.OfPattern(regexp.MustCompile(`^/tenant-\d+$`))
	tenants.OnConnect(func(s *twine.Socket) { s.Emit("hello", s.Namespace().Name()) })
}

func Example_recovery() {
	store, err := disk.Open("history.db", disk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	srv := twine.NewServer(&twine.Options{Recovery: &twine.Recovery{
		Log: store.Log(), Sessions: store.Sessions(),
		MaxDisconnection: 24 * time.Hour,
	}})
	srv.OnConnect(func(s *twine.Socket) {
		if !s.Recovered() {
			s.Join("lobby")
		}
	})
}

func Example_streams() {
	ctx := context.Background()
	rdb, err := redislog.Dial("redis://127.0.0.1:6379")
	if err != nil {
		log.Fatal(err)
	}
	stream, err := redislog.Open(ctx, rdb, redislog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	srv := twine.NewServer(&twine.Options{Adapter: streams.New(stream, streams.Options{})})
	srv.Emit("hello", "from Go")
}

func Example_pubsub() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1})
	srv := twine.NewServer(&twine.Options{Adapter: pubsub.New(rdb, pubsub.Options{})})
	srv.Emit("hello", "from Go")
}

func Example_shutdown() {
	srv := twine.NewServer(nil)
	hs := &http.Server{Addr: ":3000", Handler: srv, ReadHeaderTimeout: 10 * time.Second}
	go hs.ListenAndServe()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	srv.Close(ctx) // disconnects, and waits for handlers
	hs.Shutdown(ctx)
}
