package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"

	redislog "github.com/twine-realtime/twine/recovery/redis"
)

// app is what the chats before and after have in common.
type app interface {
	Announce(text string) error
	Servers() (int, error)
	Handler() http.Handler
	Close() error
}

// node is a server of the cluster that the chat runs on.
type node struct {
	app
	kind    string
	address string
	stop    func() // may be called again
}

func startNode(ctx context.Context, url, kind string, chat func(context.Context, *redislog.Stream) (app, error)) (*node, error) {
	stream, leave, err := cluster(ctx, url)
	if err != nil {
		return nil, err
	}
	a, err := chat(ctx, stream)
	if err != nil {
		leave()
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		_ = a.Close()
		leave()
		return nil, err
	}
	n := &node{app: a, kind: kind, address: listener.Addr().String()}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", n.Handler())
	server := &http.Server{Handler: mux}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // until it is closed
	}()
	n.stop = sync.OnceFunc(func() {
		if err := n.Close(); err != nil {
			slog.Warn("close the chat", "node", n.kind, "error", err)
		}
		server.Close()
		<-served
		leave()
	})
	return n, nil
}
