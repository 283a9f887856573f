//go:build dynamodb

package dynamodb_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/dynamodb"
)

const publishers = 64

var message = fmt.Appendf(nil, `["message",%q]`, strings.Repeat("x", 500))

func inParallel(b *testing.B, f func(i int) error) {
	var next atomic.Int64
	var running sync.WaitGroup
	b.ResetTimer()
	for range publishers {
		running.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := f(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	b.StopTimer()
}

func report(b *testing.B, store *dynamodb.Store) {
	st := store.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
	b.ReportMetric(float64(st.Items)/float64(st.Batches), "items/batch")
}

// 64 publishers at one sequencer.
func BenchmarkPublish(b *testing.B) {
	api := client(server(b).address())
	store := openStore(b, api, dynamodb.Options{Table: newTable(b, api)})
	seq := sequencer(b, store.Log(), func([]recovery.Entry) {})
	inParallel(b, func(i int) error {
		_, _, err := seq.Publish(ctx, recovery.Entry{Rooms: []string{fmt.Sprint("room", i%100)}, Data: message})
		return err
	})
	report(b, store)
	if err := seq.Close(ctx); err != nil {
		b.Error(err)
	}
}

// 64 publishers of a cluster's node, who append each entry by itself.
func BenchmarkSharedAppend(b *testing.B) {
	api := client(server(b).address())
	opts := dynamodb.Options{Table: newTable(b, api), Shared: true, ClockSkew: time.Millisecond}
	store := openStore(b, api, opts)
	var offsets assigner
	inParallel(b, func(i int) error {
		return store.Log().Append(ctx, "/", []recovery.Entry{{Offset: offsets.next(), Rooms: []string{fmt.Sprint("room", i%100)}, Data: message}})
	})
	report(b, store)
}

// Restored clients, of ten rooms each, read a page of a hundred entries.
func BenchmarkRead(b *testing.B) {
	api := client(server(b).address())
	store := openStore(b, api, dynamodb.Options{Table: newTable(b, api)})
	start, err := store.Log().Start(ctx, "/")
	if err != nil {
		b.Fatal(err)
	}
	var entries []recovery.Entry
	for o := start; len(entries) < 1000; {
		o = o.Next()
		entries = append(entries, recovery.Entry{Offset: o, Rooms: []string{fmt.Sprint("room", len(entries)%100)}, Data: message})
	}
	if err := store.Log().Append(ctx, "/", entries); err != nil {
		b.Fatal(err)
	}
	q := recovery.Query{After: start}
	for i := range 10 {
		q.Rooms = append(q.Rooms, fmt.Sprint("room", i))
	}
	inParallel(b, func(int) error {
		page, err := store.Log().Read(ctx, "/", q)
		if err == nil && len(page.Entries) != 100 {
			err = fmt.Errorf("%d entries", len(page.Entries))
		}
		return err
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
}
