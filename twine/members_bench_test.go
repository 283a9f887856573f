package twine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine"
)

// Encoding, framing and queueing an event of 100 bytes for rooms of one member and of 1,000. The queues are emptied every
// 1,000 events, outside of what is measured.
func BenchmarkMembers(b *testing.B) {
	for _, members := range []int{1, 1000} {
		b.Run(fmt.Sprintf("sockets=%d", members), func(b *testing.B) {
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
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(members), "ns/member")
		})
	}
}
