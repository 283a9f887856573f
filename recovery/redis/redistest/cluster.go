package redistest

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// StartCluster runs a Redis Cluster of three primaries, which ends with the
// test, and returns their addresses.
func StartCluster(t testing.TB) (addrs []string) {
	t.Helper()
	args := []string{"--cluster", "create"}
	for range 3 {
		s := Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "15000")
		addrs = append(addrs, s.Addr)
	}
	out, err := exec.Command("redis-cli", append(append(args, addrs...), "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli: %v\n%s", err, out)
	}
	deadline := time.Now().Add(patience)
	for _, addr := range addrs {
		client := redis.NewClient(&redis.Options{Addr: addr})
		for {
			info, err := client.ClusterInfo(context.Background()).Result()
			if err == nil && strings.Contains(info, "cluster_state:ok") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the cluster does not come up: %v\n%s", err, info)
			}
			<-time.After(20 * time.Millisecond)
		}
		_ = client.Close()
	}
	return addrs
}
