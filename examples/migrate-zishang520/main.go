// Command migrate-zishang520 moves a chat from github.com/zishang520/socket.io/v2 to Twine, one node at a time, and shows
// that people on both kinds of nodes keep talking:
//
//	go run ./examples/migrate-zishang520
//
// It starts redis-server; to use one that runs already, and that no other Socket.IO server uses, name it:
//
//	go run ./examples/migrate-zishang520 -redis-url redis://127.0.0.1:6379
//
// The chat is in before, on that library, and in after, on Twine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/twine-realtime/twine/examples/migrate-zishang520/after"
	"github.com/twine-realtime/twine/examples/migrate-zishang520/before"
	redislog "github.com/twine-realtime/twine/recovery/redis"
)

// patience is how long the show may take.
const patience = 30 * time.Second

func main() {
	url := flag.String("redis-url", "", "a running Redis that no other Socket.IO server uses; without it, redis-server is started")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *url, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "migrate-zishang520:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	logging.Disable()
	if url == "" {
		server, err := startRedis(ctx)
		if err != nil {
			return err
		}
		defer server.stop()
		url = server.url
	}

	fmt.Fprintln(out, "1. a cluster of a zishang520 node and a Twine node")
	zishang520, err := startNode(ctx, url, "zishang520", old)
	if err != nil {
		return err
	}
	defer zishang520.stop()
	twine, err := startNode(ctx, url, "Twine", moved)
	if err != nil {
		return err
	}
	defer twine.stop()
	if err := show(ctx, out, zishang520, twine); err != nil {
		return err
	}

	fmt.Fprintln(out, "\n2. the zishang520 node has made room for a second Twine node")
	zishang520.stop()
	second, err := startNode(ctx, url, "new Twine", moved)
	if err != nil {
		return err
	}
	defer second.stop()
	return show(ctx, out, second, twine)
}

func old(_ context.Context, stream *redislog.Stream) (app, error) { return before.New(stream), nil }

func moved(ctx context.Context, stream *redislog.Stream) (app, error) { return after.New(ctx, stream) }

// cluster joins the cluster over the Redis at a URL.
func cluster(ctx context.Context, url string) (stream *redislog.Stream, leave func(), err error) {
	rdb, err := redislog.Dial(url)
	if err != nil {
		return nil, nil, fmt.Errorf("-redis-url %q: %w", url, err)
	}
	stream, err = redislog.Open(ctx, rdb, redislog.Options{})
	if err != nil {
		rdb.Close()
		return nil, nil, fmt.Errorf("no Redis at %s: %w", url, err)
	}
	leave = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(stream.Close(ctx), rdb.Close()); err != nil && !errors.Is(err, redis.ErrClosed) {
			slog.Warn("leave the cluster", "error", err)
		}
	}
	return stream, leave, nil
}
