package redislog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"unicode/utf16"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/recovery"
)

// Streams spreads the namespaces of a cluster over several streams, as servers of
// Node do that are told a streamCount: appends to different streams do not wait
// for each other, and on a Redis Cluster they go to different primaries. Its
// methods may be called concurrently.
//
// There is one order for each namespace, and none between two namespaces that
// are on different streams: a server may see what was published later in one of
// them before what was published earlier in the other. On a single stream there
// is one order for all.
//
// A namespace is never split, not by room either. What is for the whole namespace,
// or for several rooms, has to have its place among the entries of each room, and
// a client has one offset for all its rooms: both need one order. An application
// that wants more out of a Redis Cluster has to use more namespaces.
type Streams struct {
	rdb   redis.UniversalClient
	name  string
	count int
	all   map[string]*Stream // by name
}

var _ recovery.SharedLog = (*Streams)(nil)

// maxStreams bounds how many streams may be asked for.
const maxStreams = 64

// OpenStreams joins several streams. count is what servers of Node are told as
// streamCount, from 1 to 64; all servers of a cluster have to agree. With 1 the
// only stream is named opts.Name, else the names are opts.Name, "-" and a number.
// Options.MaxQueued and the like are for each stream.
//
// A number may be negative, so there are 2*count-1 streams, and each keeps a
// connection of rdb busy: its PoolSize has to be larger by some. Servers of Node,
// up to version 0.3.1 of the adapter, read none whose number is negative:
// what a server publishes in such a namespace reaches the clients of that server
// and of all that are ours, but not those of other servers of Node. See
// [StreamName].
//
// To change count, stop all servers first: clients that were connected before are
// told that they may have missed something.
func OpenStreams(ctx context.Context, rdb redis.UniversalClient, opts Options, count int) (*Streams, error) {
	if count < 1 || count > maxStreams {
		return nil, fmt.Errorf("recovery: %d streams: ask for 1 to %d", count, maxStreams)
	}
	opts = opts.withDefaults()
	names := []string{opts.Name}
	if count > 1 {
		names = names[:0]
		for i := 1 - count; i < count; i++ {
			names = append(names, opts.Name+"-"+strconv.Itoa(i))
		}
	}
	if size := poolSize(rdb); len(names) > 1 && size < len(names)+spareConnections {
		return nil, fmt.Errorf("recovery: %d streams need %d connections: the PoolSize of the Redis client is %d, make it larger, as with ?pool_size=%d in its URL",
			count, len(names)+spareConnections, size, 2*(len(names)+spareConnections))
	}
	s := &Streams{rdb: rdb, name: opts.Name, count: count, all: make(map[string]*Stream, len(names))}
	for _, name := range names {
		opts.Name = name
		stream, err := Open(ctx, rdb, opts)
		if err != nil {
			return nil, errors.Join(err, s.Close(ctx))
		}
		s.all[name] = stream
	}
	return s, nil
}

// spareConnections is how many there have to be for what does not wait for long.
const spareConnections = 4

func poolSize(rdb redis.UniversalClient) int {
	switch rdb := rdb.(type) {
	case *redis.Client:
		return rdb.Options().PoolSize
	case *redis.ClusterClient: // of each node, which may have all the streams
		return rdb.Options().PoolSize
	}
	return maxStreams*2 + spareConnections // a Ring or the like, which says nothing
}

// StreamName is where servers of Node append what is for a namespace, if they are
// told a streamName and a streamCount. The number in it is negative for about half
// of all namespaces, because that is how the remainder of a negative number is in
// JavaScript.
func StreamName(name, namespace string, count int) string {
	if count == 1 {
		return name
	}
	var hash int32 // wraps around
	for _, unit := range utf16.Encode([]rune(namespace)) {
		hash = hash*31 + int32(unit)
	}
	return name + "-" + strconv.Itoa(int(hash)%count)
}

// Client returns the client that the streams were opened with.
func (s *Streams) Client() redis.UniversalClient { return s.rdb }

// Of returns the stream of a namespace.
func (s *Streams) Of(namespace string) *Stream {
	return s.all[StreamName(s.name, namespace, s.count)]
}

// Join implements recovery.SharedLog, on the stream of the namespace.
func (s *Streams) Join(ctx context.Context, opts recovery.SharedOptions) (recovery.SharedSequencer, error) {
	return s.Of(opts.Namespace).Join(ctx, opts)
}

// Err says whether reading any of the streams fails at the moment; nil: it does
// not. For readiness.
func (s *Streams) Err() error {
	var all []error
	for _, stream := range s.all {
		all = append(all, stream.Err())
	}
	return errors.Join(all...)
}

// Close closes all streams, see [Stream.Close].
func (s *Streams) Close(ctx context.Context) error {
	var mu sync.Mutex
	var all []error
	var closing sync.WaitGroup
	for _, stream := range s.all {
		closing.Go(func() {
			err := stream.Close(ctx)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, err)
		})
	}
	closing.Wait()
	return errors.Join(all...)
}
