//go:build e2e && redis

package streams

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/adapter/adaptertest"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

// namespaceHost is a namespace with a name.
type namespaceHost struct {
	host
	name string
}

func (h *namespaceHost) Name() string { return h.name }

// spread is a server with several namespaces over several streams.
type spread map[string]*Adapter

func newSpread(t *testing.T, rdb redis.UniversalClient, count int, namespaces []string) spread {
	t.Helper()
	all, err := redislog.OpenStreams(t.Context(), rdb, redislog.Options{Logger: quiet()}, count)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := all.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	s := make(spread)
	create := New(all, Options{Logger: quiet()})
	for _, ns := range namespaces {
		made, err := create(&namespaceHost{name: ns})
		if err != nil {
			t.Fatal(err)
		}
		s[ns] = made.(*Adapter)
		t.Cleanup(func() { _ = s[ns].Close() })
	}
	return s
}

// Two servers of ours and one of Node that was told a streamCount of 4 exchange broadcasts and commands in several
// namespaces. Node does not read the stream of one of them, whose number is negative, but appends there.
func TestSeveralStreamsWithNode(t *testing.T) {
	const count, unread = 4, "/ünïcode"
	namespaces := []string{"/", "/news", "/admin", unread}
	redisServer := redistest.Start(t)
	a, b := newSpread(t, redisServer.Client(), count, namespaces), newSpread(t, redisServer.Client(), count, namespaces)
	n := startNode(t, redisServer, append([]string{fmt.Sprint(count)}, namespaces[1:]...)...)
	ctx := t.Context()
	for _, ns := range namespaces {
		eventually(t, "the servers know of each other", func() bool {
			servers, err := a[ns].ServerCount(ctx)
			return err == nil && servers == 3
		})
		members := []*adaptertest.Member{adaptertest.NewMember("a"), adaptertest.NewMember("b")}
		a[ns].Add(members[0], "room")
		b[ns].Add(members[1], "room")
		var want []string
		everybody := func(event string) {
			want = append(want, event)
			for _, m := range members {
				eventually(t, event+" in "+ns, func() bool { return slices.Equal(m.Got(), want) })
			}
			label := "client event in " + ns
			if ns == "/" {
				label = "client event"
			}
			if ns != unread {
				n.await(0, fmt.Sprintf(`[%q,%s`, label, event[1:len(event)-1]))
			}
		}
		for _, s := range []spread{a, b} {
			e := fmt.Sprintf(`["ours",%q]`, s[ns].uid)
			if err := s[ns].Broadcast(ctx, event(e), rooms("room")); err != nil {
				t.Fatal(err)
			}
			everybody(e)
		}
		if got := n.do("emit in", ns, "theirs", ns); got != "null" {
			t.Errorf("Node says %s", got)
		}
		want = append(want, fmt.Sprintf(`["theirs",%q]`, ns))
		for _, m := range members {
			eventually(t, "Node's event in "+ns, func() bool { return slices.Equal(m.Got(), want) })
		}
		if err := a[ns].AddSockets(ctx, rooms("room"), []string{"new"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the other server's socket has joined", func() bool { return slices.Contains(b[ns].SocketRooms("b"), "new") })
		if got, err := b[ns].Sockets(ctx, rooms("room")); err != nil || len(got) != 3 {
			t.Errorf("in %s: sockets %v, %v", ns, got, err)
		}
		// Node wrote to the stream that we read, and to no other.
		last, err := redisServer.Client().XRevRangeN(ctx, redislog.StreamName("socket.io", ns, count), "+", "-", 1).Result()
		if err != nil || len(last) != 1 || last[0].Values["nsp"] != ns {
			t.Errorf("newest entry of the stream of %s: %v, %v", ns, last, err)
		}
	}
	// This is what OpenStreams warns of.
	if got := n.do("rooms"); got == "" || n.wrote(`["client event in `+unread+`","ours"`) {
		t.Errorf("a client of Node got what is in a stream that Node does not read")
	}
}
