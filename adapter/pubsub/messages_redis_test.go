//go:build redis

package pubsub

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/adapter/adaptertest"
)

// Messages that nobody should send are dropped, and what comes after them is not.
func TestMalformedMessages(t *testing.T) {
	redisServer, servers := cluster(t, 1)
	s, rdb := servers[0], redisServer.Client()
	m := adaptertest.NewMember("m")
	s.Add(m, "m", "room")
	for _, channel := range []string{s.requests, s.responses, s.specific, broadcastChannel("socket.io", "/"), roomChannel("socket.io", "/", "room")} {
		for _, message := range []string{"", "{", "{}", `{"type":null}`, `{"type":99}`, `{"type":2}`, `{"type":2,"sid":"m"}`, `{"type":2,"opts":1}`,
			`{"type":4,"opts":{"rooms":[{}]}}`, `{"type":6,"data":[1,}`, `{"type":6,"data":{}}`, `{"type":6}`, `{"type":7}`,
			"\x93", "\x93\xa1x\x80\x80", "\xdf\xff\xff\xff\xff", "\xc1", fmt.Sprintf(`{"requestId":"%s-1"}`, s.uid), s.uid,
			"\x93\xa1x\x82\xa4type\x02\xa4data\x93\xc1\xc1\xc1\x81\xa5rooms\x91\xa1m", strings.Repeat("\x91", 1<<20)} {
			if err := rdb.Publish(t.Context(), channel, message).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The last one as an emitter would.
	last, err := packBroadcast("emitter", "/", event(`["last"]`), adapter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := rdb.Publish(t.Context(), broadcastChannel("socket.io", "/"), last).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last one arrives", func() bool { return slices.Contains(m.Got(), `["last"]`) })
	if len(m.Got()) != 1 || len(s.host.got()) > 0 {
		t.Errorf("got %v and %v", m.Got(), s.host.got())
	}
}

// How servers before version 6 of Node's adapter ask, and the answer that they get.
func TestOldRequests(t *testing.T) {
	redisServer, servers := cluster(t, 1)
	s, rdb := servers[0], redisServer.Client()
	s.Add(adaptertest.NewMember("m"), "m")
	answers := rdb.Subscribe(t.Context(), s.responses)
	defer answers.Close()
	if _, err := answers.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		request string
		want    []string
	}{
		{`{"requestId":"0","type":2,"sid":"m","room":"old"}`, []string{"m", "old"}},
		{`{"requestId":"1","type":2,"sid":"m","room":7}`, []string{"7", "m", "old"}},
		{`{"requestId":"2","type":3,"sid":"m","room":"old"}`, []string{"7", "m"}},
		{`{"requestId":"3","type":4,"sid":"m","close":true}`, []string{"7", "m"}},
	} {
		if err := rdb.Publish(t.Context(), s.requests, step.request).Err(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		answer, err := answers.ReceiveMessage(ctx)
		cancel()
		if err != nil || !strings.Contains(answer.Payload, fmt.Sprintf(`"requestId":"%d"`, i)) {
			t.Fatalf("answer %v, %v", answer, err)
		}
		if got := slices.Sorted(slices.Values(s.SocketRooms("m"))); !slices.Equal(got, step.want) {
			t.Errorf("after %s: rooms %v", step.request, got)
		}
	}
}
