//go:build redis

package redislog

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

func payload() []byte {
	return fmt.Appendf(nil, `["message",%q]`, slices.Repeat([]byte("x"), 498))
}

// Appends into one stream by one node that hands out what it appends, with and
// without keys; and by two.
func BenchmarkAppend(b *testing.B) {
	for _, nodes := range []int{1, 2} {
		for _, keys := range []bool{false, true} {
			b.Run(fmt.Sprintf("nodes=%d/keys=%v", nodes, keys), func(b *testing.B) {
				server := redistest.Start(b)
				list := make([]*node, nodes)
				for i := range list {
					list[i] = newNode(b, server.Client(), Options{})
				}
				data := payload()
				b.SetBytes(int64(len(data)))
				var running sync.WaitGroup
				b.ResetTimer()
				for _, n := range list {
					running.Go(func() {
						for i := 0; i < b.N/nodes; i++ {
							e := recovery.Entry{Rooms: []string{"r"}, Data: data}
							if keys {
								e.ID = fmt.Sprintf("%s-%d", n.stream.UID(), i)
							}
							for {
								_, err := n.log.Append(e)
								if err == nil {
									break
								}
								if !errors.Is(err, recovery.ErrFull) {
									b.Error(err)
								}
								time.Sleep(time.Millisecond)
							}
						}
					})
				}
				running.Wait()
				for _, n := range list {
					eventually(b, "all is handed out", func() bool { return n.deliveredCount() >= b.N/nodes*nodes })
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			})
		}
	}
}

// 64 publishers that wait.
func BenchmarkPublish(b *testing.B) {
	server := redistest.Start(b)
	n := newNode(b, server.Client(), Options{})
	data := payload()
	var mu sync.Mutex
	took := make([]time.Duration, 0, b.N)
	work := make(chan int)
	var running sync.WaitGroup
	b.ResetTimer()
	for range 64 {
		running.Go(func() {
			for i := range work {
				begin := time.Now()
				if _, _, err := n.log.Publish(b.Context(), recovery.Entry{ID: fmt.Sprint(i), Rooms: []string{"r"}, Data: data}); err != nil {
					b.Error(err)
				}
				d := time.Since(begin)
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
			}
		})
	}
	for i := range b.N {
		work <- i
	}
	close(work)
	running.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// From the publish on one node to the delivery on another, at 1,000 a second.
func BenchmarkCrossNodeLatency(b *testing.B) {
	server := redistest.Start(b)
	a := newNode(b, server.Client(), Options{})
	arrived := make(chan time.Time, 1000)
	stream, err := Open(b.Context(), server.Client(), Options{Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer stream.Close(b.Context())
	if _, err := stream.NewSequencer(b.Context(), SequencerOptions{Namespace: "/", Gap: func(*recovery.GapError) {},
		Deliver: func(entries []recovery.Entry) {
			for range entries {
				arrived <- time.Now()
			}
		}}); err != nil {
		b.Fatal(err)
	}
	data := payload()
	sent := make([]time.Time, b.N)
	b.ResetTimer()
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := range b.N {
			<-tick.C
			sent[i] = time.Now()
			if _, err := a.log.Append(recovery.Entry{Rooms: []string{"r"}, Data: data}); err != nil {
				b.Error(err)
			}
		}
	}()
	took := make([]time.Duration, b.N)
	for i := range b.N {
		took[i] = (<-arrived).Sub(sent[i])
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
