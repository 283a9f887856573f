package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/cmd/internal/sioclient"
)

// Two nodes of a cluster over one redis-server: the messages are sent on the one, and all clients are on the other.
var clusterRows = []figureRow{
	{"burst", "burst, CPU µs per delivery on the clients' node", "%.2f", 0, false},
	{"paced", "paced, CPU µs per delivery on the clients' node", "%.2f", 0, false},
	{"publish", "burst, CPU µs per message on the publishers' node", "%.1f", 0, false},
	{"redis", "burst, Redis's CPU µs per message", "%.1f", 0, false},
	{"elapsed", "burst, seconds until all arrived", "%.2f", 0, false},
}

var twineCluster = scenario{
	name: "streams",
	what: clusterWhat("the library with its adapter/streams"),
	measure: func(ctx context.Context, set settings, dir string) (figures, error) {
		return measureCluster(ctx, set, dir, "streams")
	},
	rows: clusterRows,
}

var nodeCluster = scenario{
	name: "node-streams",
	what: clusterWhat("Node's socket.io with its redis-streams-adapter"),
	measure: func(ctx context.Context, set settings, dir string) (figures, error) {
		return measureCluster(ctx, set, dir, "node-streams")
	},
	rows: clusterRows,
}

func clusterWhat(of string) func(settings) string {
	return func(set settings) string {
		return fmt.Sprintf("%s, two nodes over one redis-server; %d connections on the second in one room, %d-byte messages from the first: a burst of %d, then %d every %v",
			of, set.Clients, set.MessageSize, set.Burst, set.Paced, set.Interval.Round(time.Millisecond))
	}
}

func measureCluster(ctx context.Context, set settings, dir, server string) (found figures, err error) {
	command, err := set.commandOf(server)
	if err != nil {
		return nil, err
	}
	broker, err := startRedis(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, broker.stop()) }()
	command = append(command, broker.url)
	r := &round{settings: set, ctx: ctx, server: server}
	for _, node := range []**child{&r.publisher, &r.child} {
		c, err := startChild(ctx, command)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		*node = c
	}
	if err := r.prime(); err != nil {
		return nil, fmt.Errorf("first message from node to node: %w", err)
	}
	if err := r.warmUp(); err != nil {
		return nil, fmt.Errorf("warm-up: %w", err)
	}
	if err := r.dial(set.Clients); err != nil {
		return nil, err
	}
	defer r.swarm.Close()
	var s sample
	messages := float64(set.Burst)
	before, err := r.clusterCPU(broker)
	if err != nil {
		return nil, err
	}
	if err := r.burst(&s); err != nil {
		return nil, fmt.Errorf("burst: %w", err)
	}
	after, err := r.clusterCPU(broker)
	if err != nil {
		return nil, err
	}
	if err := r.paced(&s); err != nil {
		return nil, fmt.Errorf("paced: %w", err)
	}
	return figures{"burst": s.Burst, "paced": s.Paced, "elapsed": s.Elapsed,
		"publish": (after.publisher - before.publisher) / messages, "redis": (after.redis - before.redis) / messages}, nil
}

// prime sends messages until one comes through: a node that has just started may not listen yet.
func (r *round) prime() error {
	ctx, cancel := context.WithTimeout(r.ctx, connectTimeout)
	defer cancel()
	swarm, err := sioclient.Dial(ctx, sioclient.Options{Addr: r.child.addr, Connections: 1})
	if err != nil {
		return err
	}
	r.swarm = swarm
	defer swarm.Close()
	if err := r.untilJoined(1); err != nil {
		return err
	}
	for swarm.Delivered() == 0 {
		if _, err := r.publisher.do("emit", 1, r.MessageSize); err != nil {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	// The others that were sent are on their way too.
	if err := pause(ctx, tail); err != nil {
		return err
	}
	swarm.Close()
	return r.untilJoined(0)
}

// clusterCPU is what has been used so far, in microseconds.
type clusterCPU struct{ publisher, redis float64 }

func (r *round) clusterCPU(broker *redisServer) (c clusterCPU, err error) {
	stats, err := r.publisher.do("stats")
	if err != nil {
		return c, err
	}
	c.publisher = float64(stats.CPU)
	c.redis, err = broker.cpu(r.ctx)
	return c, err
}

// redisServer is a redis-server that keeps nothing on disk.
type redisServer struct {
	url    string
	cmd    *exec.Cmd
	client *redis.Client
	output bytes.Buffer
}

func startRedis(ctx context.Context, dir string) (*redisServer, error) {
	// The port may be taken by someone else before redis-server has it, in which case that says so.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	if err := l.Close(); err != nil {
		return nil, err
	}
	r := &redisServer{url: "redis://" + addr + "/0"}
	r.cmd = exec.CommandContext(ctx, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir,
		"--logfile", filepath.Join(dir, "redis.log"))
	r.cmd.Stdout, r.cmd.Stderr = &r.output, &r.output
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("redis-server, which clusters need: %w", err)
	}
	r.client = redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for r.client.Ping(ctx).Err() != nil {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, errors.Join(fmt.Errorf("redis-server does not answer: %w", err), r.stop())
		}
	}
	return r, nil
}

// cpu returns the CPU time that Redis has used, in microseconds.
func (r *redisServer) cpu(ctx context.Context) (float64, error) {
	text, err := r.client.Info(ctx, "cpu").Result()
	if err != nil {
		return 0, fmt.Errorf("redis: %w", err)
	}
	var sum float64
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("redis: %q", line)
			}
			sum += seconds * 1e6
		}
	}
	return sum, nil
}

func (r *redisServer) stop() error {
	_ = r.cmd.Process.Signal(os.Interrupt)
	timer := time.AfterFunc(stopTimeout, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	if err := errors.Join(r.client.Close(), r.cmd.Wait()); err != nil {
		return fmt.Errorf("redis-server: %w\n%s", err, r.output.String())
	}
	return nil
}
