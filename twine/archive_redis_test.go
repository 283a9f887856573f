//go:build redis && dynamodb

package twine_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/dynamodb"
	"github.com/twine-realtime/twine/recovery/memory"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine"
)

// startDynalite runs dynalite until the test ends, and returns a client of it.
func startDynalite(t *testing.T) *ddb.Client {
	t.Helper()
	cli := os.Getenv("DYNALITE")
	if cli == "" {
		cli = filepath.Join("..", "testdata", "js", "node_modules", "dynalite", "cli.js")
	}
	if _, err := os.Stat(cli); err != nil {
		t.Fatalf("this test needs dynalite 4.0.0: run npm ci in testdata/js, or set DYNALITE to its cli.js (%v)", err)
	}
	port := fmt.Sprint(redistest.FreePort(t))
	process := exec.Command("node", cli, "--host", "127.0.0.1", "--port", port, "--path", t.TempDir(), "--createTableMs", "1")
	process.Stderr = os.Stderr
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	eventually(t, "dynalite answers", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	return ddb.New(ddb.Options{
		Region:       "eu-central-1",
		BaseEndpoint: aws.String("http://127.0.0.1:" + port),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:   &http.Client{Transport: transport},
	})
}

// Short for 2 minutes, 8 seconds and 5 seconds, in the same order.
const (
	shortWindow = 3 * time.Second
	shortSettle = 1500 * time.Millisecond
	shortCommit = time.Second
)

// archived returns the options of one more server of a cluster that has its history in Redis for a short while and in
// DynamoDB for long, as twined has it. What is in its own memory is gone still earlier.
func archived(t *testing.T, redis *redistest.Server, client *ddb.Client) *twine.Recovery {
	t.Helper()
	opts := dynamodb.Options{Shared: true, CommitDelay: shortSettle, ClockSkew: 10 * time.Millisecond}
	if err := dynamodb.CreateTable(t.Context(), client, opts); err != nil {
		t.Fatal(err)
	}
	table, err := dynamodb.Open(t.Context(), client, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	rdb, err := redislog.Dial("redis://" + redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	r := onClient(t, rdb, redislog.Options{Window: shortWindow, CommitTimeout: shortCommit, Archive: table.Log(),
		Late: func(err error) bool { return errors.Is(err, dynamodb.ErrLate) }})
	r.Sessions, r.ClockSkew = table.Sessions(), 10*time.Millisecond
	r.Hot = memory.NewLog(memory.LogOptions{Window: 100 * time.Millisecond})
	return r
}

// Clients come back when the stream has been trimmed past their position: one to a server that was there all the time,
// one to a server that has seen nothing of what they missed, one to where it was. Events go on meanwhile. Each gets
// everything, from DynamoDB, from Redis and live, once, in order.
func TestRestoreFromTheArchive(t *testing.T) {
	redis, client := redistest.Start(t), startDynalite(t)
	a, b := recovering(t, archived(t, redis, client)), recovering(t, archived(t, redis, client))
	last := 0
	publish := func() {
		last++
		id, node := fmt.Sprint("id", last), []*testServer{a, b}[last%2]
		eventually(t, "the event is accepted", func() bool {
			_, err := node.To("room").Publish(testContext(t), id, "n", last)
			return err == nil
		})
	}
	var clients []*stockClient
	for range 3 {
		c := newStock(t).connect(a)
		sid := c.view().sid
		eventually(t, "the join", func() bool { return slices.Contains(a.Of("/").Socket(sid).Rooms(), "room") })
		clients = append(clients, c)
	}
	publish()
	publish()
	for _, c := range clients {
		c.expect("n", numbers(1, 2)...)
		sid := c.view().sid
		c.cut()
		awaitGone(t, a, sid)
	}
	position, err := recovery.ParseOffset(clients[0].view().offset)
	if err != nil {
		t.Fatal(err)
	}
	admin := redis.Client()
	trimmed := 0
	eventually(t, "events fall out of the stream", func() bool {
		publish()
		first, err := admin.XRangeN(t.Context(), "socket.io", "-", "+", 1).Result()
		if err != nil || len(first) == 0 {
			return false
		}
		oldest, err := recovery.ParseOffset(first[0].ID)
		if err == nil && oldest.After(position) {
			trimmed++
		}
		return trimmed > 20 && last > 60
	})
	fresh := recovering(t, archived(t, redis, client))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				publish()
			}
		}
	}()
	for i, node := range []*testServer{b, fresh, a} {
		sid := clients[i].view().sid
		clients[i].connect(node)
		if v := clients[i].view(); !v.recovered || v.sid != sid {
			t.Errorf("client %d is not recovered: %+v", i, v)
		}
	}
	close(stop)
	<-stopped
	publish()
	for _, c := range clients {
		c.expect("n", numbers(1, last)...)
	}
}
