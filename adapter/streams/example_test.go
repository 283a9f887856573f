package streams_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/twine-realtime/twine/adapter/streams"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/twine"
)

// A server that shares its rooms, its history and its clients' sessions with all others that use the same Redis. A client that
// loses its connection, or its server, comes back to any of them without missing anything.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rdb, err := redislog.Dial("redis://127.0.0.1:6379")
	if err != nil {
		log.Fatal(err)
	}
	defer rdb.Close()
	stream, err := redislog.Open(ctx, rdb, redislog.Options{Window: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close(context.Background())
	peers, err := redislog.NewPeers(ctx, rdb, redislog.PeersOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer peers.Close(context.Background())

	srv := twine.NewServer(&twine.Options{
		Adapter: streams.New(stream, streams.Options{}),
		Recovery: &twine.Recovery{
			Shared:           stream,
			Peers:            peers,
			Sessions:         redislog.NewSessions(rdb, redislog.SessionsOptions{}),
			MaxDisconnection: 24 * time.Hour,
		},
	})
	defer srv.Close(context.Background()) // before the stream
	http.Handle("/socket.io/", srv)
	log.Fatal(http.ListenAndServe("127.0.0.1:3000", nil))
}
