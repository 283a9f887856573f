//go:build redis

package pubsub

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/adapter/adaptertest"
)

// stopwatch is a member that notes when it gets something.
type stopwatch struct {
	*adaptertest.Member
	mu  sync.Mutex
	got []time.Time
}

func (s *stopwatch) Deliver(*adapter.Delivery) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, now)
}

func (s *stopwatch) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func payload() string { return fmt.Sprintf(`["message",%q]`, strings.Repeat("x", 500)) }

// From the call on one server to the member of another, at 1,000 broadcasts a second.
func BenchmarkDelivery(b *testing.B) {
	_, servers := cluster(b, 2)
	m := &stopwatch{Member: adaptertest.NewMember("m")}
	servers[1].Add(m, "room")
	p := event(payload())
	sent := make([]time.Time, 0, b.N)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	b.ResetTimer()
	for range b.N {
		<-tick.C
		sent = append(sent, time.Now())
		if err := servers[0].Broadcast(b.Context(), p, inRooms("room")); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "all is delivered", func() bool { return len(m.times()) == b.N })
	b.StopTimer()
	took := make([]time.Duration, b.N)
	for i, at := range m.times() {
		took[i] = at.Sub(sent[i])
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(0, "ns/op")
}

// As fast as one server can broadcast and another, with a member in the room or without one, take it.
func BenchmarkBroadcast(b *testing.B) {
	for _, room := range []string{"room", "nobody's"} {
		b.Run(room, func(b *testing.B) {
			_, servers := cluster(b, 2)
			m := &stopwatch{Member: adaptertest.NewMember("m")}
			servers[1].Add(m, "room")
			p, o, last := event(payload()), inRooms(room), inRooms("room")
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				for servers[0].Broadcast(b.Context(), p, o) != nil { // the outbox is full
					<-time.After(time.Millisecond)
				}
				if i%1000 == 999 {
					// Redis disconnects subscribers that are too far behind.
					n := len(m.times())
					if err := servers[0].Broadcast(b.Context(), p, last); err != nil {
						b.Fatal(err)
					}
					if room == "room" {
						n = i + i/1000
					}
					eventually(b, "the other server keeps up", func() bool { return len(m.times()) > n })
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "broadcasts/s")
		})
	}
}

// What a broadcast costs the server that makes it, its own members and Redis aside.
func BenchmarkPack(b *testing.B) {
	p, o := event(payload()), inRooms("room")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := packBroadcast("0123456789abcdef", "/", p, o); err != nil {
			b.Fatal(err)
		}
	}
}

// What a broadcast of another server costs one with a member in its room, and one without.
func BenchmarkReceive(b *testing.B) {
	for _, room := range []string{"room", "nobody's"} {
		b.Run(room, func(b *testing.B) {
			_, servers := cluster(b, 1)
			s := servers[0]
			m := &stopwatch{Member: adaptertest.NewMember("m")}
			s.Add(m, "room")
			message, err := packBroadcast("0123456789abcdef", "/", event(payload()), inRooms(room))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.receive("socket.io#/#"+room+"#", string(message))
			}
		})
	}
}
