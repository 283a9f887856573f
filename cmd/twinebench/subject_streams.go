package main

import (
	"context"
	"time"

	"github.com/twine-realtime/twine/adapter/streams"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/twine"
)

// connectTimeout bounds the first contact with Redis.
const connectTimeout = 10 * time.Second

// newStreamsSubject is the library as a node of a cluster over Redis Streams, without recovery, as Node's Socket.IO is
// by default.
func newStreamsSubject(redisURL string) (subject, error) {
	client, err := redislog.Dial(redisURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	stream, err := redislog.Open(ctx, client, redislog.Options{})
	if err != nil {
		return nil, err
	}
	return newTwineSubject(&twine.Options{Adapter: streams.New(stream, streams.Options{})}), nil
}
