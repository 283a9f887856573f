package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServers is a Redis, alone or with a replica and a Sentinel that lets the replica take over.
type redisServers struct {
	dir       string
	keep      bool
	addrs     []string // the primary's first
	sentinel  string   // "" without
	processes []*exec.Cmd
}

const masterName = "twinecheck"

// startRedis starts redis-server, which has to be installed.
func startRedis(ctx context.Context, failOver, keep bool) (r *redisServers, err error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("redis-server is not installed: %w", err)
	}
	r = &redisServers{keep: keep}
	if r.dir, err = os.MkdirTemp("", "twinecheck-redis-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	servers := 1
	if failOver {
		servers = 2
	}
	for i := range servers {
		args := []string{"--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--repl-diskless-sync-delay", "0"}
		if i > 0 {
			host, port, _ := net.SplitHostPort(r.addrs[0])
			args = append(args, "--replicaof", host+" "+port)
		}
		addr, err := r.run(ctx, fmt.Sprint("redis", i), "redis-server", args...)
		if err != nil {
			return r, err
		}
		r.addrs = append(r.addrs, addr)
	}
	if !failOver {
		return r, nil
	}
	host, port, _ := net.SplitHostPort(r.addrs[0])
	config := filepath.Join(r.dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %[1]s 60000\nsentinel failover-timeout %[1]s 5000\n",
		masterName, host, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return r, err
	}
	if r.sentinel, err = r.run(ctx, "sentinel", "redis-server", config, "--sentinel"); err != nil {
		return r, err
	}
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: r.sentinel})
	defer sentinel.Close()
	return r, await(ctx, "the replica", func() bool {
		replicas, err := sentinel.Replicas(ctx, masterName).Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
	})
}

// run starts a server on a free port and returns its address when it answers.
func (r *redisServers) run(ctx context.Context, name, program string, args ...string) (addr string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir := filepath.Join(r.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	command := exec.Command(program, append(args, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--logfile", filepath.Join(dir, "log"))...)
	if err := command.Start(); err != nil {
		return "", fmt.Errorf("start %s: %w", program, err)
	}
	r.processes = append(r.processes, command)
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer client.Close()
	return addr, await(ctx, name, func() bool { return client.Ping(ctx).Err() == nil })
}

// url is what clients are told.
func (r *redisServers) url() string {
	if r.sentinel == "" {
		return "redis://" + r.addrs[0]
	}
	return "redis://" + r.sentinel + "/0?master_name=" + masterName
}

// failOver kills the primary and returns when the replica has taken over. The old one is then the new one's replica.
func (r *redisServers) failOver(ctx context.Context) error {
	if r.sentinel == "" {
		return errors.New("there is no replica")
	}
	primary := r.processes[0]
	if err := primary.Process.Kill(); err != nil {
		return err
	}
	_ = primary.Wait()
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: r.sentinel})
	defer sentinel.Close()
	// Until now a primary that the machine holds up was not to be taken for dead.
	if err := sentinel.Set(ctx, masterName, "down-after-milliseconds", "1000").Err(); err != nil {
		return err
	}
	var now []string
	err := await(ctx, "the failover", func() (done bool) {
		var err error
		now, err = sentinel.GetMasterAddrByName(ctx, masterName).Result()
		return err == nil && len(now) == 2 && net.JoinHostPort(now[0], now[1]) != r.addrs[0]
	})
	if err != nil {
		return err
	}
	r.processes[0] = exec.Command(primary.Path, append(primary.Args[1:], "--replicaof", now[0]+" "+now[1])...)
	return r.processes[0].Start()
}

func (r *redisServers) close() error {
	for _, p := range r.processes {
		if p.ProcessState == nil {
			_ = p.Process.Signal(syscall.SIGKILL)
			_ = p.Wait()
		}
	}
	if r.keep {
		fmt.Fprintln(os.Stderr, "kept:", r.dir)
		return nil
	}
	return os.RemoveAll(r.dir)
}

func await(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, context.Cause(ctx))
		case <-time.After(poll):
		}
	}
	return nil
}
