package twine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
)

// A client of which 100 events of 100 bytes were missed comes back: from its CONNECT packet until all of it is queued.
// There is no network: the client polls once. The session store is memory.
func BenchmarkRestore(b *testing.B) {
	srv := twine.NewServer(&twine.Options{Recovery: &twine.Recovery{}})
	defer srv.Close(context.Background())
	srv.OnConnect(func(s *twine.Socket) {
		if !s.Recovered() {
			s.Join("room")
		}
	})
	do := func(method, query, body string) string {
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, httptest.NewRequest(method, "/socket.io/?EIO=4&transport=polling"+query, strings.NewReader(body)))
		return w.Body.String()
	}
	open := func() string {
		var open struct{ SID string }
		if err := json.Unmarshal([]byte(do("GET", "", "")[1:]), &open); err != nil {
			b.Fatal(err)
		}
		return open.SID
	}
	sid := open()
	do("POST", "&sid="+sid, "40")
	var granted struct{ PID string }
	if err := json.Unmarshal([]byte(do("GET", "&sid="+sid, "")[2:]), &granted); err != nil {
		b.Fatal(err)
	}
	first, err := srv.To("room").Publish(context.Background(), "", "n", 0)
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("x", 100)
	for i := range 100 {
		if _, err := srv.To("room").Publish(context.Background(), "", "n", i, text); err != nil {
			b.Fatal(err)
		}
	}
	auth := fmt.Sprintf(`40{"pid":%q,"offset":%q}`, granted.PID, first.Offset)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		sid := open()
		b.StartTimer()
		do("POST", "&sid="+sid, auth)
		if n := strings.Count(do("GET", "&sid="+sid, ""), text); n < 100 {
			// CONNECT came alone; the rest is in the next poll.
			for n < 100 {
				n += strings.Count(do("GET", "&sid="+sid, ""), text)
			}
		}
		b.StopTimer()
		do("POST", "&sid="+sid, "1")
		b.StartTimer()
	}
}

// An event of 100 bytes for 5,000 members of a room, with and without the log. The queues are not emptied by any
// transport while it is measured.
func BenchmarkFanOut(b *testing.B) {
	const members = 5000
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("recovery=%v", on), func(b *testing.B) {
			opts := &twine.Options{Engine: engineio.Options{MaxQueueBytes: 1 << 30}}
			if on {
				opts.Recovery = &twine.Recovery{Hot: memory.NewLog(memory.LogOptions{Window: time.Minute})}
			}
			srv := twine.NewServer(opts)
			defer srv.Close(context.Background())
			drain := crowd(b, srv, members, "room")
			text := strings.Repeat("x", 100)
			settle := func() {
				if on {
					if _, err := srv.To("nobody").Publish(context.Background(), "", "settle"); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := srv.To("room").Emit("news", text); err != nil {
					b.Fatal(err)
				}
				if i++; i%100 == 0 {
					settle()
				}
				if i%1000 == 0 {
					b.StopTimer()
					for _, f := range drain {
						f()
					}
					b.StartTimer()
				}
			}
			settle()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members, "ns/member")
		})
	}
}
