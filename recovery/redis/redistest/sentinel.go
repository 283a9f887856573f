package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// masterName is what the Sentinel calls the primary.
const masterName = "twinetest"

// Failover is a primary with a replica, and a Sentinel that lets the replica take over when AwaitNewPrimary is called and the
// primary has not answered for a second. Until then a busy machine may hold up the primary for longer than that.
type Failover struct {
	// Servers are the primary and the replica, in the beginning.
	Servers [2]*Server
	// URL is what clients are told.
	URL string

	t        testing.TB
	sentinel string // its address
}

// StartFailover runs the three until the test ends. args are for the primary and the replica.
func StartFailover(t testing.TB, args ...string) *Failover {
	t.Helper()
	args = append(args, "--repl-diskless-sync-delay", "0")
	f := &Failover{t: t}
	f.Servers[0] = Start(t, args...)
	host, port, _ := net.SplitHostPort(f.Servers[0].Addr)
	f.Servers[1] = Start(t, append(args, "--replicaof", host+" "+port)...)

	dir := t.TempDir()
	config := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %[1]s 60000\nsentinel failover-timeout %[1]s 1000\n",
		masterName, host, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprint(FreePort(t))
	f.sentinel = "127.0.0.1:" + own
	process := exec.Command("redis-server", config, "--sentinel", "--port", own, "--bind", "127.0.0.1",
		"--dir", dir, "--logfile", filepath.Join(dir, "log"))
	if err := process.Start(); err != nil {
		t.Fatalf("redis-server: %v", err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	f.URL = "redis://" + f.sentinel + "/0?master_name=" + masterName
	f.await("the replica", func(ctx context.Context, sentinel *redis.SentinelClient) bool {
		replicas, err := sentinel.Replicas(ctx, masterName).Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
	})
	return f
}

// AwaitNewPrimary waits until the replica has taken over, and returns its address.
func (f *Failover) AwaitNewPrimary() (addr string) {
	f.t.Helper()
	f.await("the Sentinel to be impatient", func(ctx context.Context, sentinel *redis.SentinelClient) bool {
		return sentinel.Set(ctx, masterName, "down-after-milliseconds", "1000").Err() == nil
	})
	f.await("the failover", func(ctx context.Context, sentinel *redis.SentinelClient) bool {
		now, err := sentinel.GetMasterAddrByName(ctx, masterName).Result()
		if err != nil || len(now) != 2 {
			return false
		}
		addr = net.JoinHostPort(now[0], now[1])
		return addr != f.Servers[0].Addr
	})
	return addr
}

// Switch asks the Sentinel to let the replica take over, while both are alive, and makes the old primary its replica. The
// Sentinel would do that too, 10 seconds later.
func (f *Failover) Switch() {
	f.t.Helper()
	f.await("the Sentinel to agree", func(ctx context.Context, sentinel *redis.SentinelClient) bool {
		return sentinel.Failover(ctx, masterName).Err() == nil
	})
	host, port, _ := net.SplitHostPort(f.AwaitNewPrimary())
	if err := f.Servers[0].Client().ReplicaOf(context.Background(), host, port).Err(); err != nil {
		f.t.Fatal(err)
	}
}

// RunReplica starts a killed primary again, as a replica of the one that took over.
func (f *Failover) RunReplica() {
	f.t.Helper()
	host, port, _ := net.SplitHostPort(f.Servers[1].Addr)
	f.Servers[0].args = append(f.Servers[0].args, "--replicaof", host+" "+port)
	f.Servers[0].Run()
}

func (f *Failover) await(what string, ok func(ctx context.Context, sentinel *redis.SentinelClient) bool) {
	f.t.Helper()
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: f.sentinel, MaxRetries: -1})
	defer sentinel.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	for !ok(ctx, sentinel) {
		select {
		case <-ctx.Done():
			f.t.Fatalf("waited in vain for %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
