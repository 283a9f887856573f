package twine_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine"
)

// crowd connects n clients over polling, without a network, and puts them into a room. The functions that it returns
// empty their queues.
func crowd(b *testing.B, srv *twine.Server, n int, room string) (drain []func()) {
	joined := make(chan struct{}, n)
	srv.OnConnect(func(s *twine.Socket) {
		s.Join(room)
		joined <- struct{}{}
	})
	for range n {
		do := func(method, query, body string) string {
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, httptest.NewRequest(method, "/socket.io/?EIO=4&transport=polling"+query, strings.NewReader(body)))
			return w.Body.String()
		}
		var open struct{ SID string }
		if err := json.Unmarshal([]byte(do("GET", "", "")[1:]), &open); err != nil {
			b.Fatal(err)
		}
		do("POST", "&sid="+open.SID, "40")
		drain = append(drain, func() { do("GET", "&sid="+open.SID, "") })
	}
	for range n {
		receive(b, joined)
	}
	return drain
}

// Encoding, framing and queueing an event of 100 bytes for 5,000 members of a room. The allocations that grow with the
// members are those of their queues, which no transport empties here.
func BenchmarkBroadcast(b *testing.B) {
	const members = 5000
	srv := twine.NewServer(nil)
	defer srv.Close(context.Background())
	drain := crowd(b, srv, members, "room")
	text := strings.Repeat("x", 100)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if err := srv.To("room").Emit("news", text); err != nil {
			b.Fatal(err)
		}
		if i++; i%1000 == 0 {
			b.StopTimer()
			for _, f := range drain {
				f()
			}
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members, "ns/member")
}

// An event of a client, through its handler and back as an acknowledgement, over a real WebSocket.
func BenchmarkEcho(b *testing.B) {
	srv := serve(b, nil)
	twine.Handle(srv, "echo", func(_ context.Context, _ *twine.Socket, text string) (string, error) { return text, nil })
	c, _ := connected(b, srv)
	b.ReportAllocs()
	for b.Loop() {
		c.send(`21["echo","hello"]`)
		c.next()
	}
}
