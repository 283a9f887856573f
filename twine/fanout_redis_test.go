//go:build redis

package twine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/parser"
)

const childRedis = "TWINE_TEST_CHILD_REDIS"

// TestServerChild is the server, in a process of its own, that BenchmarkFanOutElsewhere measures. It ends with its input.
func TestServerChild(t *testing.T) {
	addr, ok := os.LookupEnv(childRedis)
	if !ok {
		return
	}
	srv := recovering(t, onRedis(t, &redistest.Server{Addr: addr}))
	twine.Handle(srv, "cpu", func(context.Context, *twine.Socket, int) (int64, error) {
		var used syscall.Rusage
		err := syscall.Getrusage(syscall.RUSAGE_SELF, &used)
		return used.Utime.Nano() + used.Stime.Nano(), err
	})
	fmt.Println("serving", srv.url)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// child is a server in a process of its own, with a client that orders it about.
type child struct {
	*testServer
	client  *testClient
	answers chan int64
}

func startChild(b *testing.B, redis *redistest.Server) *child {
	b.Helper()
	process := exec.Command(os.Args[0], "-test.run", "^TestServerChild$")
	process.Env, process.Stderr = append(os.Environ(), childRedis+"="+redis.Addr), os.Stderr
	stdin, err := process.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := process.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = process.Wait()
	})
	lines := bufio.NewScanner(stdout)
	c := &child{answers: make(chan int64, 1)}
	for c.testServer == nil && lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			c.testServer = &testServer{url: url}
		}
	}
	if c.testServer == nil {
		b.Fatal("the server does not start")
	}
	go func() {
		for lines.Scan() {
		}
	}()
	c.client = dialWith(b, c.testServer, nil, func(_ *testClient, p *parser.Packet) {
		var args []int64
		if p.Type == parser.Ack && json.Unmarshal(p.Data, &args) == nil && len(args) == 1 {
			c.answers <- args[0]
		}
	})
	b.Cleanup(c.client.cut)
	c.client.send("0")
	return c
}

// cpu returns how much of it the server has used.
func (c *child) cpu(b *testing.B) time.Duration {
	b.Helper()
	c.client.send(`21["cpu",0]`)
	return time.Duration(receive(b, c.answers))
}

// What a delivery costs the server that the clients are connected to: when it is the one that the event was published on,
// and when that is another one. b.N is rounds of 50 events each way, to 300 clients. The ratio has to be 1.15 at the most.
func BenchmarkFanOutElsewhere(b *testing.B) {
	const clients, events = 300, 50
	redis := redistest.Start(b)
	server, other := startChild(b, redis), startChild(b, redis)
	var got atomic.Int64
	for range clients {
		c := dialWith(b, server.testServer, nil, func(_ *testClient, p *parser.Packet) {
			if p.Type == parser.Event || p.Type == parser.Connect {
				got.Add(1)
			}
		})
		b.Cleanup(c.cut)
		c.send("0")
	}
	await := func(n int64) {
		eventually(b, "all is delivered", func() bool { return got.Load() >= n })
	}
	await(clients)
	round := func(from *child, events int) time.Duration {
		want := got.Load()
		before := server.cpu(b)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := range events {
			<-tick.C
			from.client.send(fmt.Sprintf(`2["publish",%d]`, n))
		}
		await(want + int64(events*clients))
		return server.cpu(b) - before
	}
	round(server, events)
	round(other, events)
	var here, elsewhere time.Duration
	b.ResetTimer()
	for range b.N {
		here += round(server, events)
		elsewhere += round(other, events)
	}
	b.StopTimer()
	deliveries := float64(b.N * events * clients)
	b.ReportMetric(float64(here.Nanoseconds())/1000/deliveries, "here-µs/delivery")
	b.ReportMetric(float64(elsewhere.Nanoseconds())/1000/deliveries, "elsewhere-µs/delivery")
	b.ReportMetric(elsewhere.Seconds()/here.Seconds(), "ratio")
}

// From the publish on one server to the delivery to a client of another, at 1,000 a second.
func BenchmarkLatencyElsewhere(b *testing.B) {
	redis := redistest.Start(b)
	from, to := serveRecovery(b, onRedis(b, redis)), serveRecovery(b, onRedis(b, redis))
	arrived := make(chan time.Duration, b.N)
	joined := make(chan bool, 1)
	c := dialWith(b, to, nil, func(_ *testClient, p *parser.Packet) {
		now := time.Now()
		if p.Type == parser.Connect {
			joined <- true
			return
		}
		args, err := parser.SplitArgs(p.Data)
		if err != nil || len(args) < 2 {
			return
		}
		if sent, err := strconv.ParseInt(string(args[1]), 10, 64); err == nil {
			arrived <- now.Sub(time.Unix(0, sent))
		}
	})
	b.Cleanup(c.cut)
	c.send("0")
	receive(b, joined)
	eventually(b, "the join", func() bool { return len(members(b, to.In("room"))) == 1 })
	b.ResetTimer()
	go func() {
		begin := time.Now()
		for i := range b.N {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Millisecond)))
			if err := from.To("room").Emit("n", time.Now().UnixNano()); err != nil {
				b.Error(err)
			}
		}
	}()
	took := make([]time.Duration, b.N)
	for i := range took {
		took[i] = receive(b, arrived)
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
